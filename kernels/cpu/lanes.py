"""What the canonical distance does to whole vectors, LANES values at a time: conversion, and the sum of squares.

Written for vector types: for loops LLVM prefers registers of half the width, and takes twice the time.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from kernels.cpu.rows import as_float32, stored_type
from kernels.reference import LANES

WIDE = ir.IntType(64)
FLOATS = ir.VectorType(ir.FloatType(), LANES)
DOUBLES = ir.VectorType(ir.DoubleType(), LANES)


def loop(builder: Any, blocks: Any, start: Sequence[Any], body: Callable[[Any, list[Any]], Sequence[Any]]) -> list[Any]:
    """`body(block, values)` for block 0 to blocks - 1, each given what the one before returned, the first `start`."""
    before = builder.block
    head, inside, done = (builder.append_basic_block(name) for name in ("blocks", "values", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    block, values = builder.phi(WIDE), [builder.phi(value.type) for value in start]
    builder.cbranch(builder.icmp_signed("<", block, blocks), inside, done)
    builder.position_at_end(inside)
    new = body(block, values)
    following = builder.add(block, WIDE(1))
    builder.branch(head)
    for phi, begin, end in zip((block, *values), (WIDE(0), *start), (following, *new), strict=True):
        phi.add_incoming(begin, before)
        phi.add_incoming(end, inside)
    builder.position_at_end(done)
    return values


def as_floats(builder: Any, value: Any, dtype: Any) -> Any:
    """LANES values of `stored_type` as float32, which holds them."""
    return as_float32(builder, value, dtype, LANES)


def as_float64(builder: Any, value: Any, dtype: Any) -> Any:
    """LANES values of `stored_type` as float64: exact."""
    return value if dtype == types.float64 else builder.fpext(as_floats(builder, value, dtype), DOUBLES)


def _convert(
    typing_context: Any, stored: Any, address: Any, blocks: Any, target: Any, to: Any
) -> tuple[Any, Callable[..., Any]]:
    """Write `blocks` times LANES values at `address` to `to`, both of the types that `stored` and `target` stand for.

    target: float32 or float64, no narrower than the source; `to`: the address of a cache line.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, address, blocks, _, to = arguments
        source = builder.inttoptr(address, ir.VectorType(stored_type(stored.dtype), LANES).as_pointer())
        wide = target.dtype == types.float64
        out = builder.inttoptr(to, (DOUBLES if wide else FLOATS).as_pointer())

        def convert(block: Any, nothing: list[Any]) -> list[Any]:
            value = builder.load(builder.gep(source, [block]), align=2)
            value = (as_float64 if wide else as_floats)(builder, value, stored.dtype)
            builder.store(value, builder.gep(out, [block]), align=64)
            return nothing

        loop(builder, blocks, [], convert)
        return context.get_dummy_value()

    return types.void(stored, types.int64, types.int64, target, types.int64), generate


def _squared_distance(
    typing_context: Any, near: Any, query: Any, stored: Any, row: Any, blocks: Any
) -> tuple[Any, Callable[..., Any]]:
    """Lane j adds (query[b LANES + j] - row[b LANES + j])^2 for b < blocks, b ascending; then the lanes fold.

    query, row: addresses of [blocks, LANES] values of the types that `near` and `stored` stand for; query is float32 or
    float64 at a cache line. LLVM splits the vectors into whatever registers there are. Returns float64.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, query, _, row, blocks = arguments
        sides = [
            (builder.inttoptr(address, ir.VectorType(stored_type(array.dtype), LANES).as_pointer()), array.dtype, align)
            for address, array, align in ((query, near, 64), (row, stored, 2))
        ]

        def add(block: Any, total: list[Any]) -> list[Any]:
            values = [
                as_float64(builder, builder.load(builder.gep(side, [block]), align=align), dtype)
                for side, dtype, align in sides
            ]
            difference = builder.fsub(*values)
            return [builder.fadd(total[0], builder.fmul(difference, difference))]

        (folded,), width = loop(builder, blocks, [DOUBLES([0.0] * LANES)], add), LANES
        while width > 1:
            width //= 2
            lower, upper = (
                builder.shuffle_vector(folded, folded, ir.Constant(ir.VectorType(ir.IntType(32), width), list(part)))
                for part in (range(width), range(width, 2 * width))
            )
            folded = builder.fadd(lower, upper)
        return builder.extract_element(folded, ir.IntType(32)(0))

    return types.float64(near, types.int64, stored, types.int64, types.int64), generate


convert = cast(Callable[[NDArray[np.generic], int, int, NDArray[np.floating], int], None], intrinsic(_convert))
squared_distance = cast(
    Callable[[NDArray[np.floating], int, NDArray[np.generic], int, int], float], intrinsic(_squared_distance)
)
