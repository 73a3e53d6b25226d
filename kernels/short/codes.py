"""Photos as short codes: what is kept of each, rounded so that bounds made of it stay bounds.

Of a vector x with coordinates c along a term's axes: the codes n = rint(c / steps), clipped to int8; with c^ = steps n,
|c^|^2; at least |c - c^|; and the norm of what was cut off. The last three are float16, in the term's unit. All in
float64 from the stored features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.short.basis import GROUP, Basis, Term

TILE_PHOTOS = 48
"""Photos in a tile, the last one of a run filled up: what the integer product takes at a time."""
LARGEST_CODE = 127
SQUARE, ERROR, CUT = range(3)
"""What `sides` holds of a vector: |c^|^2, at least |c - c^|, the norm of the cut."""
FLOAT16_ERROR = 2.0**-11
"""Half a unit in the last place of float16, relative to the value."""
FLOAT16_LOST = 2.0**-25
"""The same below its normal range, absolute."""
UNKNOWN = {SQUARE: 0.0, ERROR: np.inf, CUT: np.nan}
"""The sides of a vector beyond float16's range, in the term's unit: nothing is known of it, and its term bounds 0."""
CHUNK_VALUES = 1 << 22
"""Values in float64 at a time: 32 MB."""


class Scales(NamedTuple):
    """What a block's photos share, for each term: float64 [terms].

    reach: at least the largest Euclidean norm of a photo's codes. loose: how far cuts are from exact at most, besides
    their rounding to float16. heaviest: at least the largest weight of a photo, of regions and of levels: float64 [2].
    """

    reach: NDArray[np.float64]
    loose: NDArray[np.float64]
    heaviest: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ShortCodes:
    """N photos, in tiles of TILE_PHOTOS.

    basis: what they were made with. ends: int64 [tiles], photos up to and with each tile; the last one's is N.
    codes: uint8 [tiles, groups of all terms, TILE_PHOTOS, GROUP], code + 128. sides: float16 [tiles, terms, 3,
    TILE_PHOTOS]. weights: float16 [tiles, R + R L, TILE_PHOTOS], region weights, then level weights, rounded down.
    """

    basis: Basis
    ends: NDArray[np.int64]
    codes: NDArray[np.uint8]
    sides: NDArray[np.float16]
    weights: NDArray[np.float16]
    scales: Scales

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    @property
    def nbytes(self) -> int:
        """Bytes that a screen of all photos reads."""
        return self.codes.nbytes + self.sides.nbytes + self.weights.nbytes

    @property
    def held_by(self) -> str:
        """The implementation that screens them."""
        return "cpu"

    def split(self, sizes: Sequence[int]) -> list["ShortCodes"]:
        """The parts of so many photos that `join` made it of, as views."""
        tiles = np.cumsum([0, *(-(-size // TILE_PHOTOS) for size in sizes)])
        starts = np.cumsum([0, *sizes])
        parts = [slice(first, last) for first, last in pairwise(tiles)]
        return [
            ShortCodes(
                self.basis,
                self.ends[part] - start,
                self.codes[part],
                self.sides[part],
                self.weights[part],
                self.scales,
            )
            for part, start in zip(parts, starts, strict=False)
        ]


def filled(sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which places of tiles that hold so many photos each hold one: bool [tiles * TILE_PHOTOS]."""
    result: NDArray[np.bool_] = (np.arange(TILE_PHOTOS) < sizes[:, None]).ravel()
    return result


def join(parts: Sequence[ShortCodes]) -> ShortCodes:
    """Several runs of photos of one basis as one, tile after tile. Raises `ValueError` for several bases, or none."""
    if len({part.basis.name for part in parts}) != 1:
        raise ValueError(f"codes of {len({part.basis.name for part in parts})} bases; expected those of one")
    starts = np.cumsum([0, *(len(part) for part in parts)])
    return ShortCodes(
        parts[0].basis,
        np.concatenate([part.ends + start for part, start in zip(parts, starts, strict=False)]),
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.sides for part in parts]),
        np.concatenate([part.weights for part in parts]),
        Scales(*(np.max(one, 0) for one in zip(*(part.scales for part in parts), strict=True))),
    )


