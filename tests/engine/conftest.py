"""What the engine's tests share: a tiny model, drawn photos and sketches, galleries of them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from engine.gallery import Gallery
from engine.retriever import Retriever
from mlrm import MLRM, MLRMConfig
from mlrm.checkpoint import save
from mlrm.procedural import CATEGORIES, draw_product, render_photo, render_sketch
from tests.engine.small_gallery import create

COUNT = 6
"""Photos in the folder `photos`, and sketches in `sketches`, one of each photo."""
IDS = ["more/photo-1.png", "more/photo-3.png", "more/photo-5.png", "photo-0.png", "photo-2.png", "photo-4.png"]
"""The ids of the photos, in the order in which a folder is read."""
SIDE = 64  # pixels of the drawn pictures
Reopen = Callable[[Retriever], Retriever]
"""What the fixture `reopen` gives."""


def ids_of(retriever: Retriever) -> list[str]:
    """Ids in the order they were stored."""
    return [] if retriever.gallery is None else list(retriever.gallery.snapshot().ids)


@pytest.fixture(scope="module")
def codes_pay() -> Iterator[None]:
    """As they do for many photos; for a test's few, preparing a sketch takes longer than reading all features."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("engine.plan.FIXED_COST", 0.0)
        patched.setattr("engine.plan.SCAN_COST", 1.0)
        yield


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    # Tiny models and batches: threads would only wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write_checkpoint(path: Path, *, seed: int = 0, **overrides: object) -> Path:
    """An untrained model of the smallest kind: the same file for the same seed."""
    config = {"trunk": "efficientnet_lite0", "image_size": 224, "token_dim": 16, "l2norm": True} | overrides
    torch.manual_seed(seed)
    save(MLRM(MLRMConfig.paper(**config)), path)
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of nearly all these tests."""
    return write_checkpoint(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="session")
def _drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "photos" / "more").mkdir(parents=True)
    (folder / "sketches").mkdir()
    for number in range(COUNT):
        product = draw_product(number, CATEGORIES[number % len(CATEGORIES)])
        place = folder / "photos" / ("more" if number % 2 else "")
        render_photo(product, SIDE).save(place / f"photo-{number}.png")
        render_sketch(product, seed=0, size=SIDE).save(folder / "sketches" / f"sketch-{number}.png")
    return folder


@pytest.fixture
def photos(_drawn: Path, tmp_path: Path) -> Path:
    """A folder of `COUNT` photos of the test's own, every second one in the folder `more` in it."""
    return Path(shutil.copytree(_drawn / "photos", tmp_path / "photos"))


@pytest.fixture(scope="session")
def sketches(_drawn: Path) -> list[Path]:
    """A sketch of each photo."""
    return sorted((_drawn / "sketches").iterdir())


@pytest.fixture
def empty(checkpoint: Path, tmp_path: Path) -> Retriever:
    """A retriever whose gallery doesn't exist yet."""
    return Retriever(checkpoint, tmp_path / "my.gallery", "cpu")


@pytest.fixture(scope="session")
def _filled(checkpoint: Path, _drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "my.gallery"
    Retriever(checkpoint, path, "cpu").add(_drawn / "photos")
    return path


@pytest.fixture
def filled(checkpoint: Path, _filled: Path, tmp_path: Path) -> Retriever:
    """A retriever of the `COUNT` photos, in a gallery of the test's own. The photos' files are the session's."""
    return Retriever(checkpoint, Path(shutil.copytree(_filled, tmp_path / "filled.gallery")), "cpu")


@pytest.fixture
def reopen(checkpoint: Path) -> Reopen:
    """A new retriever on the gallery of another, as another process would have it."""
    return lambda retriever: Retriever(checkpoint, retriever.path, "cpu")


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """An empty gallery of small features."""
    return create(tmp_path / "my.gallery")


@pytest.fixture
def still_there(filled: Retriever, sketches: list[Path]) -> Callable[[], None]:
    """Checks that the gallery is what it was, here and for whoever opens it anew."""
    before = filled.search(sketches[0])
    assert len(before) == COUNT

    def check() -> None:
        found = [(match.id, match.distance) for match in filled.search(sketches[0], top_k=100)]
        wanted = [(match.id, match.distance) for match in before]
        assert [pair for pair in found if pair in wanted] == wanted
        gallery = Gallery.open(filled.path)
        gallery.verify()
        assert set(gallery.snapshot().ids) >= {match.id for match in before}

    return check
