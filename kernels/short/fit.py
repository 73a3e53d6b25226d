"""A basis from data: centre and principal axes of a sample, and how many coordinates each term is given.

Whatever a sample gives, bounds are valid; these choices make them tight.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.short.basis import GROUP, Basis, Term
from kernels.short.codes import LARGEST_CODE

ITERATIONS = 3
"""Of the subspace iteration, in float32; the axes that matter, of the largest variance, converge first."""
MORE = 16
"""Columns carried along beyond those asked for."""
DEVIATIONS = 4.5
"""What the largest code stands for, in standard deviations; what lies beyond is clipped, and its error known."""
SMALLEST_STEP = 2.0**-60
SMALLEST_SHARE = 2.0**-16
"""Of the centre's norm: where all photos are equal, what is left of them is rounding, and no unit for a sketch."""
MOST_COORDINATES = 288
"""Of a term: where more of them were kept, codes would cost as much as what they save."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """One term of a sample along its principal axes.

    centre: float32 [C]. axes: float64 [m, C], largest variance first. deviation: float64 [m].
    width: float64 [m / GROUP + 1]: the mean half-width of the weighted interval of a distance, with so many groups of
    coordinates kept. largest: the largest norm of a photo's vector from the centre, or of a small share of the centre.
    """

    centre: NDArray[np.float32]
    axes: NDArray[np.float64]
    deviation: NDArray[np.float64]
    width: NDArray[np.float64]
    largest: float


def spectrum(
    photos: NDArray[np.floating], sketches: NDArray[np.floating], weight: float, most: int = MOST_COORDINATES
) -> Spectrum:
    """The principal axes of one term of a sample.

    photos: [n, C]. sketches: [s, C]: vectors as will be searched by. weight: the term's mean weight. most: of axes.
    """
    centre = photos.mean(0, dtype=np.float64).astype(np.float32) if len(photos) else np.zeros(photos.shape[1], "f4")
    x, y = photos.astype(np.float64) - centre, sketches.astype(np.float64) - centre
    axes, deviation = _principal(x, min(most, photos.shape[1]))
    cut_x, cut_y = _cuts(x, axes), _cuts(y, axes)
    # Half-width of [sqrt(d^2 + (a - b)^2), sqrt(d^2 + (a + b)^2)] is about a b / distance.
    distance = np.sqrt(np.square(x).sum(1).mean() + np.square(y).sum(1).mean()) if len(x) and len(y) else 0.0
    width = weight * cut_x * cut_y / distance if distance > 0 else np.zeros(len(cut_x))
    norm = float(np.sqrt(np.square(x).sum(1).max(initial=0)))
    largest = max(norm, SMALLEST_SHARE * float(np.linalg.norm(centre)))
    return Spectrum(centre, axes, deviation, width, largest)


def allocate(spectra: Sequence[Spectrum], coordinates: int) -> tuple[int, ...]:
    """How many coordinates each term keeps of about `coordinates` in all: greedily, where they narrow an interval most.

    Fewer in all where the terms have no more axes.
    """
    groups = [0] * len(spectra)
    gains = [(-_gain(one, 0), number) for number, one in enumerate(spectra) if len(one.width) > 1]
    heapq.heapify(gains)
    for _ in range(coordinates // GROUP):
        if not gains:
            break
        _, number = heapq.heappop(gains)
        groups[number] += 1
        if groups[number] + 1 < len(spectra[number].width):
            heapq.heappush(gains, (-_gain(spectra[number], groups[number]), number))
    return tuple(min(GROUP * count, len(one.axes)) for count, one in zip(groups, spectra, strict=True))


def basis_of(spectra: Sequence[Spectrum], kept: Sequence[int], regions: int) -> Basis:
    """The basis that keeps so many coordinates of each term."""
    terms = []
    for one, count in zip(spectra, kept, strict=True):
        steps = np.maximum(one.deviation[:count] * DEVIATIONS / LARGEST_CODE, SMALLEST_STEP).astype(np.float32)
        terms.append(Term(one.centre, np.ascontiguousarray(one.axes[:count]), steps, unit_of(one.largest)))
    return Basis(regions, tuple(terms))


def unit_of(largest: float) -> float:
    """The unit for norms up to `largest`: that is at most 8 units, a square 64 of the 65,504 that float16 holds.

    So photos up to 30 times larger than a sample's are still known, and the small ones precisely.
    """
    return math.ldexp(1.0, math.frexp(largest)[1] - 3) if largest > 0 else 1.0


def _gain(one: Spectrum, groups: int) -> float:
    return float(one.width[groups] - one.width[groups + 1])


def _principal(x: NDArray[np.float64], most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Up to `most` orthonormal axes of largest variance [m, C], and the deviations along them [m]."""
    count, channels = x.shape
    most -= most % GROUP if most > GROUP else 0
    columns = min(most + MORE, channels)
    rough = x.astype(np.float32)
    found = np.random.default_rng(0).standard_normal((channels, columns), np.float32)
    for _ in range(ITERATIONS):
        found, _ = np.linalg.qr(rough.T @ (rough @ found))
    seen = (rough @ found).astype(np.float64)
    variance, turned = np.linalg.eigh(seen.T @ seen / max(1, count))
    axes = (found.astype(np.float64) @ turned[:, ::-1][:, :most]).T
    # Once more, so that they are orthonormal to the last bits: the product of two such matrices isn't.
    exact, triangle = np.linalg.qr(axes.T)
    axes = (exact * np.sign(triangle.diagonal() + (triangle.diagonal() == 0))).T
    return np.ascontiguousarray(axes), np.sqrt(variance[::-1][:most].clip(0))


def _cuts(x: NDArray[np.float64], axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root of the mean squared norm left over when 0, 1, 2 ... groups of axes are kept."""
    if not len(x):
        return np.zeros(len(axes) // GROUP + 1)
    kept = np.square(x @ axes.T).mean(0)
    whole = np.square(x).sum(1).mean()
    left = whole - np.concatenate(([0], np.cumsum(kept)))
    result: NDArray[np.float64] = np.sqrt(left.clip(0))[::GROUP]
    return result
