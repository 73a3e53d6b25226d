"""Asking the system for rows of mapped features before they are read. No torch here.

A page that isn't in memory is read when it is touched: one after the other, and each with its neighbourhood, 128 KB and
on some systems 8 MB, of which a level of a row is 0.5 to 8 KB. Where the gallery is larger than memory, the neighbours
push out what is needed next. So maps are read page by page, and the rows of a search are asked for together, to be read
side by side. A row that is in memory already costs 4 us, a tenth of a search: so while this process reads nothing from
the disk, nothing is asked for.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from engine.segments import map_of
from engine.snapshot import SegmentView

if sys.platform != "win32":
    import resource

QUIET = 20_000
"""So many rows without a read from the disk, and all are taken to be in memory; until the next read."""


class ReadAhead:
    """Of some segments the rows, numbered one segment after the other. Where nothing is mapped, nothing is asked.

    coded: the first so many segments have codes: of them single rows are read, of the others all rows in their order.
    All of it is hints: nothing waits, nothing fails, and threads at once may miscount. Windows takes none.
    """

    def __init__(self, segments: Sequence[SegmentView], coded: int) -> None:
        self._coded = coded
        self._ends = np.cumsum([len(segment.region_weights) for segment in segments])
        self._files = [_File(segment) for segment in segments]
        self._in_order = True
        self._blocks_read, self._quiet = -1, 0

    def __call__(self, rows: NDArray[np.int64] | None) -> None:
        """Ask for the features of rows, int64 [n]; None: of all rows, which will be read in their order."""
        if sys.platform == "win32" or not self._files:
            return
        if self._in_order != (rows is None):
            self._in_order = rows is None
            for file in self._files[: self._coded]:
                file.expect(self._in_order)
        if rows is None or self._all_in_memory(len(rows)):
            return
        owners = np.searchsorted(self._ends, rows, side="right")
        for owner in np.unique(owners):
            file = self._files[owner]
            file.ask(rows[owners == owner] - (self._ends[owner] - file.rows))

    def _all_in_memory(self, rows: int) -> bool:
        """Whether this process has read nothing from any disk for long, by the rows it was told of."""
        now = resource.getrusage(resource.RUSAGE_SELF).ru_inblock
        self._quiet = self._quiet + rows if now == self._blocks_read else 0
        self._blocks_read = now
        return self._quiet > QUIET


class _File:
    """Where the rows of one segment lie in its map."""

    def __init__(self, segment: SegmentView) -> None:
        self.rows = len(segment.region_weights)
        self._map = map_of(segment.region_weights)
        if self._map is not None:
            arrays = (*segment.levels, segment.region_weights, segment.level_weights)
            start = np.frombuffer(self._map, np.uint8).ctypes.data
            self._first = np.array([array.ctypes.data - start for array in arrays])[:, None]
            self._size = np.array([array.strides[0] for array in arrays])[:, None]

    def expect(self, in_order: bool) -> None:
        if self._map is not None:
            with suppress(OSError):
                self._map.madvise(mmap.MADV_NORMAL if in_order else mmap.MADV_RANDOM)

    def ask(self, rows: NDArray[np.int64]) -> None:
        if self._map is None:
            return
        first = self._first + rows * self._size
        begin = first - first % mmap.PAGESIZE
        length = first + self._size - begin
        with suppress(OSError):
            for where in zip(begin.ravel().tolist(), length.ravel().tolist(), strict=True):
                self._map.madvise(mmap.MADV_WILLNEED, *where)
