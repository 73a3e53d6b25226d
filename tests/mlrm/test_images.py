"""What comes in as an image, where images are found, and their hashes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlrm.errors import (
    ImageFormatError,
    ImageUnreadableError,
)
from mlrm.images import content_hash, find_images, load_image
from tests.mlrm.pictures import FORMATS, encode, picture

# What comes in


def test_path_bytes_image_and_array_give_the_same_picture(tmp_path: Path):
    image = picture()
    path = tmp_path / "a.png"
    image.save(path)
    sources = [path, str(path), path.read_bytes(), image, np.asarray(image)]
    assert {content_hash(load_image(source)) for source in sources} == {content_hash(image)}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_read(form: str):
    assert load_image(encode(picture(), form)).size == (24, 16)


def test_loading_again_changes_nothing():
    exif = Image.Exif()
    exif[0x0112] = 6
    once = load_image(encode(picture(), "JPEG", exif=exif))
    assert once.info == {}
    assert content_hash(load_image(once)) == content_hash(once)


def test_the_source_image_is_left_alone():
    source = picture()
    source.info["transparency"] = (0, 0, 0)
    before = source.tobytes()
    result = load_image(source)
    result.putpixel((0, 0), (1, 2, 3))
    assert source.tobytes() == before
    assert source.info == {"transparency": (0, 0, 0)}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_in_unit_range_are_rounded_to_bytes(dtype: type):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    loaded = load_image((grey / 255).astype(dtype))
    assert np.array_equal(np.asarray(loaded)[..., 0], grey)


@pytest.mark.parametrize("shape", [(9, 10), (9, 10, 1), (9, 10, 3), (9, 10, 4)])
def test_array_shapes(shape: tuple[int, ...]):
    array = np.full(shape, 100, dtype=np.uint8)
    if shape[-1] == 4:
        array[..., 3] = 255
    assert load_image(array).getcolors() == [(90, (100, 100, 100))]


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 1.5, 255.0])
def test_floats_outside_unit_range_are_refused(value: float):
    array = np.zeros((9, 9))
    array[4, 4] = value
    with pytest.raises(ImageFormatError, match=r"\[0, 1\]"):
        load_image(array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((9, 9), np.int32),
        np.zeros((9, 9), bool),
        np.zeros((3, 9, 9), np.uint8),
        np.zeros((9, 9, 2), np.uint8),
        np.zeros(81, np.uint8),
    ],
    ids=["int32", "bool", "channels-first", "two-channels", "flat"],
)
def test_other_arrays_are_refused(array: np.ndarray):
    with pytest.raises(ImageFormatError, match="expected"):
        load_image(array)


def test_other_types_are_a_type_error():
    with pytest.raises(TypeError, match="not list"):
        load_image([1, 2, 3])


# Folders and hashes


def test_images_are_found_recursively_in_posix_order(tmp_path: Path):
    names = ["b.png", "a/z.JPG", "a-b.webp", "a/y/x.jpeg", "10.png", "9.png"]
    for name in [*names, "note.txt", ".hidden.png", ".cache/c.png", "a/.d/e.png"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)] == sorted(names)


def test_symlink_loops_are_not_followed(tmp_path: Path):
    (tmp_path / "a.png").touch()
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    assert [path.name for path in find_images(tmp_path)] == ["a.png", "link.png"]


def test_folder_without_images_gives_none(tmp_path: Path):
    assert find_images(tmp_path) == []


def test_finding_in_no_folder_is_an_error(tmp_path: Path):
    (tmp_path / "a.png").touch()
    for path in (tmp_path / "none", tmp_path / "a.png"):
        with pytest.raises(ImageUnreadableError):
            find_images(path)


def test_hash_depends_on_pixels_and_size_alone():
    image = picture(16, 24)
    same = load_image(encode(image, "BMP"))
    assert content_hash(image) == content_hash(same)
    reshaped = Image.frombytes("RGB", (24, 16), image.tobytes())
    assert content_hash(image) != content_hash(reshaped)
    same.putpixel((0, 0), (0, 0, 0))
    assert content_hash(image) != content_hash(same)


def test_hash_wants_rgb():
    with pytest.raises(ValueError, match="mode L"):
        content_hash(Image.new("L", (10, 10)))
