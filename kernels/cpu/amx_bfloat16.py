"""The product of bfloat16 vectors on Intel's matrix units, rows as they lie: 8,192 multiply-adds an instruction."""

from collections.abc import Callable
from functools import cache
from typing import Any, cast

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from kernels.cpu import amx
from kernels.cpu.amx import QUERY_TILE, ROW_BYTES, ROW_TILE, call
from kernels.cpu.lanes import loop
from kernels.cpu.rounded import PAIRS_BYTES
from kernels.cpu.tile import LANES, REGISTERS, host_features


@cache
def available() -> bool:
    """Whether this processor has the instruction and the operating system lets this process use it."""
    return amx.available() and bool(host_features().get("amx-bf16"))


def _multiply(
    typing_context: Any, rows: Any, stride: Any, queries: Any, apart: Any, places: Any, out: Any, groups: Any
) -> tuple[Any, Callable[..., Any]]:
    """out[g, n, q] = sum over places and their channels of rows * queries, in float32.

    Addresses of: rows, TILE_ROWS of them `stride` bytes apart, 32 channels a place as `rounded` has them; queries
    uint32 [places, 16, 16], the second group `apart` bytes behind the first; out float32 [groups, TILE_ROWS,
    TILE_QUERIES]. groups: 1 or 2, a literal. Tiles are configured as `amx.CONFIGURATION` has them.
    """
    byte, wide = ir.IntType(8), ir.IntType(64)
    pointer = byte.as_pointer()
    sums = range(groups.literal_value * REGISTERS)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, stride, queries, apart, places, out, _ = arguments

        def move(name: str, tile: int, address: Any, stride: Any) -> None:
            call(builder, name, [byte, pointer, wide], [byte(tile), builder.inttoptr(address, pointer), stride])

        def add(place: Any, nothing: list[Any]) -> list[Any]:
            here = builder.add(rows, builder.mul(place, wide(ROW_BYTES)))
            there = builder.add(queries, builder.mul(place, wide(PAIRS_BYTES)))
            for tile in sums:
                group, part = divmod(tile, REGISTERS)
                if part == 0:
                    move("tileloadd64", QUERY_TILE, builder.add(there, apart) if group else there, wide(ROW_BYTES))
                first = builder.add(here, builder.mul(stride, wide(part * LANES)))
                move("tileloadd64", ROW_TILE, first, stride)
                call(builder, "tdpbf16ps", [byte] * 3, [byte(tile), byte(ROW_TILE), byte(QUERY_TILE)])
            return nothing

        for tile in sums:
            call(builder, "tilezero", [byte], [byte(tile)])
        loop(builder, places, [], add)
        for tile in sums:
            move("tilestored64", tile, builder.add(out, wide(tile * LANES * ROW_BYTES)), wide(ROW_BYTES))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6, groups), generate


multiply = cast(Callable[[int, int, int, int, int, int, int], None], intrinsic(prefer_literal=True)(_multiply))
