"""The interval that short codes prove for a distance, in float64: the specification of every screen, and its oracle.

For one term with a, b the sketch's and the photo's vectors from the centre, V the axes, delta their departure, c = V x
what is kept of a vector and s = x - V'V x what is cut off. With d = a - b, whatever V is,

    |d|^2 = |s_a - s_b|^2 + (V d)' (2 I - V V') (V d), and 2 I - V V' is within 1 -+ delta

    |V d| is within e_a + e_b of d^ = |c~_a - c^_b|, whose square the integers give to within `rest * reach`
    |s_a - s_b| is from ||s_a| - |s_b|| to |s_a| + |s_b|, each norm known to within its loose end and float16's rounding

The terms' intervals add up with the weights, which are >= 0 and rounded down in store.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.short.basis import Basis
from kernels.short.codes import FLOAT16_ERROR, FLOAT16_LOST, ShortCodes, filled
from kernels.short.queries import ShortQueries

FLOAT64_ERROR = 2.0**-44
"""What this file's own arithmetic and the canonical routine's may be off, relative: a few hundred roundings, with some
thousand channels, whose squares are added in lanes. A screen's float32 slack covers any number."""


class Bounds(NamedTuple):
    """float64 [Q, N]. lower <= canonical distance <= upper; estimate: the distance if cuts were orthogonal."""

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    estimate: NDArray[np.float64]


def bounds(queries: ShortQueries, codes: ShortCodes, region_weight_power: int = 1) -> Bounds:
    """The intervals of all pairs. The queries are along the codes' basis; raises `ValueError` for another one."""
    check_basis(queries, codes.basis)
    basis, unit = codes.basis, codes.basis.units
    terms, there = len(basis.terms), filled(np.diff(codes.ends, prepend=0))
    rows = codes.codes.astype(np.int64).transpose(0, 2, 1, 3).reshape(len(there), basis.coordinates)[there] - 128
    sides = codes.sides.astype(np.float64).transpose(1, 2, 0, 3).reshape(terms, 3, -1)[:, :, there]
    weights = codes.weights.transpose(1, 0, 2).reshape(basis.regions + terms, -1)[:, there]
    low = _weights(queries, weights.astype(np.float64), region_weight_power)
    above = np.nextafter(weights, np.float16(np.inf)).astype(np.float64)
    high = _weights(queries, above, region_weight_power)
    shape = (len(queries.scale), len(codes))
    lower, upper, estimate = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for number, term in enumerate(basis.terms):
        first = basis.coordinates_from(number)
        part = slice(first, first + len(term.axes))
        one = unit[number]
        square, error, cut = sides[number] * np.array([one * one, one, one])[:, None]
        cross = 2 * queries.scale[:, number, None] * (queries.integers[:, part].astype(np.int64) @ rows[:, part].T)
        ours = queries.square[:, number, None]
        apart = ours + square - cross
        slack = FLOAT16_ERROR * square + FLOAT16_LOST * one * one + FLOAT64_ERROR * (ours + square)
        slack = slack + 2 * queries.rest[:, number, None] * codes.scales.reach[number]
        off = queries.error[:, number, None] + error
        kept_low = (np.sqrt((apart - slack).clip(0)) - off).clip(0)
        kept_high = np.sqrt((apart + slack).clip(0)) + off
        ends = queries.loose[:, number, None] + codes.scales.loose[number]
        ends = ends + FLOAT16_ERROR * (1 + 2.0**-10) * cut + FLOAT16_LOST * one
        own = queries.cut[:, number, None]
        cut_low, cut_high = (np.abs(own - cut) - ends).clip(0), own + cut + ends
        nearest = np.sqrt((1 - term.departure) * kept_low**2 + cut_low**2)
        farthest = np.sqrt((1 + term.departure) * kept_high**2 + cut_high**2)
        guess = np.sqrt((apart - slack).clip(0) + own**2 + cut**2)
        # Not a number where nothing is known of a photo's vector (`codes.UNKNOWN`).
        lower += low[number] * np.nan_to_num(nearest, nan=0)
        upper += high[number] * np.nan_to_num(farthest, nan=np.inf)
        estimate += low[number] * np.nan_to_num(guess, nan=0)
    return Bounds(lower * (1 - FLOAT64_ERROR), upper * (1 + FLOAT64_ERROR), estimate)


def check_basis(queries: ShortQueries, basis: Basis) -> None:
    """Raise `ValueError` for queries that aren't along the codes' basis."""
    if queries.basis.name != basis.name:
        raise ValueError(f"queries along basis {queries.basis.name}, codes along {basis.name}; prepare them anew")


def _weights(queries: ShortQueries, stored: NDArray[np.float64], power: int) -> NDArray[np.float64]:
    """w of the pairs' terms, [terms, Q, N], from a photo's weights [R + R L, N]."""
    regions = queries.region_weights.shape[1]
    region = (queries.region_weights.T[:, :, None] + stored[:regions, None]) / 2
    level = (queries.level_weights.reshape(len(queries.scale), -1).T[:, :, None] + stored[regions:, None]) / 2
    result: NDArray[np.float64] = level * np.repeat(region**power, len(level) // regions, 0)
    return result
