"""Squared differences of two vectors, summed in the lanes of the canonical distance, all of them in registers."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from kernels.cpu.rows import as_float32, stored_type
from kernels.reference import LANES


def _sum_in_lanes(
    typing_context: Any, query_stored: Any, query: Any, stored: Any, row: Any, blocks: Any, sums: Any
) -> tuple[Any, Callable[..., Any]]:
    """sums[j] = sum over b < blocks of (query[b LANES + j] - row[b LANES + j])^2, b ascending, each step rounded.

    query, row: addresses of values of the types that the arrays before them stand for; sums: of float64 [LANES]. LLVM
    splits the vectors into whatever registers there are.
    """
    double = ir.VectorType(ir.DoubleType(), LANES)
    wide = ir.IntType(64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, query, _, row, blocks, sums = arguments
        sides = []
        for address, array in ((query, query_stored), (row, stored)):
            kind = stored_type(array.dtype)
            sides.append((builder.inttoptr(address, ir.VectorType(kind, LANES).as_pointer()), array.dtype))

        before = builder.block
        loop = builder.append_basic_block("blocks")
        body = builder.append_basic_block("values")
        done = builder.append_basic_block("sums")
        builder.branch(loop)

        builder.position_at_end(loop)
        block, total = builder.phi(wide), builder.phi(double)
        builder.cbranch(builder.icmp_signed("<", block, blocks), body, done)

        builder.position_at_end(body)
        values = []
        for pointer, dtype in sides:
            value = builder.load(builder.gep(pointer, [block]), align=2)
            if dtype != types.float64:
                value = builder.fpext(as_float32(builder, value, dtype, LANES), double)
            values.append(value)
        difference = builder.fsub(*values)
        added = builder.fadd(total, builder.fmul(difference, difference))
        following = builder.add(block, ir.Constant(wide, 1))
        builder.branch(loop)
        for phi, begin, end in (
            (block, ir.Constant(wide, 0), following),
            (total, ir.Constant(double, [0.0] * LANES), added),
        ):
            phi.add_incoming(begin, before)
            phi.add_incoming(end, body)

        builder.position_at_end(done)
        builder.store(total, builder.inttoptr(sums, double.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(query_stored, types.int64, stored, types.int64, types.int64, types.int64), generate


sum_in_lanes = cast(
    Callable[[NDArray[np.generic], int, NDArray[np.generic], int, int, int], None], intrinsic(_sum_in_lanes)
)
