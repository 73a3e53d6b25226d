"""Which images are refused, and how."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from mlrm.errors import (
    ImageDecodeError,
    ImageError,
    ImageSizeError,
    ImageUnreadableError,
    MLRMError,
)
from mlrm.images import content_hash, load_image
from tests.mlrm.pictures import FORMATS, encode, picture, png_header


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", bytes(1000)])
@pytest.mark.parametrize("as_file", [False, True])
def test_bytes_that_are_no_image(data: bytes, as_file: bool, tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(ImageDecodeError) as caught:
        load_image(path if as_file else data)
    assert caught.value.source == (str(path) if as_file else f"<{len(data)} bytes>")


def test_an_empty_file_is_called_empty():
    with pytest.raises(ImageDecodeError, match="0 bytes"):
        load_image(b"")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", FORMATS)
def test_truncated_is_refused_or_whole(form: str):
    data = encode(picture(), form)
    whole = content_hash(load_image(data))
    refused = 0
    for length in range(0, len(data), 7):
        try:
            assert content_hash(load_image(data[:length])) == whole
        except ImageDecodeError:
            refused += 1
    assert refused > 0.9 * len(data) / 7  # a format's closing bytes may be missed by nobody


def test_truncated_jpeg_says_so(tmp_path: Path):
    path = tmp_path / "cut.jpg"
    path.write_bytes(encode(picture(64, 64), "JPEG")[:-200])
    with pytest.raises(ImageDecodeError, match="truncated") as caught:
        load_image(path)
    assert caught.value.__cause__ is not None
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7)])
def test_tiny_is_refused(size: tuple[int, int]):
    with pytest.raises(ImageSizeError, match=f"{size[0]} x {size[1]}.*at least 8"):
        load_image(encode(Image.new("RGB", size)))


def test_eight_by_eight_is_enough():
    assert load_image(encode(Image.new("RGB", (8, 8)))).size == (8, 8)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [8_001, 10_000, 30_000], ids=["quiet", "Pillow-warns", "Pillow-raises"])
def test_decompression_bomb_is_refused_by_its_header(side: int, tmp_path: Path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    with pytest.raises(ImageSizeError, match="64,000,000"):
        load_image(path)


def test_a_raised_limit_brings_no_warning_of_pillow(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # warns above, raises above twice that
    assert load_image(encode(picture(20, 15)), max_pixels=300).size == (20, 15)
    assert recwarn.list == []


def test_pixel_limit_is_inclusive():
    data = encode(picture(10, 10))
    assert load_image(data, max_pixels=100).size == (10, 10)
    for source in (data, picture(10, 10), np.zeros((10, 10), np.uint8)):
        with pytest.raises(ImageSizeError, match="10 x 10"):
            load_image(source, max_pixels=99)


def test_missing_file(tmp_path: Path):
    with pytest.raises(ImageUnreadableError, match="doesn't exist"):
        load_image(tmp_path / "none.png")


def test_folder(tmp_path: Path):
    with pytest.raises(ImageUnreadableError, match="is a folder"):
        load_image(tmp_path)


def test_null_in_the_name():
    with pytest.raises(ImageUnreadableError):
        load_image("a\0.png")


def test_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.png"
    picture().save(path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageUnreadableError, match="permission") as caught:
        load_image(path)
    assert isinstance(caught.value.__cause__, PermissionError)


def test_disk_error_while_reading_is_unreadable_not_damaged(monkeypatch: pytest.MonkeyPatch):
    def fail(_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(ImageUnreadableError, match="Input/output error"):
        load_image(encode(picture()))


@pytest.mark.parametrize(
    "odd", [SyntaxError, struct.error, OSError, ValueError, MemoryError, IndexError, KeyError, RuntimeError]
)
def test_whatever_a_decoder_raises_is_a_decode_error(odd: type, monkeypatch: pytest.MonkeyPatch):
    def fail(_: object) -> None:
        raise odd("odd")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(ImageDecodeError, match="odd") as caught:
        load_image(encode(picture()))
    assert isinstance(caught.value.__cause__, odd)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on odd TIFF tags
@pytest.mark.parametrize("form", FORMATS)
def test_damaged_files_end_in_an_image_or_an_image_error(form: str):
    rng = np.random.default_rng(1)
    data = encode(picture(), form)
    sources = set()
    for _ in range(60):
        damaged = bytearray(data)
        for place in rng.integers(0, min(len(data), 200), 3):
            damaged[place] = rng.integers(256)
        try:
            assert load_image(bytes(damaged)).mode == "RGB"
        except ImageError as error:
            sources.add(error.source)
    assert sources == {f"<{len(data)} bytes>"}


def test_errors_survive_pickling():
    error = pickle.loads(pickle.dumps(ImageSizeError("a.png", "is 1 x 1")))
    assert (type(error), error.source, error.reason) == (ImageSizeError, "a.png", "is 1 x 1")
    assert str(error) == "a.png: is 1 x 1"
    assert isinstance(error, MLRMError)
