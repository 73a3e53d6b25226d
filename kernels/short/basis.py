"""What short codes are measured from: a centre, axes and steps for each (region, level).

Any centre, axes and steps give valid bounds, so long as the axes are near orthonormal; those of the gallery give tight
ones. A term is a (region, level), level innermost.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

LARGEST_DEPARTURE = 0.01
"""Axes further from orthonormal than this are refused: they come from no decomposition in floating point."""
ROUNDOFF = 2.0**-53
GROUP = 4
"""Coordinates are kept in groups of as many: what one step of the integer product takes."""


@dataclass(frozen=True, eq=False)
class Term:
    """One region and level: m coordinates of C channels.

    centre: float32 [C]. axes: float64 [m, C], rows near orthonormal. steps: float32 [m], > 0: what a code of 1 means.
    unit: a power of two; photos' norms are stored as float16 multiples of it, so that neither a large nor a small model
    leaves its range.
    """

    centre: NDArray[np.float32]
    axes: NDArray[np.float64]
    steps: NDArray[np.float32]
    unit: float

    def __post_init__(self) -> None:
        shapes = (self.centre.shape, self.axes.shape, self.steps.shape)
        if self.axes.ndim != 2 or shapes[0] != self.axes.shape[1:] or shapes[2] != self.axes.shape[:1]:
            raise ValueError(f"centre, axes and steps are {shapes}; expected [C], [m, C] and [m]")
        usable = np.isfinite(self.steps) & (self.steps > 0)
        if not (np.isfinite(self.centre).all() and np.isfinite(self.axes).all() and usable.all()):
            raise ValueError("centre, axes or steps aren't finite, or a step isn't above 0; fit the basis again")
        if math.frexp(self.unit)[0] != 0.5:
            raise ValueError(f"unit is {self.unit}; expected a power of two")
        if not self.departure <= LARGEST_DEPARTURE:
            raise ValueError(
                f"the axes depart from orthonormal by {self.departure:.3g}; expected at most {LARGEST_DEPARTURE}"
            )

    @cached_property
    def departure(self) -> float:
        """delta: at least ||V V' - I||, the spectral norm.

        The Frobenius norm is at least that; a product of m x C rounds by at most C u |v| |v'|, added for each entry.
        """
        m, channels = self.axes.shape
        if not m:
            return 0.0
        product = self.axes @ self.axes.T
        rounding = 1.01 * (channels + 2) * ROUNDOFF * m * float(product.diagonal().max(initial=0))
        found: float = float(np.linalg.norm(product - np.eye(m))) * (1 + 2.0**-40) + rounding
        return found

    @property
    def kept_error(self) -> float:
        """alpha: what `coordinates` gives as V x is within alpha |x| of it: C products added in any order, m times."""
        m, channels = map(int, self.axes.shape)
        return 2.0 * (channels + 4) * math.sqrt(m) * ROUNDOFF

    @property
    def cut_error(self) -> float:
        """beta: what `coordinates` gives as |x - V'V x| is within beta |x| of it."""
        m, channels = map(int, self.axes.shape)
        return 2 * self.kept_error + (4 * (m + 4) * math.sqrt(m) + 2 * (channels + 8)) * ROUNDOFF

    def coordinates(self, vectors: NDArray[np.floating]) -> "Coordinates":
        """Split vectors [N, C], floating point, in float64: x = vector - centre into V x and the rest, x - V'V x.

        The rest's norm is taken of the rest itself: no difference of squares.
        """
        x = vectors.astype(np.float64) - self.centre
        kept = x @ self.axes.T
        return Coordinates(kept, _norm(x - kept @ self.axes), _norm(x))


@dataclass(frozen=True)
class Coordinates:
    """Vectors along a term's axes, float64: kept [N, m], the norms [N] of what is cut off, and of the whole."""

    kept: NDArray[np.float64]
    cut: NDArray[np.float64]
    norm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Basis:
    """The terms of R regions and L levels, and their name: equal names mean equal bases."""

    regions: int
    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        if not self.terms or len(self.terms) % self.regions:
            raise ValueError(f"{len(self.terms)} terms for {self.regions} regions; expected some for each region")
        for number, term in enumerate(self.terms):
            if len(term.centre) != len(self.terms[number % self.levels].centre):
                raise ValueError(f"term {number} has {len(term.centre)} channels, other than its level's")

    @property
    def levels(self) -> int:
        """L."""
        return len(self.terms) // self.regions

    @property
    def channels(self) -> tuple[int, ...]:
        """C_l of each level."""
        return tuple(len(term.centre) for term in self.terms[: self.levels])

    @cached_property
    def name(self) -> str:
        """16 hexadecimal digits made of everything in it."""
        sizes = [(term.axes.shape, term.unit) for term in self.terms]
        digest = hashlib.sha256(str((self.regions, sizes)).encode())
        for term in self.terms:
            for array in (term.centre, term.axes, term.steps):
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Where each term's groups of coordinates begin, and the end of the last: int64 [terms + 1]."""
        sizes = [-(-len(term.axes) // GROUP) for term in self.terms]
        return np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)

    @cached_property
    def units(self) -> NDArray[np.float64]:
        """Each term's unit, float64 [terms]."""
        return np.array([term.unit for term in self.terms])

    @property
    def coordinates(self) -> int:
        """Coordinates kept of a photo, filled up to groups: bytes of its codes."""
        return GROUP * int(self.groups[-1])

    @property
    def photo_bytes(self) -> int:
        """Bytes of memory that a photo takes, weights, norms and errors included."""
        return self.coordinates + 2 * (4 * len(self.terms) + self.regions)

    def coordinates_from(self, number: int) -> int:
        """The first coordinate of a term among all of them."""
        return GROUP * int(self.groups[number])

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """Which term each coordinate is of, those that fill up a group too: int64 [coordinates]."""
        return np.repeat(np.arange(len(self.terms)), GROUP * np.diff(self.groups))

    @cached_property
    def steps(self) -> NDArray[np.float64]:
        """The terms' steps side by side, float64 [coordinates]; 1 where a group is filled up."""
        result = np.ones(self.coordinates)
        for number, term in enumerate(self.terms):
            first = self.coordinates_from(number)
            result[first : first + len(term.steps)] = term.steps
        return result

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of values [Q, coordinates] the sum over each term, [Q, terms]; 0 of one without coordinates."""
        return self._by_term(np.add, values)

    def largest(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """As `sums`: the largest of values >= 0."""
        return self._by_term(np.maximum, values)

    def _by_term(self, what: np.ufunc, values: NDArray[np.float64]) -> NDArray[np.float64]:
        result = np.zeros((len(values), len(self.terms)))
        some = np.diff(self.groups) > 0
        if some.any():
            result[:, some] = what.reduceat(values, GROUP * self.groups[:-1][some], axis=1)
        return result

    def vectors(self, levels: Sequence[NDArray[np.floating]], number: int) -> NDArray[np.floating]:
        """Of L arrays [N, R, C_l] the one of a term, [N, C_l]."""
        return levels[number % self.levels][:, number // self.levels]


def _norm(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.sqrt(np.einsum("nc,nc->n", vectors, vectors))
    return result
