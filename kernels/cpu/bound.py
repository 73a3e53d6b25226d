"""From integer products to lower bounds of the distance: the arithmetic that every screen shares.

With x, y the vectors measured from the packed block's centre, x = x^ + r_x, |r_x| <= e_x, and n = <x^, y^> / (s_x s_y)
exact in integers,

    |x - y|^2 = |x|^2 + |y|^2 - 2 <x, y>   and   <x, y> = <x^, y^> + <x^, r_y> + <r_x, y> <= s_x s_y n + slack,
    slack = (|x| + e_x) e_y + |y| e_x.

Far from y (a sketch is far from every photo) this is sharper than e_x + e_y off the distance: it is divided by it.
"""

import numpy as np
from numpy.typing import NDArray

from kernels.bounds import FLOAT32_ROUNDOFF
from kernels.cpu.direct import Slack, lowered
from kernels.cpu.jit import part
from kernels.cpu.packed import ERROR, LEVEL_WEIGHT, NORM, REGION_WEIGHT, SCALE, SQUARE
from kernels.cpu.tile import TILE_ROWS

KEPT = np.float32(1 - 192 * FLOAT32_ROUNDOFF)
"""What is left of |x|^2 + |y|^2 when the float32 rounding of |x|^2 + |y|^2 - 2 s n - 2 slack is taken off.

In units of |x|^2 + |y|^2: e <= |x| (a code never moves a value further than 0 would), so |x^| <= 2|x|, 2 s n <= 4 and
2 slack <= 3. Roundings: the squares 133 u (`codes.encode`) and their sum 1 u; n's conversion and the two products of s
3 u of 4; the subtractions of at most 5 and 8 units: 133 + 1 + 12 + 5 + 8 = 159, and slack's own is in its errors'
2^-20. The rest covers u^2 and the product with this.
"""
VANISHED = np.float32(2.0**-96)
"""More than what falls below float32's normal range can take from a square: s n has n < 2^31 times 2^-126."""


@part
def add_term(
    dots: NDArray[np.int32],
    start: np.int32,
    query: NDArray[np.float32],
    rows: NDArray[np.float32],
    power: int,
    total: NDArray[np.float32],
) -> None:
    """Add a lower bound of w |x - y| for one query, region and level and a tile of rows, n = dots + start."""
    half, two, zero = np.float32(0.5), np.float32(2), np.float32(0)
    scale, square, error = two * query[SCALE], query[SQUARE], two * query[ERROR]
    reach = two * query[NORM] + error
    own_region, own_level = half * query[REGION_WEIGHT], half * query[LEVEL_WEIGHT]
    for i in range(TILE_ROWS):
        apart = KEPT * (square + rows[SQUARE, i]) - VANISHED
        # Numba adds integers of 32 bits in 64.
        apart -= (scale * rows[SCALE, i]) * np.float32(np.int32(dots[i] + start))
        apart -= reach * rows[ERROR, i] + rows[NORM, i] * error
        near = np.sqrt(apart if apart > zero else zero)
        region = own_region + half * rows[REGION_WEIGHT, i]
        level = own_level + half * rows[LEVEL_WEIGHT, i]
        total[i] += level * (region * region if power == 2 else region) * near


@part
def lower(totals: NDArray[np.float32], given_up: Slack) -> None:
    """Take from sums [Q, N] what float32 arithmetic may have added; what overflowed, NaN included, bounds nothing."""
    for q in range(len(totals)):
        for g in range(totals.shape[1]):
            totals[q, g] = lowered(totals[q, g], given_up)
