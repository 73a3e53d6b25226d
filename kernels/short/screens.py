"""What a screen of short codes tells a search: the photos that look nearest, and those that a limit leaves possible."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from kernels.short.basis import Basis
from kernels.short.codes import Scales


class Codes(Protocol):
    """Short codes of N photos, wherever an implementation holds them."""

    @property
    def basis(self) -> Basis:
        """What they were made with."""

    @property
    def scales(self) -> Scales:
        """What all photos share."""

    @property
    def held_by(self) -> str:
        """The implementation that screens them, a name of `kernels.dispatch`."""

    @property
    def nbytes(self) -> int:
        """Bytes that a screen of all photos reads."""

    def __len__(self) -> int: ...


class Likely(NamedTuple):
    """Photos that look nearest: float32 and int64 [Q, count] or less, ascending; infinity and -1: none."""

    estimate: NDArray[np.float32]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Possible:
    """Of one sketch the rows whose lower bound is within its limit.

    rows: int64 [n]; ascending, as screens give them, until `of` orders them. lower, estimate: float32 [n]. count: how
    many there were, also where that is more than were kept.
    """

    rows: NDArray[np.int64]
    lower: NDArray[np.float32]
    estimate: NDArray[np.float32]
    count: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def complete(self) -> bool:
        """Whether all were kept."""
        return self.count == len(self.rows)

    def of(self, which: NDArray[np.generic] | slice) -> Self:
        """Some of them, by a mask, places or a slice."""
        return replace(self, rows=self.rows[which], lower=self.lower[which], estimate=self.estimate[which])

    def behind(self, first: int) -> Self:
        """The same with numbers that begin at `first`."""
        return replace(self, rows=self.rows + first)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Those of several runs."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.lower for part in parts]),
            np.concatenate([part.estimate for part in parts]),
            sum(part.count for part in parts),
        )


class Screen(Protocol):
    """Q sketches against the codes of one run of photos. Dead rows are never returned."""

    def likely(self, count: int) -> Likely:
        """The smallest estimates of all photos, or of an even sample of them."""

    def possible(self, limits: NDArray[np.float32]) -> list[Possible]:
        """The rows whose lower bound is at most a sketch's limit [Q], which is finite; one answer for each sketch."""


class MatrixScreen:
    """A screen that has all bounds and estimates at hand: float32 [Q, N], infinity for dead rows."""

    def __init__(self, lower: NDArray[np.float32], estimate: NDArray[np.float32]) -> None:
        self.lower, self.estimate = lower, estimate

    def likely(self, count: int) -> Likely:
        """Of all photos."""
        rows = np.argsort(self.estimate, axis=1, kind="stable")[:, :count].astype(np.int64)
        estimate = np.take_along_axis(self.estimate, rows, 1)
        rows[np.isinf(estimate)] = -1
        return Likely(estimate, rows)

    def possible(self, limits: NDArray[np.float32]) -> list[Possible]:
        """All of them."""
        found = []
        for lower, estimate, limit in zip(self.lower, self.estimate, limits, strict=True):
            rows = np.flatnonzero(lower <= limit)
            found.append(Possible(rows, lower[rows], estimate[rows], len(rows)))
        return found
