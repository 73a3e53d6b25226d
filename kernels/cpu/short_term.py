"""What a term adds to the lower bounds and estimates of a tile of photos: the formula of `kernels.short.operands`."""

from collections.abc import Callable
from typing import Any, cast

from numba import types
from numba.extending import intrinsic

from kernels.cpu.vectors import QUAD, WIDE, Vector, every, for_each, load_integers
from kernels.short.codes import CUT, ERROR, SQUARE, TILE_PHOTOS
from kernels.short.operands import (
    BASE,
    CUT_LOOSE,
    LEVEL_WEIGHT,
    LOOSE,
    OWN_CUT,
    OWN_ERROR,
    ROOT_KEPT,
    SHRINK,
    SQUARE_KEPT,
    TWICE,
    UNIT,
)


def _add_term(
    typing_context: Any, own: Any, share: Any, power: Any, dots: Any, sides: Any, region: Any, level: Any, sums: Any
) -> tuple[Any, Callable[..., Any]]:
    """Add to sums for TILE_PHOTOS photos.

    Addresses of: own, the sketch's operands of the term; dots, int32 sums by the sketch's integers; sides, the photos'
    of the term; region and level, their weights, float16; sums, float32, of lower bounds, then of estimates. share: the
    sketch's region weight, float32. power: 1 or 2.
    """
    return _SIGNATURE, _generator(1)


def _add_term_of_limbs(
    typing_context: Any, own: Any, share: Any, power: Any, dots: Any, sides: Any, region: Any, level: Any, sums: Any
) -> tuple[Any, Callable[..., Any]]:
    """As `add_term`, of sums by the integers' upper limbs and, behind them, by the lower ones."""
    return _SIGNATURE, _generator(2)


def _generator(of_each: int) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        own, share, power, dots, sides, region, level, sums = arguments
        ours = Vector.table(builder, own, UNIT + 1)
        own_share, half, square_kept, root_kept, cut_loose = (
            Vector.of(builder, value) for value in (share, 0.5, SQUARE_KEPT, ROOT_KEPT, CUT_LOOSE)
        )
        squared, eight, unit = builder.icmp_signed("==", power, WIDE(2)), every(builder, QUAD(8)), ours[UNIT] * half

        def add(lane: Any) -> None:
            def place(address: Any, row: int, size: int) -> Any:
                return builder.add(address, builder.mul(builder.add(lane, WIDE(row * TILE_PHOTOS)), WIDE(size)))

            def halves(address: Any, row: int = 0) -> Vector:
                return Vector.load_half(builder, place(address, row, 2))

            dot = load_integers(builder, place(dots, 0, 4))
            if of_each == 2:
                dot = builder.add(builder.shl(dot, eight), load_integers(builder, place(dots, 1, 4)))
            n = Vector.rounded(builder, dot)
            theirs = halves(sides, CUT)
            apart = (ours[BASE] + halves(sides, SQUARE) * square_kept - ours[TWICE] * n).not_negative()
            error = ours[OWN_ERROR] + halves(sides, ERROR)
            kept = (apart.sqrt() * root_kept - error).not_negative()
            cut = (abs(ours[OWN_CUT] - theirs) - (ours[LOOSE] + cut_loose * theirs)).not_negative()
            mean = ((own_share + halves(region)) * half).squared_if(squared)
            weight = (ours[LEVEL_WEIGHT] + halves(level)) * mean * unit
            nearest = (ours[SHRINK] * (kept * kept) + cut * cut).sqrt()
            guess = (apart + ours[OWN_CUT] * ours[OWN_CUT] + theirs * theirs).sqrt()
            for row, found in enumerate((nearest, guess)):
                total = place(sums, row, 4)
                (Vector.load(builder, total) + weight * found).store(total)

        for_each(builder, TILE_PHOTOS, add)
        return context.get_dummy_value()

    return generate


_SIGNATURE = types.void(types.int64, types.float32, *[types.int64] * 6)
_AddTerm = Callable[[int, float, int, int, int, int, int, int], None]
add_term = cast(_AddTerm, intrinsic(_add_term))
add_term_of_limbs = cast(_AddTerm, intrinsic(_add_term_of_limbs))
