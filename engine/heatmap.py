"""Region maps as pictures: where on an image a region of the model looks. Pillow and NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Nine samples of the perceptually uniform map "plasma" (CC0), at 0, 1/8, .. 1: RGB, 0..255.
_ANCHORS = np.array(
    [
        (13, 8, 135), (76, 2, 161), (126, 3, 168), (169, 35, 149), (204, 70, 120),
        (229, 107, 93), (248, 149, 64), (253, 197, 39), (240, 249, 33),
    ],
    dtype=np.float64,
)  # fmt: skip
# The image behind: grey, between these two, so that no part of it is as bright or as vivid as a region.
_DARKEST, _BRIGHTEST = 0.0, 196.0
# A region is its few cells of 0.5 and above: from there on the colour covers the image this much.
_OPACITY, _OPAQUE_FROM = 0.8, 0.5


def colours(values: NDArray[Any]) -> NDArray[np.float64]:
    """Map values [...] in 0..1 to colours [..., 3], RGB in 0..255."""
    at = np.linspace(0.0, 1.0, len(_ANCHORS))
    return np.stack([np.interp(values, at, channel) for channel in _ANCHORS.T], axis=-1)


def overlay(image: Image.Image, region_map: NDArray[Any]) -> Image.Image:
    """Draw one region map over its image.

    The map covers the whole image whatever its aspect ratio, as the model sees it. Between the centres of its
    cells it is interpolated (bicubic, clipped to 0..1), at them it is exact. The scale is fixed, not fitted
    to each map: one colour is one value in every picture, and a map that is nowhere high shows nothing. A
    region's strong cells (0.5 and above; LAMA leaves exactly ``threshold_cells`` of them) cover the image
    almost fully and run from red to yellow; below 0.5 the colour fades out, at 0 the grey image is left.

    Args:
        image: RGB.
        region_map: [h, w], values in 0..1.

    Returns:
        A new RGB image of the size of ``image``.

    Raises:
        ValueError: another mode, another number of dimensions, or values outside 0..1.
    """
    if image.mode != "RGB":
        raise ValueError(f"found an image of mode {image.mode}; expected RGB: convert it first")
    cells = region_map.astype(np.float32)
    if cells.ndim != 2 or cells.size == 0 or not ((cells >= 0) & (cells <= 1)).all():
        lowest, highest = cells.min(initial=np.inf), cells.max(initial=-np.inf)
        raise ValueError(
            f"found a region map of shape {cells.shape} with values in {lowest:g}..{highest:g}; expected "
            "[h, w] with values in 0..1: give one region's map (a stored uint8 map divided by 255)"
        )
    smooth = Image.fromarray(cells).resize(image.size, Image.Resampling.BICUBIC)
    values = np.asarray(smooth, np.float64).clip(0.0, 1.0)  # [H, W]
    grey = np.asarray(image.convert("L")) / 255.0 * (_BRIGHTEST - _DARKEST) + _DARKEST  # [H, W]
    ramp = np.minimum(values / _OPAQUE_FROM, 1.0)
    # Flat at 0: neither a background of 0.02 nor the interpolation's ripples around a peak show as marks.
    opacity = (_OPACITY * ramp * ramp * (3.0 - 2.0 * ramp))[..., None]
    blended = (1.0 - opacity) * grey[..., None] + opacity * colours(values)
    return Image.fromarray(np.rint(blended).astype(np.uint8))


def colour_bar(size: tuple[int, int]) -> Image.Image:
    """Draw the colours from 0 at the left to 1 at the right, faded as :func:`overlay` fades them.

    Args:
        size: (width, height) in pixels.

    Returns:
        RGB.
    """
    width, height = size
    values = np.tile(np.linspace(0.0, 1.0, width), (height, 1))
    return overlay(Image.new("RGB", size, "white"), values)
