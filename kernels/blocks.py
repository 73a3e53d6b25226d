"""A run of gallery rows that is searched together, with what every search of it needs and only the rows decide."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from kernels.bounds import direct_error, heaviest_weight, underflow_error
from kernels.reference import RegionFeatures, check_features

T = TypeVar("T")

HEAVIEST = "block.heaviest"
"""Where a block's cache keeps it."""
CHUNK_VALUES = 1 << 22
"""Values converted to float64 at a time: 32 MB."""


@dataclass(frozen=True, eq=False)
class GalleryBlock:
    """N gallery rows as they are stored, and which of them live; on one device.

    levels: L tensors [N, R, C_l], float32, float16 or bfloat16, each with rows of consecutive values.
    region_weights: [N, R] and level_weights: [N, R, L], floating point, >= 0.
    live: bool [N], or None where every row lives. A dead row is never returned.
    cache: what an implementation derives from the rows and wants to find again; keys begin with its name.
    A search makes a block of its queries too, for its own time.

    Everything is finite: that is the business of who stores rows. Raises `ValueError` for shapes that don't fit.
    """

    levels: tuple[Tensor, ...]
    region_weights: Tensor
    level_weights: Tensor
    live: Tensor | None = None
    cache: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_features(self, "gallery")
        if self.live is not None and (
            self.live.dtype != torch.bool or self.live.shape != self.region_weights.shape[:1]
        ):
            raise ValueError(f"live is {self.live.dtype} {list(self.live.shape)}; expected torch.bool [{len(self)}]")

    @classmethod
    def of(cls, gallery: RegionFeatures, live: Tensor | None = None) -> "GalleryBlock":
        """The block of some features; a block itself stays what it is, unless `live` is given."""
        if isinstance(gallery, cls):
            return gallery if live is None else gallery.with_live(live)
        return cls(gallery.levels, gallery.region_weights, gallery.level_weights, live)

    def __len__(self) -> int:
        return self.region_weights.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self.region_weights.device

    def with_live(self, live: Tensor | None) -> "GalleryBlock":
        """The same rows with others alive; what was derived from the rows stays known to both."""
        return replace(self, live=live)

    @cached_property
    def live_count(self) -> int:
        """Rows that may be returned."""
        return len(self) if self.live is None else int(self.live.sum())

    @property
    def centre(self) -> tuple[Tensor, ...]:
        """The mean row, L tensors [R, C_l], float32; 0 where there are no rows.

        Distances don't depend on it. What is measured from it cancels less.
        """
        return self.derived("block.centre", lambda: tuple(_mean(level) for level in self.levels))

    @property
    def square_from_centre(self) -> Tensor:
        """|row - centre|^2 for each region and level, [N, R, L], computed in float64 and rounded to float32."""

        def squares(level: Tensor, centre: Tensor) -> Tensor:
            parts = [(rows.double() - centre).square().sum(2).float() for rows in _chunks(level)]
            return torch.cat(parts) if parts else level.new_empty(level.shape[:2], dtype=torch.float32)

        return self.derived(
            "block.square_from_centre",
            lambda: torch.stack([squares(*pair) for pair in zip(self.levels, self.centre, strict=True)], 2),
        )

    @property
    def heaviest(self) -> tuple[float, float]:
        """At least the largest region weight and the largest level weight; (0, 0) where there are no rows."""
        return self.derived(HEAVIEST, lambda: _heaviest(self))

    def weigh(self, region: float, level: float) -> None:
        """Tell the block what its weights are at most, which it would read all of them to find."""
        self.cache.setdefault(HEAVIEST, (region, level))

    def derived(self, key: str, compute: Callable[[], T]) -> T:
        """What `compute` makes of the rows alone, computed once and kept in `cache` under `key`."""
        if key not in self.cache:
            self.cache[key] = compute()
        found: T = self.cache[key]
        return found


def heaviest(features: RegionFeatures) -> tuple[float, float]:
    """The largest region weight and the largest level weight of some features; (0, 0) of none."""
    if isinstance(features, GalleryBlock):
        return features.heaviest
    return _heaviest(features)


def _heaviest(features: RegionFeatures) -> tuple[float, float]:
    if not features.region_weights.shape[0]:
        return 0.0, 0.0
    # Both at once: on a GPU each is a wait.
    maxima = torch.stack((features.region_weights.max().double(), features.level_weights.max().double()))
    region, level = maxima.tolist()
    return region, level


def slack_of_differences(
    query: RegionFeatures, blocks: Sequence[GalleryBlock], region_weight_power: int
) -> tuple[float, float]:
    """How far a float32 distance from differences may be from the canonical one: (relative, absolute).

    `bounds.direct_error` of the distance, and `bounds.underflow_error` of the two sides, whichever block a row is of.
    """
    channels, regions = [level.shape[2] for level in query.levels], query.region_weights.shape[1]
    weight = heaviest_weight([heaviest(query), *(block.heaviest for block in blocks)], region_weight_power)
    return direct_error(channels, regions), underflow_error(channels, regions, weight)


def _mean(level: Tensor) -> Tensor:
    total = torch.zeros(level.shape[1:], dtype=torch.float64, device=level.device)
    for rows in _chunks(level):
        total += rows.double().sum(0)
    return (total / max(1, len(level))).float()


def _chunks(level: Tensor) -> Iterable[Tensor]:
    """[N, R, C] in runs of rows that are small in float64 too."""
    rows = max(1, CHUNK_VALUES // max(1, level.shape[1] * level.shape[2]))
    return (level[start : start + rows] for start in range(0, len(level), rows))
