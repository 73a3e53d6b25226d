"""What the pixels of a file become."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from mlrm.errors import (
    ImageFormatError,
)
from mlrm.images import content_hash, load_image
from tests.mlrm.pictures import WHITE, encode, picture


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
