"""The one preprocessing path of training, serving and export: RGB image -> square -> uint8 tensor.

Normalisation is inside the model, so nothing here depends on the trunk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageStat

SIZE = 256

# Rec. 601 luma, what Pillow's own greyscale conversion uses.
_LUMA = np.array([0.299, 0.587, 0.114])


def to_square(image: Image.Image, size: int = SIZE) -> Image.Image:
    """Resize an RGB image to [size, size], not cropped, with Pillow's antialiased bilinear filter.

    Raises:
        ValueError: the image isn't RGB; load it with `mlrm.images.load_image` first.
    """
    if image.mode != "RGB":
        raise ValueError(f"expected an RGB image as load_image gives it, found mode {image.mode}")
    return image.resize((size, size), Image.Resampling.BILINEAR)


def image_to_tensor(image: Image.Image, size: int = SIZE) -> torch.Tensor:
    """Return an RGB image as the model's input: uint8 [3, size, size], contiguous.

    Raises:
        ValueError: the image isn't RGB.
    """
    return _tensor(to_square(image, size))


def _tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class PairAugment:
    """Random variations of a sketch and its photo for training, by the released program's defaults.

    - Shared by the pair, so drawn by the caller: the horizontal flip. A mirrored shoe is another view, the pair
      has to agree on it.
    - Drawn for each image by itself: zoom and crop, rotation, shift, scale, shear. People don't draw in
      register with the photo, so the model has to find regions rather than rely on equal positions.
    - Photo alone: colour jitter and channel permutation. Sketches are grey: a permutation wouldn't change
      them, and jitter would only thin their lines. Hue isn't jittered: the permutation is its stronger form.

    Geometry is one resampling, so detail isn't blurred twice; colour is one matrix. Colour comes last, so
    that the white fill is tinted like the photo's own white background and leaves no seam.

    Attributes:
        size: side of the images in pixels, in and out.
        zoom: enlargement before the random crop.
        degrees: largest rotation, either way.
        shift: largest shift, as a share of the side, in each direction.
        scale: largest change of scale, as a share.
        shear: largest horizontal shear in degrees, either way.
        permute: probability of a channel permutation (drawn from all six, the identity included).
        jitter: largest change of brightness, contrast and saturation, as a share.
    """

    size: int = SIZE
    zoom: float = 1.15
    degrees: float = 20.0
    shift: float = 0.05
    scale: float = 0.1
    shear: float = 5.0
    permute: float = 0.6
    jitter: float = 0.3

    def sketch(self, image: Image.Image | NDArray[np.uint8], flipped: bool, rng: np.random.Generator) -> torch.Tensor:
        """Vary a sketch; the same state of `rng` gives the same result.

        Args:
            image: RGB image of [size, size], or an array uint8 [size, size, 3].
            flipped: whether its pair is mirrored.
            rng: source of all randomness.

        Returns:
            uint8 [3, size, size].

        Raises:
            ValueError: the image has another mode or size.
        """
        return _tensor(self._move(self._checked(image, "sketch"), flipped, rng))

    def photo(self, image: Image.Image | NDArray[np.uint8], flipped: bool, rng: np.random.Generator) -> torch.Tensor:
        """Vary a photo, its colours too; otherwise as `sketch`."""
        return _tensor(self._recolour(self._move(self._checked(image, "photo"), flipped, rng), rng))

    def _checked(self, image: Image.Image | NDArray[np.uint8], role: str) -> Image.Image:
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        if image.mode != "RGB" or image.size != (self.size, self.size):
            raise ValueError(
                f"the {role} is {image.mode} {image.width} x {image.height}, expected RGB "
                f"{self.size} x {self.size}; use load_image and to_square first"
            )
        return image

    def _move(self, image: Image.Image, flipped: bool, rng: np.random.Generator) -> Image.Image:
        angle, shear = np.radians(rng.uniform(-1, 1, 2) * (self.degrees, self.shear))
        scale = self.zoom * (1 + rng.uniform(-self.scale, self.scale))
        # A crop of the enlarged image is a shift of its centre by up to half of what is cut off.
        shift = self.size * rng.uniform(-1, 1, (2, 2)).T @ ((self.zoom - 1) / 2, self.shift)

        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        forward = np.array([[cos, -sin], [sin, cos]]) @ [[1, math.tan(shear)], [0, 1]]
        if flipped:
            forward = forward @ [[-1, 0], [0, 1]]
        # Pillow wants the way back, from output to input coordinates; both turn about the centre.
        back = np.linalg.inv(forward)
        centre = self.size / 2
        offset = centre - back @ (centre + shift)
        return image.transform(
            image.size,
            Image.Transform.AFFINE,
            (back[0, 0], back[0, 1], offset[0], back[1, 0], back[1, 1], offset[1]),
            resample=Image.Resampling.BILINEAR,
            fillcolor=(255, 255, 255),
        )

    def _recolour(self, photo: Image.Image, rng: np.random.Generator) -> Image.Image:
        brightness, contrast, saturation = 1 + rng.uniform(-self.jitter, self.jitter, 3)
        order = rng.permutation(3) if rng.random() < self.permute else np.arange(3)

        # Saturation blends with each pixel's grey, contrast with the mean grey: together linear in the pixel.
        to_grey = np.tile(_LUMA, (3, 1))
        saturate = saturation * np.eye(3) + (1 - saturation) * to_grey
        mean_grey = _LUMA @ ImageStat.Stat(photo).mean
        matrix = brightness * contrast * saturate
        constant = brightness * (1 - contrast) * mean_grey
        rows = np.column_stack([matrix, np.full(3, constant)])[order]
        return photo.convert("RGB", tuple(rows.ravel().tolist()))
