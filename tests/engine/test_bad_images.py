"""Images that are none, damaged or unusual, end to end: a typed error or a reported skip; nothing is lost."""

import io
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.errors import ImageError, NoImagesError
from engine.retriever import Retriever
from mlrm.errors import ImageDecodeError, ImageFormatError, ImageSizeError, ImageUnreadableError
from tests.engine.conftest import COUNT

GREEN = Image.new("RGB", (32, 32), (0, 128, 0))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(mode: str = "RGB", side: int = 64) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def _huge_header() -> bytes:
    """A PNG of 30000 x 30000 pixels in 70 bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


# What is found, what was expected and what to do, in this order.
UNUSABLE: dict[str, tuple[bytes, type[ImageError], str]] = {
    "not-an-image.png": (b"<html>no image</html>", ImageDecodeError, r"isn't an image.* save it as one of BMP.*PNG"),
    "truncated.jpg": (
        encoded(noise(), "JPEG")[:900], ImageDecodeError, r"is truncated.*expected a whole image; fetch or save"
    ),
    "truncated.png": (
        encoded(noise(), "PNG")[:2000], ImageDecodeError, r"is truncated.*expected a whole image; fetch or save"
    ),
    "empty.png": (b"", ImageDecodeError, r"is empty \(0 bytes\), expected an image file; fetch or save it again"),
    "one-pixel.png": (
        encoded(Image.new("RGB", (1, 1)), "PNG"), ImageSizeError,
        r"is 1 x 1 pixels, expected at least 8 a side; use a larger picture",
    ),
    "bomb.png": (
        _huge_header(), ImageSizeError, r"too many pixels, expected at most 64,000,000; scale it down first .*900000000"
    ),
    "float.tiff": (
        encoded(Image.new("F", (32, 32)), "TIFF"), ImageFormatError, r"float pixels of unknown range.*; scale them to"
    ),
}  # fmt: skip


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right to see it
    return encoded(_two_halves().transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)


def _two_halves() -> Image.Image:
    """Black at the left, white at the right."""
    return Image.fromarray(np.repeat(np.repeat(np.array([[0, 255]], np.uint8), 32, 0), 16, 1)).convert("RGB")


def _palette_with_transparency() -> Image.Image:
    """Black at the left, transparent black at the right."""
    image = Image.new("P", (32, 32))
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.paste(1, (16, 0, 32, 32))
    return image


# An unusual file, and the plain picture it has to be taken for.
UNUSUAL: dict[str, tuple[bytes, Image.Image]] = {
    "cmyk.tiff": (encoded(_two_halves().convert("CMYK"), "TIFF"), _two_halves()),
    "16-bit.png": (
        encoded(Image.fromarray(np.asarray(_two_halves().convert("L")).astype(np.uint16) * 257), "PNG"), _two_halves()
    ),
    "palette.png": (encoded(_palette_with_transparency(), "PNG", transparency=1), _two_halves()),
    "animated.gif": (
        encoded(_two_halves().convert("L"), "GIF", save_all=True, append_images=[Image.new("L", (32, 32), 99)]),
        _two_halves(),
    ),
    "rotated.png": (_rotated(), _two_halves()),
}  # fmt: skip


@pytest.mark.parametrize("form", ["file", "bytes"])
@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_photo_is_skipped_and_reported(
    filled: Retriever, still_there: Callable[[], None], tmp_path: Path, name: str, form: str, sketches: list[Path]
) -> None:
    """Whatever is around it goes in, and stays searchable."""
    content, _, reason = UNUSABLE[name]
    path = tmp_path / name
    path.write_bytes(content)
    report = filled.add([GREEN, path if form == "file" else content, noise()], ids=["before", name, "after"])
    assert report.added == ("before", "after")
    [skip] = report.skipped
    assert skip.source == (str(path) if form == "file" else name)
    assert re.search(reason, skip.reason)
    assert len(filled) == COUNT + 2
    assert {match.id for match in filled.search(sketches[0], top_k=100)} >= {"before", "after"}
    still_there()


@pytest.mark.parametrize("form", ["file", "bytes"])
@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_sketch_is_a_typed_error(
    filled: Retriever, still_there: Callable[[], None], tmp_path: Path, name: str, form: str
) -> None:
    content, kind, reason = UNUSABLE[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(kind, match=reason) as caught:
        filled.search(path if form == "file" else content)
    assert caught.value.source == (str(path) if form == "file" else f"<{len(content)} bytes>")
    still_there()


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_image_is_what_it_looks_like(
    empty: Retriever, tmp_path: Path, sketches: list[Path], name: str
) -> None:
    """As photo and as sketch it is the plain picture, pixel by pixel."""
    content, plain = UNUSUAL[name]
    (tmp_path / name).write_bytes(content)
    report = empty.add([tmp_path / name, plain], ids=["unusual", "plain"])
    assert report.added == ("unusual", "plain")
    hashes = {record.id: record.content_hash for record in empty.gallery.existing().values()}
    assert hashes["unusual"] == hashes["plain"]
    # Equal pixels at two places of a batch have features that differ in their last bits.
    first, second = empty.search(sketches[0])
    assert first.distance == pytest.approx(second.distance, rel=1e-4)
    assert empty.search(content) == empty.search(tmp_path / name) == empty.search(plain)
    assert empty.search(plain) != empty.search(GREEN)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.full((16, 16, 3), np.nan), r"expected floats in \[0, 1\], found nan.*rescale or clean the values"),
        (np.full((16, 16, 3), 255.0), r"expected floats in \[0, 1\], found 255 to 255; rescale"),
        (np.zeros((16, 16, 3), np.int64), r"expected uint8 or floats in \[0, 1\]; convert the values"),
        (np.zeros((3, 16, 16), np.uint8), r"expected an array \[H, W\].*; put the channels last"),
    ],
    ids=["NaN", "0 to 255", "integers", "channels first"],
)
def test_an_array_that_is_no_image_says_why(
    filled: Retriever, still_there: Callable[[], None], array: np.ndarray, reason: str
) -> None:
    with pytest.raises(ImageFormatError, match=reason):
        filled.search(array)
    [skip] = filled.add(array).skipped
    assert skip.source == "ndarray from memory"
    still_there()


def test_a_folder_without_images_is_refused(filled: Retriever, still_there: Callable[[], None], tmp_path: Path) -> None:
    folder = tmp_path / "no images"
    folder.mkdir()
    (folder / "notes.txt").write_text("no photo")
    with pytest.raises(
        NoImagesError, match=r"no images in .*no images: found no file that ends like one .*give another"
    ):
        filled.add(folder)
    with pytest.raises(ImageUnreadableError, match="is a folder, expected an image file; give the files inside it"):
        filled.search(folder)
    still_there()


def test_an_unreadable_file_is_skipped_and_reported(
    filled: Retriever, still_there: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made unreadable by hand: for root, permissions mean nothing."""
    GREEN.save(tmp_path / "secret.png")
    opened = Path.open

    def refuse(self: Path, *args: object, **options: object) -> object:
        if self.name == "secret.png":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    [skip] = filled.add([tmp_path / "secret.png", noise()]).skipped
    assert skip.reason == "may not be read (permission denied); change its permissions"
    with pytest.raises(ImageUnreadableError, match="permission denied"):
        filled.search(tmp_path / "secret.png")
    monkeypatch.undo()
    still_there()


@pytest.mark.skipif(os.name == "nt", reason="has no pipes among files")
def test_links_to_nowhere_and_pipes_are_skipped_and_reported(
    filled: Retriever, still_there: Callable[[], None], tmp_path: Path
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "link.png").symlink_to(folder / "nowhere.png")
    os.mkfifo(folder / "pipe.png")
    GREEN.save(folder / "whole.png")
    report = filled.add(folder)
    assert report.added == ("whole.png",)
    assert {Path(skip.source).name: skip.reason for skip in report.skipped} == {
        "link.png": "doesn't exist; check the path",
        "pipe.png": "is a pipe or device, expected an image file; save it to a file",
    }
    still_there()