def encode(
    basis: Basis,
    levels: Sequence[NDArray[np.floating]],
    region_weights: NDArray[np.floating],
    level_weights: NDArray[np.floating],
) -> ShortCodes:
    """Codes of N photos.

    levels: L arrays [N, R, C_l], float16 as stored. region_weights: [N, R], level_weights: [N, R, L], >= 0.
    Raises `ValueError` for shapes other than the basis's, and for levels of another type: codes bound the distance of
    stored features, whose range is known.
    """
    count, terms = len(region_weights), len(basis.terms)
    shapes = [level.shape[1:] for level in levels]
    if shapes != [(basis.regions, channels) for channels in basis.channels]:
        raise ValueError(f"levels of [R, C_l] = {shapes}; the basis is of {basis.regions} regions, {basis.channels}")
    if any(level.dtype != np.float16 for level in levels):
        raise ValueError(f"levels are {[str(level.dtype) for level in levels]}; expected float16, as a gallery stores")
    tiles = -(-count // TILE_PHOTOS)
    places = tiles * TILE_PHOTOS
    codes = np.full((places, basis.coordinates), 128, np.uint8)
    sides = np.zeros((terms, 3, places), np.float16)
    reach, loose = np.zeros(terms), np.zeros(terms)
    step = max(1, CHUNK_VALUES // max(basis.channels))
    for number, term in enumerate(basis.terms):
        first = basis.coordinates_from(number)
        vectors = basis.vectors(levels, number)
        for start in range(0, count, step):
            rows = slice(start, min(start + step, count))
            found = _encode(term, vectors[rows])
            codes[rows, first : first + len(term.axes)] = (found.codes + 128).astype(np.uint8)
            sides[number, :, rows] = found.sides
            reach[number], loose[number] = max(reach[number], found.reach), max(loose[number], found.loose)
    weights = np.zeros((basis.regions + terms, places), np.float16)
    weights[: basis.regions, :count] = rounded_down(region_weights.T)
    weights[basis.regions :, :count] = rounded_down(level_weights.reshape(count, terms).T)
    heaviest = np.array([np.max(one, initial=0) for one in (region_weights, level_weights)], np.float64)
    return ShortCodes(
        basis,
        np.minimum(np.arange(1, tiles + 1) * TILE_PHOTOS, count),
        np.ascontiguousarray(codes.reshape(tiles, TILE_PHOTOS, -1, GROUP).transpose(0, 2, 1, 3)),
        np.ascontiguousarray(sides.reshape(terms, 3, tiles, TILE_PHOTOS).transpose(2, 0, 1, 3)),
        np.ascontiguousarray(weights.reshape(-1, tiles, TILE_PHOTOS).transpose(1, 0, 2)),
        Scales(reach, loose, heaviest),
    )


class _Encoded(NamedTuple):
    """Of some vectors of one term: codes float64 [n, m], sides float16 [3, n], and their share of `Scales`."""

    codes: NDArray[np.float64]
    sides: NDArray[np.float16]
    reach: float
    loose: float


def _encode(term: Term, vectors: NDArray[np.floating]) -> _Encoded:
    found = term.coordinates(vectors)
    steps = term.steps.astype(np.float64)
    codes = np.rint(found.kept / steps).clip(-LARGEST_CODE, LARGEST_CODE)
    quantised = codes * steps
    # 2^-20: the roundings of these lines, and those of a screen's float32 that are relative to the error.
    error = np.linalg.norm(found.kept - quantised, axis=1) * (1 + 2.0**-20) + term.kept_error * found.norm
    return _Encoded(
        codes,
        _sides(term.unit, np.square(quantised).sum(1), error, found.cut),
        float(np.linalg.norm(codes, axis=1).max(initial=0)) * (1 + 2.0**-40),
        term.cut_error * float(found.norm.max(initial=0)),
    )


def _sides(
    unit: float, square: NDArray[np.float64], error: NDArray[np.float64], cut: NDArray[np.float64]
) -> NDArray[np.float16]:
    """Float16 [3, n] in a unit; the error is rounded up, the others to nearest."""
    with np.errstate(over="ignore"):
        sides = np.stack(((square / unit**2).astype(np.float16), rounded_up(error / unit), (cut / unit).astype("f2")))
    beyond = ~np.isfinite(sides).all(0)
    for side, value in UNKNOWN.items():
        sides[side, beyond] = value
    return sides


def rounded_down(values: NDArray[np.floating]) -> NDArray[np.float16]:
    """The largest float16 numbers that aren't above some values >= 0."""
    nearest = np.minimum(values, np.finfo(np.float16).max).astype(np.float16)
    found: NDArray[np.float16] = np.where(nearest > values, np.nextafter(nearest, np.float16(0)), nearest)
    return found


def rounded_up(values: NDArray[np.floating]) -> NDArray[np.float16]:
    """The smallest float16 numbers that aren't below some values >= 0."""
    nearest = values.astype(np.float16)
    found: NDArray[np.float16] = np.where(nearest < values, np.nextafter(nearest, np.float16(np.inf)), nearest)
    return found
