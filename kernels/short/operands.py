"""What a float32 screen computes with: a sketch's side of each term, every slack of the float32 arithmetic included.

In units of the term (powers of two: exact), with u = 2^-24 and A, B the squares of a and b:

    d^2 >= (base + B * SQUARE_KEPT) - twice * n          rounds by 6 u (A + B) at most: 16 u are taken off each
    kept = max(0, sqrt(d^2) * ROOT_KEPT - (error + e_b))
    cut  = max(0, ||s_a| - s_b| - (loose + CUT_LOOSE s_b))
    sum of w * unit * sqrt(shrink * kept^2 + cut^2), times `factor`, less `absolute`
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.bounds import FLOAT32_ROUNDOFF, heaviest_weight, weighted_sum_error
from kernels.short.codes import FLOAT16_ERROR, FLOAT16_LOST, Scales
from kernels.short.queries import ShortQueries

BASE, TWICE, OWN_ERROR, OWN_CUT, LOOSE, SHRINK, LEVEL_WEIGHT, UNIT = range(8)
"""Columns of `Operands.terms`."""
ROUNDINGS = 16 * FLOAT32_ROUNDOFF
SQUARE_KEPT = np.float32(1 - 1.02 * FLOAT16_ERROR - ROUNDINGS)
ROOT_KEPT = np.float32(1 - 4 * FLOAT32_ROUNDOFF)
"""A root is off by two units at most, its product with this by one more."""
CUT_LOOSE = np.float32(1.02 * FLOAT16_ERROR)
RELATIVE = 16 * FLOAT32_ROUNDOFF
"""What a float32 number's slack gets on top, so that rounding to float32 and the sum it goes into stay above."""
VANISHED = 2.0**-90
"""More than what falls below float32's normal range takes from a square: twice * n has n < 2^31."""
LARGEST = 2.0**60
"""Sketches beyond this, in units, would overflow float32: they aren't screened."""


class Operands(NamedTuple):
    """Q sketches against one block.

    terms: float32 [Q, terms, 8]. region_weights: float32 [Q, R]. usable: bool [Q]: whether the bounds of a sketch mean
    anything; where not, they are to be 0. factor, absolute: see above.
    """

    terms: NDArray[np.float32]
    region_weights: NDArray[np.float32]
    usable: NDArray[np.bool_]
    factor: float
    absolute: float


def operands(queries: ShortQueries, scales: Scales, region_weight_power: int) -> Operands:
    """The sketches' side of a screen of a block with such scales, of the queries' basis."""
    unit = queries.basis.units
    terms = len(unit)
    table = np.zeros((len(queries.scale), terms, 8))
    rest = 2 * queries.rest * scales.reach / unit**2 + FLOAT16_LOST + VANISHED
    table[:, :, BASE] = queries.square / unit**2 * (1 - ROUNDINGS) - rest * (1 + RELATIVE)
    table[:, :, TWICE] = 2 * queries.scale / unit**2
    table[:, :, OWN_ERROR] = queries.error / unit * (1 + RELATIVE)
    table[:, :, OWN_CUT] = queries.cut / unit
    ends = (queries.loose + scales.loose) / unit + FLOAT16_LOST + FLOAT32_ROUNDOFF * table[:, :, OWN_CUT]
    table[:, :, LOOSE] = ends * (1 + RELATIVE)
    table[:, :, SHRINK] = [(1 - term.departure) * (1 - 2 * FLOAT32_ROUNDOFF) for term in queries.basis.terms]
    table[:, :, LEVEL_WEIGHT] = queries.level_weights.reshape(len(table), terms)
    table[:, :, UNIT] = unit
    # Not `<=` on what is not a number: then it is unusable too.
    usable = (np.abs(table).max((1, 2), initial=0) <= LARGEST) & (queries.region_weights.max(1) <= LARGEST)
    table[~usable] = 0
    theirs = (float(scales.heaviest[0]), float(scales.heaviest[1]))
    heaviest = heaviest_weight([theirs, _heaviest(queries)], region_weight_power)
    return Operands(
        table.astype(np.float32),
        np.where(usable[:, None], queries.region_weights, 0).astype(np.float32),
        usable,
        (1 - 2.0**-22) / (1 + 1.01 * FLOAT32_ROUNDOFF * (8 + weighted_sum_error(terms))),
        terms * heaviest * float(unit.max(initial=0)) * 2.0**-60,
    )


def _heaviest(queries: ShortQueries) -> tuple[float, float]:
    return float(queries.region_weights.max(initial=0)), float(queries.level_weights.max(initial=0))
