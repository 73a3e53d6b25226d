"""Anything a user hands over as an image -> an upright 8-bit RGB picture on white, or an error that names it.

Every image of training, evaluation and galleries comes in here. No torch: indexing workers import this alone.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mlrm.errors import (
    ImageDecodeError,
    ImageError,
    ImageFormatError,
    ImageSizeError,
    ImageUnreadableError,
)

ImageSource = str | Path | bytes | Image.Image | NDArray[np.generic]

MIN_SIDE = 8  # pixels; below it there is no shape left to match
MAX_PIXELS = 64_000_000

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
# Only these decoders ever see a user's bytes. Some of Pillow's others start programs (EPS) or hide a picture
# of another size than their header says (ICO, ICNS).
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

_DIRECT_MODES = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"})
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {  # EXIF orientation -> what undoes it; 1 is upright already
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# warnings.catch_warnings swaps process-wide state, so two threads may not be inside it at once.
_header_lock = threading.Lock()


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode one image to upright RGB.

    EXIF orientation is applied (EXIF that can't be parsed counts as none, as in browsers), transparency is
    put on white, 16-bit greyscale is scaled from 0..65535, of an animation the first frame is taken. Loading
    the result again gives the same pixels.

    Args:
        source: a path, the bytes of an image file, a Pillow image, or an array [H, W], [H, W, 1], [H, W, 3]
            or [H, W, 4] of uint8, or of floats in [0, 1].
        max_pixels: an image with more is refused by its header, before a pixel is decoded.

    Returns:
        A new image of mode RGB that carries no metadata.

    Raises:
        ImageUnreadableError: no such file, a folder, or no permission.
        ImageDecodeError: not an image, truncated, damaged or empty.
        ImageSizeError: a side under 8 pixels, or more than `max_pixels`.
        ImageFormatError: pixel values with no defined mapping to RGB.
        TypeError: `source` is none of the above.
    """
    if isinstance(source, str | Path):
        return _load_file(Path(source), max_pixels)
    if isinstance(source, bytes):
        return _load_stream(io.BytesIO(source), f"<{len(source)} bytes>", max_pixels)
    if isinstance(source, Image.Image):
        return _to_rgb(source, f"<{source.mode} image>", max_pixels)
    if isinstance(source, np.ndarray):
        name = f"<array {source.dtype} {list(source.shape)}>"
        return _to_rgb(_from_array(source, name, max_pixels), name, max_pixels)
    raise TypeError(
        f"an image is a path, bytes, a PIL image or a numpy array, not {type(source).__name__}; "
        "a tensor can be given as tensor.permute(1, 2, 0).numpy()"
    )


def find_images(folder: str | Path) -> list[Path]:
    """List the image files under a folder, by suffix, sorted by their POSIX path relative to it.

    Hidden files and folders are left out; linked files are listed, linked folders aren't entered (no loops).

    Raises:
        ImageUnreadableError: `folder`, or a folder in it, is missing, isn't a folder or may not be read.
    """
    folder = Path(folder)

    def refuse(error: OSError) -> None:
        raise unreadable(str(error.filename or folder), error) from error

    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(parent, name)
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def content_hash(image: Image.Image) -> str:
    """Return the sha256 (hex) of an RGB image's size and pixels: equal for equal pictures, whatever the file.

    Raises:
        ValueError: the image isn't RGB; load it with `load_image` first.
    """
    if image.mode != "RGB":
        raise ValueError(f"expected an RGB image as load_image gives it, found mode {image.mode}")
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _load_file(path: Path, max_pixels: int) -> Image.Image:
    name = str(path)
    try:
        # Opening a pipe or a device could wait for ever, so ask what it is first.
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise ImageUnreadableError(name, "is a folder, expected an image file; give the files inside it")
        if not stat.S_ISREG(kind):
            raise ImageUnreadableError(name, "is a pipe or device, expected an image file; save it to a file")
        stream = path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise unreadable(name, error) from error
    with stream:
        return _load_stream(stream, name, max_pixels)


