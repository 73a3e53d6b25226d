"""The integer matrix product at the heart of the screen: AVX-512 VNNI, 64 multiply-adds an instruction and core."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]

from kernels.cpu.tile import LANES, REGISTERS, TILE_QUERIES, TILE_ROWS, host_features


def available() -> bool:
    """Whether this processor has the instructions."""
    features = host_features()
    return bool(features.get("avx512f") and features.get("avx512vnni"))


def dot_tile(count: int) -> Callable[..., Any]:
    """What generates `kernels.cpu.products.dot_tile` for int8 queries, `count` of a tile."""
    vector, quad, wide = ir.VectorType(ir.IntType(32), LANES), ir.IntType(32), ir.IntType(64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, codes, queries, steps, start, out, _ = arguments
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

        first = [broadcast(at(start, 4 * q, quad)) for q in range(count) for _ in range(REGISTERS)]
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
        for q in range(count):
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

    return generate
