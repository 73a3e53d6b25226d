"""What a gallery stores of its photos: the features of N of them, their shapes and limits. No torch here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import FeatureShapeError, FeatureValueError

Array = NDArray[Any]

FLOAT16_MAX = 65504.0
_DIMENSIONS = {"region_weights": 2, "level_weights": 3, "maps": 4}  # a level has 3


@dataclass(frozen=True)
class FeatureShapes:
    """What all photos of a gallery have in common: R, (C_1 .. C_L) and (h, w)."""

    regions: int
    level_dims: tuple[int, ...]
    map_size: tuple[int, int]

    def __post_init__(self) -> None:
        if len(self.map_size) != 2 or min(self.regions, *self.map_size, *(self.level_dims or (0,))) < 1:
            raise FeatureShapeError(
                f"found features of {self}: expected at least one region, one level, one channel a level "
                "and one map cell; check the model that computed them"
            )

    def __str__(self) -> str:
        cells = " x ".join(str(size) for size in self.map_size)
        levels = f"{len(self.level_dims)} levels of {self.level_dims} channels"
        return f"{self.regions} regions, {levels}, maps of {cells}"

    @property
    def searched_bytes(self) -> int:
        """Bytes of a stored photo that a search reads: its levels (float16) and weights (float32), not its maps."""
        return self.regions * (2 * sum(self.level_dims) + 4 * (1 + len(self.level_dims)))

    def to_json(self) -> str:
        """Return the shapes as a JSON object."""
        return json.dumps({"regions": self.regions, "level_dims": self.level_dims, "map_size": self.map_size})

    @classmethod
    def from_json(cls, text: str) -> FeatureShapes:
        """Read what :meth:`to_json` wrote; raises KeyError, TypeError or ValueError on anything else."""
        found = json.loads(text)
        height, width = found["map_size"]
        return cls(
            regions=int(found["regions"]),
            level_dims=tuple(int(channels) for channels in found["level_dims"]),
            map_size=(int(height), int(width)),
        )


@dataclass(frozen=True, eq=False)
class FeatureBlock:
    """The features of N photos, before they are stored or as they are stored.

    Args:
        levels: L arrays [N, R, C_l], floating point.
        region_weights: [N, R], floating point, >= 0.
        level_weights: [N, R, L], floating point, >= 0.
        maps: [N, R, h, w], floating point in 0..1, or uint8 (255 is 1).

    Raises:
        FeatureShapeError: the arrays disagree on N, R or L, or have dtypes other than these.
    """

    levels: tuple[Array, ...]
    region_weights: Array
    level_weights: Array
    maps: Array

    def __post_init__(self) -> None:
        for name, array in self.arrays().items():
            kind, dimensions = array.dtype.kind, _DIMENSIONS.get(name, 3)
            if not (kind == "f" or (name == "maps" and array.dtype == np.uint8)):
                expected = "floating point or uint8" if name == "maps" else "floating point"
                raise FeatureShapeError(f"{name} is {array.dtype}; expected {expected}: convert it first")
            if array.ndim != dimensions:
                raise FeatureShapeError(f"{name} has shape {array.shape}; expected {dimensions} dimensions")
        photos, regions = self.region_weights.shape
        expected_weights = (photos, regions, len(self.levels))
        if self.level_weights.shape != expected_weights:
            raise FeatureShapeError(
                f"level_weights has shape {self.level_weights.shape}; expected [N, R, L] = "
                f"{expected_weights}: there are {len(self.levels)} levels, and region_weights is "
                f"[N, R] = {(photos, regions)}"
            )
        for name, array in self.arrays().items():
            if array.shape[:2] != (photos, regions):
                raise FeatureShapeError(
                    f"{name} has shape {array.shape}; expected it to begin with [N, R] = "
                    f"{(photos, regions)}, the shape of region_weights"
                )
        _ = self.shapes  # refuses dimensions of 0

    def __len__(self) -> int:
        return int(self.region_weights.shape[0])

    @property
    def shapes(self) -> FeatureShapes:
        """R, C_l, h and w of this block."""
        return FeatureShapes(
            regions=self.region_weights.shape[1],
            level_dims=tuple(level.shape[2] for level in self.levels),
            map_size=(self.maps.shape[2], self.maps.shape[3]),
        )

    def arrays(self) -> dict[str, Array]:
        """All arrays by the names they have in a segment."""
        levels = {f"level_{index}": level for index, level in enumerate(self.levels)}
        others = {
            "region_weights": self.region_weights,
            "level_weights": self.level_weights,
            "maps": self.maps,
        }
        return levels | others

    def validate(self, ids: Sequence[str]) -> None:
        """Refuse what can't be stored, before anything is written.

        Args:
            ids: N ids, to name the photo at fault.

        Raises:
            FeatureShapeError: not N ids.
            FeatureValueError: NaN, infinity, a level value beyond float16, a weight below 0 or beyond
                float32, a map outside 0..1.
        """
        if len(ids) != len(self):
            raise FeatureShapeError(f"found {len(ids)} ids for the features of {len(self)} photos; expected one each")
        for index, level in enumerate(self.levels):
            _refuse(
                level, ~(np.abs(level) <= FLOAT16_MAX), ids, f"level {index}",
                f"finite values of at most {FLOAT16_MAX:.0f} (the gallery stores float16)",
            )  # fmt: skip
        for name in ("region_weights", "level_weights"):
            weights = self.arrays()[name]
            fits = (weights >= 0) & (weights <= np.finfo(np.float32).max)
            _refuse(weights, ~fits, ids, name, "finite weights of at least 0")
        if self.maps.dtype != np.uint8:
            inside = (self.maps >= 0) & (self.maps <= 1)
            _refuse(self.maps, ~inside, ids, "maps", "values from 0 to 1")

    def encoded(self) -> FeatureBlock:
        """Return the block in the dtypes it is stored in, C-contiguous; call :meth:`validate` first."""
        maps = self.maps
        if maps.dtype != np.uint8:
            # In float64: a float16 product would be rounded before it is rounded to a whole number.
            maps = np.rint(maps.astype(np.float64) * 255).astype(np.uint8)
        return FeatureBlock(
            levels=tuple(np.ascontiguousarray(level, dtype="<f2") for level in self.levels),
            region_weights=np.ascontiguousarray(self.region_weights, dtype="<f4"),
            level_weights=np.ascontiguousarray(self.level_weights, dtype="<f4"),
            maps=np.ascontiguousarray(maps),
        )


def _refuse(array: Array, bad: Array, ids: Sequence[str], name: str, expected: str) -> None:
    """Raise FeatureValueError for the first photo and region [n, r, ...] that ``bad`` marks."""
    if not bad.any():
        return
    where = tuple(int(index) for index in np.unravel_index(int(bad.argmax()), bad.shape))
    photo, region = where[:2]
    raise FeatureValueError(
        f"photo {ids[photo]!r}, {name}, region {region}: found {float(array[where])}; expected {expected}: leave the "
        "photo out, or check the model that computed its features"
    )
