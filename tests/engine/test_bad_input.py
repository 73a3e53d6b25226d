"""Bad input, end to end: an error of its own type or a reported skip, and nothing stored is lost by it."""

import io
import os
import pickle
import re
import sqlite3
import struct
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from engine.errors import (
    CheckpointError,
    DuplicateIdError,
    FeatureValueError,
    GalleryCorruptError,
    GalleryVersionError,
    ImageError,
    MLRMError,
    NoImagesError,
    NotAGalleryError,
    QueryError,
)
from engine.gallery import Gallery
from engine.retriever import Retriever
from mlrm.errors import ImageDecodeError, ImageFormatError, ImageSizeError, ImageUnreadableError
from tests.engine.conftest import COUNT
from tests.engine.test_exact import random_features

GREEN = Image.new("RGB", (32, 32), (0, 128, 0))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _noise(mode: str = "RGB", side: int = 64) -> Image.Image:
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
        encoded(_noise(), "JPEG")[:900], ImageDecodeError, r"is truncated.*expected a whole image; fetch or save"
    ),
    "truncated.png": (
        encoded(_noise(), "PNG")[:2000], ImageDecodeError, r"is truncated.*expected a whole image; fetch or save"
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


@pytest.mark.parametrize("form", ["file", "bytes"])
@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_photo_is_skipped_and_reported(
    filled: Retriever, still_there: Callable[[], None], tmp_path: Path, name: str, form: str, sketches: list[Path]
) -> None:
    """Whatever is around it goes in, and stays searchable."""
    content, _, reason = UNUSABLE[name]
    path = tmp_path / name
    path.write_bytes(content)
    report = filled.add([GREEN, path if form == "file" else content, _noise()], ids=["before", name, "after"])
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
    [skip] = filled.add([tmp_path / "secret.png", _noise()]).skipped
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


# -- galleries


def test_a_path_that_is_no_gallery_is_refused_and_untouched(checkpoint: Path, tmp_path: Path) -> None:
    folder, file = tmp_path / "holiday", tmp_path / "file"
    folder.mkdir()
    (folder / "beach.jpg").write_bytes(b"precious")
    file.write_text("precious")
    with pytest.raises(
        NotAGalleryError, match=r"holiday is not a gallery: found 'beach.jpg' in it.*Give a gallery, or a new"
    ):
        Retriever(checkpoint, folder, "cpu")
    with pytest.raises(NotAGalleryError, match=r"file is not a gallery: expected a directory. Give another path"):
        Retriever(checkpoint, file, "cpu")
    assert [entry.name for entry in folder.iterdir()] == ["beach.jpg"]


def test_a_gallery_of_a_newer_format_is_refused_and_untouched(
    filled: Retriever, checkpoint: Path, still_there: Callable[[], None]
) -> None:
    def set_format(version: str) -> None:
        with closing(sqlite3.connect(filled.path / "catalogue.sqlite")) as connection:
            connection.execute("UPDATE meta SET value = ? WHERE key = 'format_version'", (version,))
            connection.commit()

    set_format("999")
    with pytest.raises(
        GalleryVersionError, match=r"has format 999.*reads up to format 1\. Upgrade this package, or index"
    ):
        Retriever(checkpoint, filled.path, "cpu")
    set_format("1")
    still_there()


def test_a_damaged_gallery_is_refused_by_the_file(filled: Retriever, checkpoint: Path) -> None:
    [file] = (filled.path / "segments").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(GalleryCorruptError, match=rf"{file.name}: it has \d+ bytes, .*`python -m engine verify"):
        Retriever(checkpoint, filled.path, "cpu")


# -- checkpoints


class _RunsCode:
    """Unpickled by plain pickle, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def _write_pickle(path: Path, content: object) -> None:
    path.write_bytes(pickle.dumps(content))


CHECKPOINTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "of-another-kind.safetensors": (
        lambda path: safetensors.torch.save_file({"weight": torch.zeros(2)}, path),
        r"without an MLRM configuration; expected",
    ),
    "of-another-model.pt": (
        lambda path: torch.save({"state_dict": {"weight": torch.zeros(2)}}, path),
        r"is no MLRM checkpoint: found the entries \['state_dict'\]; expected one",
    ),
    "a-whole-module.pt": (
        lambda path: torch.save(torch.nn.Linear(2, 2), path),
        r"was not read: .*Expected tensors",
    ),
    "damaged.safetensors": (
        lambda path: path.write_bytes(b"\xff" * 99),
        r"is damaged or not a safetensors file",
    ),
    "an-image.pt": (
        lambda path: GREEN.save(path, "PNG"),
        r"is damaged or not a checkpoint|was not read",
    ),
    "code.pkl": (
        lambda path: _write_pickle(path, _RunsCode(path.with_name("ran"))),
        r"it asks for .*mkdir.*trust its source",
    ),
    "code-inside.pkl": (
        lambda path: _write_pickle(path, {"model": {"nets.0.x": _RunsCode(path.with_name("ran"))}}),
        r"it asks for .*mkdir.*trust its source",
    ),
    "code.pt": (
        lambda path: torch.save({"model": _RunsCode(path.with_name("ran"))}, path),
        r"was not read: .*Expected tensors",
    ),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_that_is_none_is_refused_and_no_code_run(tmp_path: Path, name: str) -> None:
    write, reason = CHECKPOINTS[name]
    write(tmp_path / name)
    with pytest.raises(CheckpointError, match=reason) as caught:
        Retriever(tmp_path / name, tmp_path / "my.gallery", "cpu")
    assert name in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


# -- ids, numbers, features


def test_duplicate_ids_are_reported_or_refused(filled: Retriever, still_there: Callable[[], None]) -> None:
    report = filled.add([GREEN, _noise()], ids=["x", "x"])
    assert report.added == ("x",)
    assert (
        report.skipped[0].reason
        == "the id 'x' is taken by an image from memory; rename it, give ids=[...], or add it with replace=True"
    )
    features = filled.encoder.encode(torch.zeros(2, 3, 224, 224, dtype=torch.uint8), "photo")
    with pytest.raises(DuplicateIdError, match="'x' more than once; expected each photo once"):
        filled.add_features(features, ids=["x", "x"])
    with pytest.raises(DuplicateIdError, match=r"already holds 'photo-0\.png'; nothing of this batch was stored"):
        filled.add_features(features, ids=["y", "photo-0.png"])
    assert len(filled) == COUNT + 1
    still_there()


def test_one_name_in_two_folders_is_reported(empty: Retriever, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        _noise(side=32 if folder == "a" else 48).save(tmp_path / folder / "1.png")
    report = empty.add([tmp_path / "a", tmp_path / "b"])
    [skip] = report.skipped
    assert (report.added, skip.source) == (("1.png",), str(tmp_path / "b" / "1.png"))
    assert str(tmp_path / "a" / "1.png") in skip.reason


def test_a_top_k_below_1_is_refused(filled: Retriever, still_there: Callable[[], None], sketches: list[Path]) -> None:
    with pytest.raises(QueryError, match="top_k is 0; expected an int of at least 1"):
        filled.search(sketches[0], top_k=0)
    still_there()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5], ids=["NaN", "infinite", "beyond float16"])
def test_features_that_cannot_be_stored_are_refused_whole(
    filled: Retriever, still_there: Callable[[], None], value: float
) -> None:
    features = random_features(3, 0, (256, 512, 1280), 3)
    features.levels[2][1, 2, 3] = value
    maps = torch.zeros(3, 3, 7, 7)
    features = type(features)(features.levels, features.region_weights, features.level_weights, maps)
    with pytest.raises(
        FeatureValueError, match=r"photo 'b', level 2, region 2: found .*expected finite values of at most"
    ):
        filled.add_features(features, ids=["a", "b", "c"])
    assert len(filled) == COUNT
    still_there()


def test_every_error_has_one_base() -> None:
    """So that a service can catch what its users can act on."""
    for error in (ImageDecodeError, NoImagesError, NotAGalleryError, CheckpointError, QueryError, FeatureValueError):
        assert issubclass(error, MLRMError)