def _load_stream(stream: BinaryIO, name: str, max_pixels: int) -> Image.Image:
    with _decoding(name, max_pixels):
        if not stream.read(1):
            raise ImageDecodeError(name, "is empty (0 bytes), expected an image file; fetch or save it again")
        stream.seek(0)
    with (
        _decoding(name, max_pixels),
        _header_lock,
        warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
    ):
        image: Image.Image = Image.open(stream, formats=_FORMATS)
    return _to_rgb(image, name, max_pixels)


def _from_array(array: NDArray[np.generic], name: str, max_pixels: int) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageFormatError(
            name, "expected an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; put the channels last"
        )
    _check_size(array.shape[1], array.shape[0], name, max_pixels)
    if np.issubdtype(array.dtype, np.floating):
        values = array.astype(np.float32)
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):  # false for NaN too
            raise ImageFormatError(
                name, f"expected floats in [0, 1], found {low:.4g} to {high:.4g}; rescale or clean the values"
            )
        array = np.rint(values * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageFormatError(name, "expected uint8 or floats in [0, 1]; convert the values")
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def _to_rgb(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    _check_size(image.width, image.height, name, max_pixels)
    if image.mode == "F":
        raise ImageFormatError(
            name, "has float pixels of unknown range (mode F); scale them to [0, 1] and pass a float array"
        )
    with _decoding(name, max_pixels):
        image.load()
        rgb = _map_to_rgb(image, name)
        if (turn := _UPRIGHT.get(_orientation(image))) is not None:
            rgb = rgb.transpose(turn)
    # Left in place, an EXIF block would turn the picture once more wherever it is loaded next.
    rgb.info.clear()
    return rgb


def _map_to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bit(image, name)
    if image.has_transparency_data:
        # La has no way to RGBA but through LA.
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode not in _DIRECT_MODES:
        raise ImageFormatError(
            name, f"has pixels of mode {image.mode}, which has no mapping to RGB; save it as 8-bit RGB"
        )
    return image.convert("RGB")  # a copy where it is RGB already


def _from_16_bit(image: Image.Image, name: str) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:  # mode I holds 32 bits
        raise ImageFormatError(
            name, f"has greyscale values {low} to {high}, expected 0 to 65535; save it with 8 or 16 bits"
        )
    grey = ((values + 128) // 257).astype(np.uint8)  # 65535 = 255 * 257; rounded to nearest
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # the parser's errors are as many as the ways EXIF is broken
        return 1


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise ImageSizeError(
            name, f"is {width} x {height} pixels, expected at least {MIN_SIDE} a side; use a larger picture"
        )
    if width * height > max_pixels:
        raise ImageSizeError(
            name,
            f"is {width} x {height} = {width * height:,} pixels, expected at most {max_pixels:,}; scale it down first",
        )


@contextmanager
def _decoding(name: str, max_pixels: int) -> Iterator[None]:
    """Turn whatever Pillow raises inside into an ImageError, with the original as its cause."""
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageSizeError(
            name, f"has too many pixels, expected at most {max_pixels:,}; scale it down first ({error})"
        ) from error
    except UnidentifiedImageError as error:
        known = ", ".join(_FORMATS)
        raise ImageDecodeError(
            name, f"isn't an image, or of a kind not read here; save it as one of {known}"
        ) from error
    except Exception as error:  # decoders raise SyntaxError, struct.error, IndexError, MemoryError, ...
        if isinstance(error, OSError) and error.errno is not None:  # from the system, not from the decoder
            raise unreadable(name, error) from error
        detail = str(error) or type(error).__name__
        raise ImageDecodeError(
            name, f"is truncated or damaged ({detail}), expected a whole image; fetch or save it again"
        ) from error


def unreadable(name: str, error: OSError | ValueError) -> ImageUnreadableError:
    """Return what the system's refusal means for people."""
    if isinstance(error, FileNotFoundError):
        return ImageUnreadableError(name, "doesn't exist; check the path")
    if isinstance(error, PermissionError):
        return ImageUnreadableError(name, "may not be read (permission denied); change its permissions")
    detail = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return ImageUnreadableError(name, f"can't be read ({detail}); check the path and the disk")
