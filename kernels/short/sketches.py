"""One sketch of several on the way to its answer: rows read so far, and rows that may still be nearer.

The sketch says which rows it wants next; who reads them, for all sketches together, tells it their distances.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.short.screens import Possible
from kernels.topk import Nearest


@dataclass(frozen=True)
class Screened:
    """One answer, and what it took.

    nearest: as `kernels.topk.nearest` gives it. certified: whether it is proven to be the float64 ranking.
    survivors: photos that the screen leaves possible, once those that look nearest have been rescored. rescored: photos
    whose float64 distance was computed. rows_read: rows whose features were read, each as often as it was from memory
    or disk. fell_through: whether the exact scan answered.
    """

    nearest: Nearest
    certified: bool
    survivors: int
    rescored: int
    rows_read: int
    fell_through: bool


class Sketch:
    """Rows of one sketch that were read, their distances, and the possible rows that are left.

    rows, distance: int64 and float64 [n], the first that were read. possible: all that T, the k-th of them, allowed.
    most: rows that may be read in all; None: as many as it takes.
    """

    def __init__(
        self, rows: NDArray[np.int64], distance: NDArray[np.float64], possible: Possible, k: int, most: int | None
    ) -> None:
        self.rows, self._distance, self._possible, self._k = rows, distance, possible, k
        self._room = None if most is None else most - len(rows)
        unread, places = np.ones(len(possible), np.bool_), np.searchsorted(possible.rows, rows)
        places, rows = places[places < len(possible)], rows[places < len(possible)]
        unread[places[possible.rows[places] == rows]] = False
        left = possible.of(unread)
        self._left = left.of(np.argsort(left.estimate, kind="stable"))  # those that look nearest bring T down

    @property
    def limit(self) -> np.float32:
        """T, not rounded down: what is beyond it isn't among the k nearest."""
        return above(kth(self._distance, self._k))

    @property
    def left(self) -> int:
        """Rows that may still be nearer than T, and may be read."""
        return len(self._left) if self._room is None else min(self._room, len(self._left))

    @property
    def survivors(self) -> int:
        """Rows that the screen leaves possible by the T of now."""
        return int((self._possible.lower <= self.limit).sum()) if self._possible.complete else self._possible.count

    def nearer(self, most: int) -> NDArray[np.int64]:
        """The next rows that look nearer than T. Where T is of a sample there are some, which bring it down."""
        looks = int(np.searchsorted(self._left.estimate, kth(self._distance, self._k)))
        return self.next(min(most, looks))

    def next(self, most: int) -> NDArray[np.int64]:
        """The next rows to read, int64 [up to `most`], those that look nearest first; they are no longer left."""
        count = min(most, self.left)
        now, self._left = self._left.of(slice(count)), self._left.of(slice(count, None))
        if self._room is not None:
            self._room -= count
        return now.rows

    def read(self, rows: NDArray[np.int64], distance: NDArray[np.float64]) -> None:
        """Take the distances of rows that were read; infinity where one is beyond the limit, by whatever bound."""
        self.rows, self._distance = np.concatenate((self.rows, rows)), np.concatenate((self._distance, distance))
        self._left = self._left.of(self._left.lower <= self.limit)

    def needs_scan(self, many: int) -> bool:
        """Whether reading what is left row by row, more than `many`, would cost more than a scan of all."""
        return self._room is None and (not self._possible.complete or len(self._left) > many)

    def answer(self, survivors: int) -> Screened:
        """From what was read. survivors: as counted before the later rounds."""
        limit = kth(self._distance, self._k)
        kept = np.flatnonzero(self._distance <= limit)
        kept = kept[np.lexsort((self.rows[kept], self._distance[kept]))]
        found = Nearest(torch.from_numpy(self.rows[kept]), torch.from_numpy(self._distance[kept]))
        certified = self._possible.complete and not len(self._left)
        rescored = int(np.isfinite(self._distance).sum())
        return Screened(found, certified, survivors, rescored, len(self.rows), False)


def kth(distance: NDArray[np.float64], k: int) -> float:
    """The k-th smallest distance; infinity where there are fewer: then every live row counts."""
    return float(np.partition(distance, k - 1)[k - 1]) if len(distance) >= k else np.inf


def above(limit: float) -> np.float32:
    """The limit in float32, not below: bounds are compared in their own type. Dead rows, at infinity, stay out."""
    at_least = min(np.nextafter(np.float32(limit), np.float32(np.inf)), np.finfo(np.float32).max)
    return np.float32(at_least)
