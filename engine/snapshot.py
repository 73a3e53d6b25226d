"""What readers see of a gallery: the living photos of one commit, memory-mapped. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.features import Array
from engine.ids import Ids


@dataclass(frozen=True, eq=False)
class SegmentView:
    """One segment with at least one living photo, memory-mapped.

    The arrays cover all N rows; the M ``live_rows``, ascending, are those that count, ``ids`` are their ids.
    """

    name: str
    levels: tuple[Array, ...]  # L x [N, R, C_l] float16
    region_weights: Array  # [N, R] float32
    level_weights: Array  # [N, R, L] float32
    maps: Array  # [N, R, h, w] uint8, 255 is 1
    live_rows: NDArray[np.int64]  # [M]
    ids: Ids  # M


@dataclass(frozen=True, eq=False)
class GallerySnapshot:
    """The gallery at one commit. It stays as it is whatever is added or removed later."""

    generation: int
    segments: tuple[SegmentView, ...]

    def __len__(self) -> int:
        return sum(len(segment.ids) for segment in self.segments)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of all photos, segment by segment."""
        return tuple(id_ for segment in self.segments for id_ in segment.ids)


@dataclass(frozen=True, eq=False)
class Selection:
    """The photos of a snapshot that a search may return."""

    snapshot: GallerySnapshot
    rows: tuple[NDArray[np.int64], ...] | None = None
    """For each segment some of its living rows, ascending; None: all photos."""

    def __len__(self) -> int:
        return len(self.snapshot) if self.rows is None else sum(map(len, self.rows))
