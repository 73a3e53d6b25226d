"""Which integer matrix product this processor fills tiles with, and the one that is told by the queries' type."""

from collections.abc import Callable
from typing import Any, Literal, cast

from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from kernels.cpu import amx, avx2, vnni

Product = Literal["amx", "vnni", "avx2"]


def fastest() -> Product | None:
    """The fastest there is here, or None."""
    if amx.available():
        return "amx"
    return fastest_by_lanes()


def fastest_by_lanes() -> Literal["vnni", "avx2"] | None:
    """The fastest of those that take queries 8 at a time, or None."""
    if vnni.available():
        return "vnni"
    return "avx2" if avx2.available() else None


def _dot_tile(
    typing_context: Any, kind: Any, codes: Any, queries: Any, steps: Any, start: Any, out: Any, count: Any
) -> tuple[Any, Callable[..., Any]]:
    """out[q, g] = start[q] + sum over s, j of codes[s, g, j] * queries[s, q, j], exact in 32 bits.

    Addresses of: codes uint8 [steps, TILE_ROWS, 4], queries [steps, TILE_QUERIES, 4], start int32 [TILE_QUERIES],
    out int32 [TILE_QUERIES, TILE_ROWS]. kind: an array of the queries' type, int8 for VNNI and int16 for AVX2.
    steps: at least 1. count: how many queries, from the first, are computed; a literal.
    """
    generate = (vnni if kind.dtype == types.int8 else avx2).dot_tile(count.literal_value)
    return types.void(kind, *[types.int64] * 5, count), generate


dot_tile = cast(Callable[[NDArray[Any], int, int, int, int, int, int], None], intrinsic(prefer_literal=True)(_dot_tile))
