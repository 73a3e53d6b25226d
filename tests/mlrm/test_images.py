import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from mlrm.errors import (
    ImageDecodeError,
    ImageError,
    ImageFormatError,
    ImageSizeError,
    ImageUnreadableError,
    MLRMError,
)
from mlrm.images import content_hash, find_images, load_image

WHITE = (255, 255, 255)
FORMATS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]


def picture(width: int = 24, height: int = 16) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


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


# What the pixels become


def test_transparent_is_white_in_rgba_and_la():
    for mode, ink in [("RGBA", (10, 20, 30, 255)), ("LA", (10, 255))]:
        image = Image.new(mode, (10, 10))
        image.putpixel((0, 0), ink)
        loaded = load_image(encode(image))
        assert loaded.getpixel((5, 5)) == WHITE
        assert loaded.getpixel((0, 0)) == (ink[:3] if mode == "RGBA" else (10, 10, 10))


def test_half_transparent_is_mixed_with_white():
    loaded = load_image(Image.new("RGBA", (10, 10), (0, 0, 0, 128)))
    assert loaded.getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize("mode", ["RGBa", "La", "PA"])
def test_transparent_is_white_in_rarer_modes(mode: str):
    assert load_image(Image.new(mode, (10, 10), 0)).getpixel((0, 0)) == WHITE


def test_transparent_is_white_in_a_palette():
    image = Image.new("P", (10, 10), 1)
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.putpixel((0, 0), 0)
    loaded = load_image(encode(image, transparency=1))
    assert loaded.getpixel((5, 5)) == WHITE
    assert loaded.getpixel((0, 0)) == (200, 0, 0)


@pytest.mark.parametrize(("mode", "clear", "ink"), [("RGB", (1, 2, 3), (9, 9, 9)), ("L", 7, 9)])
def test_transparent_is_white_where_one_colour_is_transparent(mode: str, clear: object, ink: object):
    image = Image.new(mode, (10, 10), clear)
    image.putpixel((0, 0), ink)
    loaded = load_image(encode(image, transparency=clear))
    assert loaded.getpixel((5, 5)) == WHITE
    assert loaded.getpixel((0, 0)) == (9, 9, 9)


def test_16_bit_grey_is_scaled_not_clipped():
    values = np.linspace(0, 65535, 100).round().astype(np.uint16).reshape(10, 10)
    loaded = np.asarray(load_image(encode(Image.fromarray(values))))
    assert np.array_equal(loaded[..., 1], np.rint(values / 257))


def test_16_bit_grey_of_mode_i_is_scaled_too():
    data = b"P5 10 10 65535\n" + struct.pack(">H", 257 * 80) * 100
    assert Image.open(io.BytesIO(data)).mode == "I"
    assert load_image(data).getpixel((0, 0)) == (80, 80, 80)


def test_16_bit_grey_with_a_transparent_value():
    image = Image.fromarray(np.full((10, 10), 257 * 80, np.uint16))
    image.info["transparency"] = 257 * 80
    assert load_image(image).getpixel((0, 0)) == WHITE


def test_32_bit_grey_is_refused():
    with pytest.raises(ImageFormatError, match="0 to 65535"):
        load_image(Image.new("I", (10, 10), 70_000))


def test_float_image_is_refused_and_told_what_to_do():
    with pytest.raises(ImageFormatError, match="float array"):
        load_image(encode(Image.new("F", (10, 10)), "TIFF"))


def test_unknown_mode_is_refused():
    class Odd(Image.Image):
        mode = "XYZ"

    odd = Odd()
    odd._size = (10, 10)
    with pytest.raises(ImageFormatError, match="XYZ"):
        load_image(odd)


def test_1_bit_is_black_and_white():
    image = Image.new("1", (10, 10), 1)
    image.putpixel((0, 0), 0)
    loaded = load_image(encode(image))
    assert (loaded.getpixel((0, 0)), loaded.getpixel((5, 5))) == ((0, 0, 0), WHITE)


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colours(form: str):
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red, green, blue = load_image(encode(cmyk, form)).getpixel((8, 8))
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize(
    ("mode", "value"), [("YCbCr", (76, 85, 255)), ("HSV", (0, 255, 255)), ("LAB", (136, 208, 195))]
)
def test_other_colour_spaces_become_rgb(mode: str, value: tuple[int, int, int]):
    red, green, blue = load_image(Image.new(mode, (10, 10), value)).getpixel((0, 0))
    assert red > 240
    assert max(green, blue) < 40


def test_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (10, 10), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_image(data).getpixel((0, 0)) == (255, 0, 0)


# EXIF orientation -> how numpy undoes it
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, form: str):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = picture()
    loaded = load_image(encode(image, form, exif=exif))
    assert np.array_equal(np.asarray(loaded), UPRIGHT[orientation](np.asarray(image)))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b""])
def test_broken_exif_counts_as_none(exif: bytes):
    image = picture()
    image.info["exif"] = exif
    assert content_hash(load_image(image)) == content_hash(picture())


# What is refused


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
