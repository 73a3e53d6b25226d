"""Why a photo is near: the contributions that sum to the distance, and where both images were looked at."""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.picture import draw_explanation
from engine.types import save_picture


@dataclass(frozen=True, eq=False)
class Explanation:
    """The distance of a sketch and a photo, taken apart.

    `contributions` [R, L] float64 sum to `distance`; maps [R, h, w] are 0..1, region weights [R]; `sketch` and `photo`
    are RGB images, None where there is none to show.
    """

    id: str
    distance: float
    contributions: NDArray[np.float64]
    sketch_maps: NDArray[np.float32]
    photo_maps: NDArray[np.float32]
    sketch_region_weights: NDArray[np.float32]
    photo_region_weights: NDArray[np.float32]
    sketch: Image.Image | None
    photo: Image.Image | None

    def draw(self) -> Image.Image:
        """A picture of it."""
        return draw_explanation(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `draw()` to a file; raises `EngineError` where that can't be done."""
        save_picture(self.draw(), path)
