"""From products to lower bounds of the distance: the arithmetic that every screen by codes shares, and by rounded rows.

With x, y the vectors measured from one centre, x = x^ + r_x, |r_x| <= e_x, and n = <x^, y^> / (s_x s_y), exact in
integers, or in float32 with s = 1 and what it may be off by in the errors (`rounded`),

    |x - y|^2 = |x|^2 + |y|^2 - 2 <x, y>   and   <x, y> = <x^, y^> + <x^, r_y> + <r_x, y> <= s_x s_y n + slack,
    slack = (|x| + e_x) e_y + |y| e_x.

Far from y (a sketch is far from every photo) this is sharper than e_x + e_y off the distance: it is divided by it.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from kernels.bounds import FLOAT32_ROUNDOFF
from kernels.cpu.amx import TILE_QUERIES
from kernels.cpu.direct import Slack, lowered
from kernels.cpu.jit import part
from kernels.cpu.packed import ERROR, LEVEL_WEIGHT, NORM, REGION_WEIGHT, SCALE, SQUARE
from kernels.cpu.tile import TILE_ROWS
from kernels.cpu.vectors import WIDE, Vector, every, for_each, load_integers

KEPT = np.float32(1 - 192 * FLOAT32_ROUNDOFF)
"""What is left of |x|^2 + |y|^2 when the float32 rounding of |x|^2 + |y|^2 - 2 s n - 2 slack is taken off.

In units of |x|^2 + |y|^2: e <= |x| (a code never moves a value further than 0 would), so |x^| <= 2|x|, 2 s n <= 4 and
2 slack <= 3. Roundings: the squares 133 u (`codes.encode`) and their sum 1 u; n's conversion and the two products of s
3 u of 4; the subtractions of at most 5 and 8 units: 133 + 1 + 12 + 5 + 8 = 159, and slack's own is in its errors'
2^-20. The rest covers u^2 and the product with this. Rounded vectors stay within: their squares are within 73 u, n is
not converted, and |x^| <= 1.004 |x|.
"""
VANISHED = np.float32(2.0**-96)
"""More than what falls below float32's normal range can take from a square: s n has n < 2^31 times 2^-126, and of
rounded vectors C products and sums, C < 2^12, may each lose that."""


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
    _add(dots, dots.ctypes.data, start, query.ctypes.data, rows.ctypes.data, power, total.ctypes.data, TILE_ROWS)


@part
def add_rounded_term(
    dots: NDArray[np.float32],
    row: NDArray[np.float32],
    queries: NDArray[np.float32],
    power: int,
    total: NDArray[np.float32],
) -> None:
    """As `add_term` for one row and 16 queries, n = dots in float32: see `rounded`."""
    nothing, o_dots, o_total = np.int32(0), dots.ctypes.data, total.ctypes.data
    _add(dots, o_dots, nothing, row.ctypes.data, queries.ctypes.data, power, o_total, TILE_QUERIES)


def _add_term(
    typing_context: Any, typed: Any, dots: Any, start: Any, one: Any, others: Any, power: Any, total: Any, count: Any
) -> tuple[Any, Callable[..., Any]]:
    """Of one vector and `count` of the other side, a literal, at addresses; the bound is the same for both sides.

    typed: an array of the type of `dots`, int32, to which `start` is added, or float32.
    """
    apart_by = 4 * count.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, dots, start, one, others, power, total, _ = arguments
        ours = Vector.table(builder, one, LEVEL_WEIGHT + 1)
        half, two, kept, vanished = (Vector.of(builder, value) for value in (0.5, 2, KEPT, VANISHED))
        scale, error = two * ours[SCALE], two * ours[ERROR]
        reach = two * ours[NORM] + error
        squared, begin = builder.icmp_signed("==", power, WIDE(2)), every(builder, start)

        def add(lane: Any) -> None:
            def place(address: Any, kind: int = 0) -> Any:
                return builder.add(address, builder.add(builder.mul(lane, WIDE(4)), WIDE(kind * apart_by)))

            theirs = [Vector.load(builder, place(others, kind)) for kind in range(LEVEL_WEIGHT + 1)]
            if typed.dtype == types.int32:
                n = Vector.rounded(builder, builder.add(load_integers(builder, place(dots)), begin))
            else:
                n = Vector.load(builder, place(dots))
            apart = kept * (ours[SQUARE] + theirs[SQUARE]) - vanished - scale * theirs[SCALE] * n
            apart = apart - (reach * theirs[ERROR] + theirs[NORM] * error)
            region = ((ours[REGION_WEIGHT] + theirs[REGION_WEIGHT]) * half).squared_if(squared)
            weight = (ours[LEVEL_WEIGHT] + theirs[LEVEL_WEIGHT]) * half * region
            (Vector.load(builder, place(total)) + weight * apart.not_negative().sqrt()).store(place(total))

        for_each(builder, count.literal_value, add)
        return context.get_dummy_value()

    return types.void(typed, types.int64, types.int32, *[types.int64] * 4, count), generate


_add = cast(
    Callable[[NDArray[Any], int, np.int32, int, int, int, int, int], None], intrinsic(prefer_literal=True)(_add_term)
)


@part
def lower(totals: NDArray[np.float32], given_up: Slack) -> None:
    """Take from sums [Q, N] what float32 arithmetic may have added; what overflowed, NaN included, bounds nothing."""
    for q in range(len(totals)):
        for g in range(totals.shape[1]):
            totals[q, g] = lowered(totals[q, g], given_up)
