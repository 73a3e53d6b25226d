"""The codes of a gallery are in memory once: gathered file by file, and not again for a commit without new rows."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from engine import certified
from engine.gallery import Gallery
from engine.optimize import optimize
from engine.plan import read_plan
from engine.short_codes import ShortCodeFiles, gathered
from kernels.short.basis import Basis
from kernels.short.codes import ShortCodes, join
from tests.engine.coded_gallery import everything, gallery_of, photos_drawn, ranking, searcher, sketches_drawn

PHOTOS = 1400


@pytest.fixture(scope="module")
def path(codes_pay: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of three segments, the last one the smallest."""
    place = tmp_path_factory.mktemp("gathered") / "my.gallery"
    optimize(gallery_of(place, photos_drawn(PHOTOS)), sketches_drawn(16))
    return place


@pytest.fixture(scope="module")
def basis(path: Path) -> Basis:
    plan = read_plan(path)
    assert plan is not None
    assert plan.basis is not None
    found = ShortCodeFiles(path).read_basis(plan.basis)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def parts(path: Path, basis: Basis) -> list[ShortCodes]:
    found = [ShortCodeFiles(path).read(one.name, basis) for one in Gallery.open(path).snapshot().segments]
    return [one for one in found if one is not None]


def assert_same(one: ShortCodes, other: ShortCodes) -> None:
    for name in ("ends", "codes", "sides", "weights"):
        first, second = getattr(one, name), getattr(other, name)
        assert (first.dtype, first.shape) == (second.dtype, second.shape), name
        assert np.array_equal(first.view(np.uint8), second.view(np.uint8)), name
    assert all(np.array_equal(*pair) for pair in zip(one.scales, other.scales, strict=True))


@pytest.mark.parametrize("came", [[0, 1, 2], [0, 2], [2], [1, 0]])
def test_gathered_codes_are_joined_ones(basis: Basis, parts: list[ShortCodes], came: list[int]) -> None:
    """Whichever came: a damaged file leaves no gap."""
    chosen = [parts[number] for number in came]
    assert_same(gathered(basis, [len(one) for one in parts], iter(chosen)), join(chosen))


def test_codes_of_no_photo(basis: Basis) -> None:
    assert len(gathered(basis, [7], [])) == 0


def test_commits_without_new_rows_gather_nothing(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = Gallery.open(shutil.copytree(path, tmp_path / "my.gallery"))
    search, sketches = searcher("codes"), sketches_drawn(8)
    nearest = ranking(everything(gallery, search, sketches))[0][0][0]
    with monkeypatch.context() as patch:
        patch.setattr(certified, "gathered", lambda *_: pytest.fail("all codes were copied again"))
        with gallery.writer() as writer:
            writer.remove([nearest])
        found = everything(gallery, search, sketches)
    assert {one.report.read for one in found} == {"codes"}
    assert ranking(found) == ranking(everything(gallery, searcher("features"), sketches))
    with gallery.writer() as writer:
        writer.remove(list(gallery.snapshot().segments[0].ids))  # the segment goes, and its codes
    found = everything(gallery, search, sketches)
    assert {one.report.photos for one in found} == {len(gallery.snapshot())}
    assert ranking(found) == ranking(everything(gallery, searcher("features"), sketches))
