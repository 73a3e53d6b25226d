"""The sum of squared differences of two vectors in the order of the canonical distance, all lanes in registers."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from kernels.cpu.rows import as_float32, stored_type
from kernels.reference import LANES


def _squared_distance(
    typing_context: Any, query_stored: Any, query: Any, stored: Any, row: Any, blocks: Any, tail: Any
) -> tuple[Any, Callable[..., Any]]:
    """Lane j adds (query[b LANES + j] - row[b LANES + j])^2 for b < blocks, b ascending, then tail[j]; then they fold.

    query, row: addresses of values of the types that the arrays before them stand for. tail: of float64 [LANES], the
    squares of channels beyond the last whole block, 0 where there are none. LLVM splits the vectors into whatever
    registers there are. Returns float64.
    """
    double = ir.VectorType(ir.DoubleType(), LANES)
    wide = ir.IntType(64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, query, _, row, blocks, tail = arguments
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
        last = builder.load(builder.inttoptr(tail, double.as_pointer()), align=8)
        folded, width = builder.fadd(total, last), LANES
        while width > 1:
            width //= 2
            lower, upper = (
                builder.shuffle_vector(folded, folded, ir.Constant(ir.VectorType(ir.IntType(32), width), list(part)))
                for part in (range(width), range(width, 2 * width))
            )
            folded = builder.fadd(lower, upper)
        return builder.extract_element(folded, ir.IntType(32)(0))

    return types.float64(query_stored, types.int64, stored, types.int64, types.int64, types.int64), generate


squared_distance = cast(
    Callable[[NDArray[np.generic], int, NDArray[np.generic], int, int, int], float], intrinsic(_squared_distance)
)
