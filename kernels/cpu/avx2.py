"""The integer matrix product where AVX2 is all there is: 16 multiply-adds of 16 bits an instruction, exact in 32.

Products of 8 bits (`vpmaddubsw`) would add pairs in 16, where 255 * 127 twice does not fit.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]

from kernels.cpu.tile import TILE_QUERIES, TILE_ROWS, host_features

VECTOR_ROWS = 4
"""Rows whose 4 channels fill a register of 16-bit values: two sums each, of two channels."""
SUMS = 12
"""In registers at a time: with what feeds them, AVX2's 16 are full."""


def available() -> bool:
    """Whether this processor has the instructions."""
    return bool(host_features().get("avx2"))


def dot_tile(count: int) -> Callable[..., Any]:
    """What generates `kernels.cpu.products.dot_tile` for int16 queries, `count` of a tile."""
    quad, wide = ir.IntType(32), ir.IntType(64)
    bytes_, halves = ir.VectorType(ir.IntType(8), 16), ir.VectorType(ir.IntType(16), 16)
    sums, rows_of = ir.VectorType(quad, 8), ir.VectorType(quad, VECTOR_ROWS)
    together = min(count, 4)
    vectors = min(SUMS // together, TILE_ROWS // VECTOR_ROWS)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, codes, queries, steps, start, out, _ = arguments
        multiply = builder.module.declare_intrinsic(
            "llvm.x86.avx2.pmadd.wd", (), ir.FunctionType(sums, [halves, halves])
        )

        def at(address: Any, offset: int, kind: Any) -> Any:
            return builder.inttoptr(builder.add(address, ir.Constant(wide, offset)), kind.as_pointer())

        def broadcast(value: Any, lanes: int) -> Any:
            nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
            single = builder.insert_element(nothing, value, ir.Constant(quad, 0))
            return builder.shuffle_vector(single, nothing, ir.Constant(ir.VectorType(quad, lanes), [0] * lanes))

        def pick(value: Any, first: int) -> Any:
            chosen = ir.Constant(rows_of, list(range(first, 8, 2)))
            return builder.shuffle_vector(value, ir.Constant(sums, ir.Undefined), chosen)

        def pass_over(first_vector: int, first_query: int) -> None:
            """All steps for some vectors of rows and some queries, whose sums stay in registers."""
            before = builder.block
            loop = builder.append_basic_block("channels")
            done = builder.append_basic_block("sums")
            builder.branch(loop)

            builder.position_at_end(loop)
            step = builder.phi(wide)
            held = [builder.phi(sums) for _ in range(together * vectors)]
            here = builder.add(codes, builder.mul(step, ir.Constant(wide, 4 * TILE_ROWS)))
            there = builder.add(queries, builder.mul(step, ir.Constant(wide, 8 * TILE_QUERIES)))
            rows = [
                builder.zext(builder.load(at(here, 16 * (first_vector + i), bytes_), align=1), halves)
                for i in range(vectors)
            ]
            added = []
            for q in range(together):
                channels = builder.load(at(there, 8 * (first_query + q), wide), align=8)
                value = builder.bitcast(broadcast(channels, 4), halves)
                for i, row in enumerate(rows):
                    added.append(builder.add(held[q * vectors + i], builder.call(multiply, [row, value])))
            following = builder.add(step, ir.Constant(wide, 1))
            builder.cbranch(builder.icmp_signed("<", following, steps), loop, done)
            nothing = ir.Constant(sums, [0] * 8)
            for phi, begin, end in zip(
                [step, *held], [ir.Constant(wide, 0), *[nothing] * len(held)], [following, *added], strict=True
            ):
                phi.add_incoming(begin, before)
                phi.add_incoming(end, loop)

            builder.position_at_end(done)
            for q in range(together):
                own = broadcast(builder.load(at(start, 4 * (first_query + q), quad), align=4), VECTOR_ROWS)
                for i in range(vectors):
                    both = added[q * vectors + i]
                    total = builder.add(builder.add(pick(both, 0), pick(both, 1)), own)
                    place = 4 * ((first_query + q) * TILE_ROWS + (first_vector + i) * VECTOR_ROWS)
                    builder.store(total, at(out, place, rows_of), align=4)

        for vector in range(0, TILE_ROWS // VECTOR_ROWS, vectors):
            for query in range(0, count, together):
                pass_over(vector, query)
        return context.get_dummy_value()

    return generate
