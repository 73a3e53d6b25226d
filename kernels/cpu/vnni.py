"""The integer matrix product at the heart of the screen: AVX-512 VNNI, 64 multiply-adds an instruction and core."""

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import llvmlite.binding as llvm  # type: ignore[import-untyped]
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16
"""Rows a vector register holds: 16 sums of 32 bits."""
REGISTERS = 3
"""Vectors of rows in a tile."""
TILE_ROWS = LANES * REGISTERS
TILE_QUERIES = 8
"""Together 24 sums in registers, fed by 3 loads of rows and 8 broadcasts of queries for each 4 channels."""


@cache
def host_features() -> dict[str, bool]:
    """What this processor has, by LLVM's names."""
    return dict(llvm.get_host_cpu_features())


def available() -> bool:
    """Whether this processor has the instructions."""
    features = host_features()
    return bool(features.get("avx512f") and features.get("avx512vnni"))


def _dot_tile(
    typing_context: Any, codes: Any, queries: Any, steps: Any, start: Any, out: Any, count: Any
) -> tuple[Any, Callable[..., Any]]:
    """out[q, g] = start[q] + sum over s, j of codes[s, g, j] * queries[s, q, j], exact in 32 bits.

    Addresses of: codes uint8 [steps, TILE_ROWS, 4], queries int8 [steps, TILE_QUERIES, 4], start int32 [TILE_QUERIES],
    out int32 [TILE_QUERIES, TILE_ROWS]. count: how many queries, from the first, are computed; a literal.
    """
    tile_queries = count.literal_value
    vector, quad, wide = ir.VectorType(ir.IntType(32), LANES), ir.IntType(32), ir.IntType(64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        codes, queries, steps, start, out, _ = arguments
        multiply_add = builder.module.declare_intrinsic(
            "llvm.x86.avx512.vpdpbusd.512", (), ir.FunctionType(vector, [vector, vector, vector])
        )
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        nothing = ir.Constant(vector, ir.Undefined)

        def at(address: Any, offset: int, kind: Any) -> Any:
            return builder.inttoptr(builder.add(address, ir.Constant(wide, offset)), kind.as_pointer())

        def broadcast(pointer: Any) -> Any:
            single = builder.insert_element(nothing, builder.load(pointer, align=4), ir.Constant(quad, 0))
            return builder.shuffle_vector(single, nothing, zeros)

        first = [broadcast(at(start, 4 * q, quad)) for q in range(tile_queries) for _ in range(REGISTERS)]
        before = builder.block
        loop = builder.append_basic_block("channels")
        done = builder.append_basic_block("sums")
        builder.branch(loop)

        builder.position_at_end(loop)
        step = builder.phi(wide)
        sums = [builder.phi(vector) for _ in first]
        o_codes = builder.mul(step, ir.Constant(wide, 4 * TILE_ROWS))
        o_queries = builder.mul(step, ir.Constant(wide, 4 * TILE_QUERIES))
        here, there = builder.add(codes, o_codes), builder.add(queries, o_queries)
        rows = [builder.load(at(here, 64 * i, vector), align=4) for i in range(REGISTERS)]
        added = []
        for q in range(tile_queries):
            value = broadcast(at(there, 4 * q, quad))
            for i in range(REGISTERS):
                added.append(builder.call(multiply_add, [sums[q * REGISTERS + i], rows[i], value]))
        following = builder.add(step, ir.Constant(wide, 1))
        builder.cbranch(builder.icmp_signed("<", following, steps), loop, done)
        for phi, begin, end in zip([step, *sums], [ir.Constant(wide, 0), *first], [following, *added], strict=True):
            phi.add_incoming(begin, before)
            phi.add_incoming(end, loop)

        builder.position_at_end(done)
        for number, value in enumerate(added):
            builder.store(value, at(out, 64 * number, vector), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64, types.int64, count), generate


dot_tile = cast(Callable[[int, int, int, int, int, int], None], intrinsic(prefer_literal=True)(_dot_tile))
