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

CANCELLED = np.float32(48 * FLOAT32_ROUNDOFF)
"""Float32 rounding of |x|^2 + |y|^2 - 2 s n - 2 slack, in units of |x|^2 + |y|^2.

e <= |x| (a code never moves a value further than 0 would), so |x^| <= 2|x|, 2 s n <= 4 (|x|^2 + |y|^2), and 2 slack <=
3 of these units. Of two limbs, x^ = s (128 h + l), |s l| <= 64 s sqrt(C) <= |x| for C <= `packed.WIDEST`, since |x| is
at least its largest value, 16,319 s: so 2 s <128 h, y^> / s_y is at most 6 units and that of l 2.
Roundings: the squares 1 u and their sum 1 u; the two limbs' conversions 6 + 2, their sum 4 (or one limb's conversion,
4); scales and product 2 u of 4; the two subtractions of at most 5 and 8 units: 1 + 1 + 12 + 8 + 5 + 8 = 35, and slack's
own is in its errors' 2^-20. The rest covers u^2.
"""
VANISHED = np.float32(2.0**-96)
"""More than what falls below float32's normal range can take from a square: s n has n < 2^34 times 2^-126."""


@part
def add_term(
    products: NDArray[np.float32],
    query: NDArray[np.float32],
    rows: NDArray[np.float32],
    power: int,
    total: NDArray[np.float32],
) -> None:
    """Add a lower bound of w |x - y| for one query, region and level and a tile of rows, from n as float32."""
    half, two, zero = np.float32(0.5), np.float32(2), np.float32(0)
    scale, square, error = two * query[SCALE], query[SQUARE], two * query[ERROR]
    reach = two * query[NORM] + error
    for i in range(len(total)):
        squares = square + rows[SQUARE, i]
        apart = squares - (scale * rows[SCALE, i]) * products[i]
        apart -= reach * rows[ERROR, i] + rows[NORM, i] * error
        apart -= CANCELLED * squares + VANISHED
        # What overflowed, NaN included, bounds nothing.
        near = np.sqrt(apart if apart > zero else zero) if apart < np.float32(np.inf) else zero
        region = (query[REGION_WEIGHT] + rows[REGION_WEIGHT, i]) * half
        level = (query[LEVEL_WEIGHT] + rows[LEVEL_WEIGHT, i]) * half
        total[i] += level * (region * region if power == 2 else region) * near


@part
def finish(
    parts: NDArray[np.float32],
    bounds: NDArray[np.float32],
    queries: tuple[int, int],
    rows: tuple[int, int],
    given_up: Slack,
) -> None:
    """Lower the levels' sums in parts [L, Q, N] by their rounding, and add them up in bounds [Q, N], within ranges."""
    for q in range(queries[0], queries[1]):
        bounds[q, rows[0] : rows[1]] = 0
        for level in range(len(parts)):
            for g in range(rows[0], rows[1]):
                bound = lowered(parts[level, q, g], given_up)
                parts[level, q, g] = bound
                bounds[q, g] += bound
        for g in range(rows[0], rows[1]):
            # L additions round: 2^-20 covers 16 levels.
            bounds[q, g] *= np.float32(1 - 2.0**-20)
