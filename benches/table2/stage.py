"""What consecutive rows share: one size's inputs and one way's copy of the gallery at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benches.drawn_like import Statistics
from benches.memory import free_bytes
from benches.oracle import oracle
from benches.table2.inputs import Side, draw, draw_like, own_photos
from benches.table2.real import shipped, sides, statistics_of
from benches.table2.sizes import Size
from benches.table2.ways import Searching, Way, ways
from mlrm.datasets import PairDataset

CHECKED_SKETCHES = 8
"""Sketches whose answer is compared with the float64 ranking."""


def gallery_of(size: Size) -> tuple[str, int]:
    """What names a gallery."""
    return size.trunk, size.photos


@dataclass(frozen=True)
class Inputs:
    """What is searched.

    nearest: the oracle's photos for the first sketches, int64 [CHECKED_SKETCHES, top_k], on the CPU. own: the photo
    that each sketch shows, int64 [Q], on the CPU; None where sketches are drawn apart from the photos.
    """

    gallery: Side
    sketches: Side
    nearest: Tensor
    own: Tensor | None
    free_bytes: int


class Table2Stage:
    """Keeps the gallery of the row before, and what a way made of it, until the next row needs another.

    sizes: all that are measured; those of one gallery share its largest one's sketches.
    """

    def __init__(
        self, device: torch.device, whole: bool, sizes: Sequence[Size], real: Mapping[Size, PairDataset]
    ) -> None:
        self.device, self.whole, self._real = device, whole, real
        self._largest = {gallery_of(size): size for size in sorted(sizes, key=lambda size: size.sketches)}
        self._statistics: Statistics | None = None
        self._size: Size | None = None
        self._inputs: Inputs | None = None
        self._way: Way | None = None
        self._ready: Searching | None = None

    def inputs(self, size: Size) -> Inputs:
        """The photos of a size, and its sketches or more."""
        size = self._largest[gallery_of(size)]
        if self._inputs is None or self._size != size:
            self.clear()
            gallery, sketches = (side.to(self.device) for side in self._sides(size))
            nearest = oracle(sketches.rows[:CHECKED_SKETCHES], gallery.rows, size.top_k)
            self._inputs = Inputs(gallery, sketches, nearest.cpu(), self._own(size), free_bytes(self.device))
            self._size = size
        return self._inputs

    def _sides(self, size: Size) -> tuple[Side, Side]:
        if size in self._real:
            return sides(shipped(), self._real[size], lambda what, done, total: None)
        grids = max(way.sketches(size, self.whole) for way in ways(self.device.type) if way.needs_grid)
        grids = 0 if size.large else grids
        if not size.drawn_like:
            return draw(size, grids)
        if self._statistics is None:
            folders = [dataset.root for dataset in self._real.values()]
            self._statistics = statistics_of(folders, lambda what, done, total: None)
        return draw_like(size, grids, self._statistics)

    def _own(self, size: Size) -> Tensor | None:
        if size in self._real:
            return torch.tensor(self._real[size].photo_of)
        return own_photos(size) if size.drawn_like else None

    def ready(self, way: Way, inputs: Inputs) -> Searching:
        """The present gallery made ready for a way."""
        if self._ready is None or self._way != way:
            self._close()
            self._ready, self._way = way.prepare(inputs.gallery), way
        return self._ready

    def clear(self) -> None:
        """Drop everything."""
        self._close()
        self._inputs = self._size = None

    def _close(self) -> None:
        if self._ready is not None:
            self._ready.close()
        self._ready = None
