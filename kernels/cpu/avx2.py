"""The integer matrix product where AVX2 is all there is: 16 multiply-adds of 16 bits an instruction, exact in 32.

Products of 8 bits (`vpmaddubsw`) would add pairs in 16, where 255 * 127 twice does not fit.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]

from kernels.cpu.tile import TILE_QUERIES, TILE_ROWS, host_features

LANES = 8
"""Rows whose 4 channels fill a register of bytes, and two of 16-bit values."""
LOADS = {1: 3, 2: 2, 4: 1}
"""Such registers at a time, by the queries: up to eight registers of sums. With twelve, what feeds them does not fit
the 16 that AVX2 has, and compilers move values instead of multiplying them."""
HALVES = ([0, 1, 4, 5], [2, 3, 6, 7])
"""Rows of the two registers of 16-bit values: bytes are widened within 128 bits, in one instruction instead of two."""
IN_ORDER = [0, 1, 4, 5, 2, 3, 6, 7]
"""Where rows 0 to 7 are found in the two."""


def available() -> bool:
    """Whether this processor has the instructions."""
    return bool(host_features().get("avx2"))


def dot_tile(count: int) -> Callable[..., Any]:
    """What generates `kernels.cpu.products.dot_tile` for int16 queries, `count` of a tile."""
    quad, wide = ir.IntType(32), ir.IntType(64)
    narrow, halves = ir.VectorType(ir.IntType(8), 4 * LANES), ir.VectorType(ir.IntType(16), 2 * LANES)
    sums = ir.VectorType(quad, LANES)
    together = min(count, 4)
    loads = LOADS[together]

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

        def shuffle(first: Any, second: Any, order: list[int]) -> Any:
            return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(quad, len(order)), order))

        def widened(eight: Any, half: list[int]) -> Any:
            order = [place for row in half for byte in range(4) for place in (4 * row + byte, 4 * LANES)]
            return builder.bitcast(shuffle(eight, ir.Constant(narrow, [0] * 4 * LANES), order), halves)

        def pass_over(first_load: int, first_query: int) -> None:
            """All steps for some rows and some queries, whose sums stay in registers."""
            before = builder.block
            loop = builder.append_basic_block("channels")
            done = builder.append_basic_block("sums")
            builder.branch(loop)

            builder.position_at_end(loop)
            step = builder.phi(wide)
            held = [builder.phi(sums) for _ in range(together * loads * len(HALVES))]
            here = builder.add(codes, builder.mul(step, ir.Constant(wide, 4 * TILE_ROWS)))
            there = builder.add(queries, builder.mul(step, ir.Constant(wide, 8 * TILE_QUERIES)))
            eights = [builder.load(at(here, 4 * LANES * (first_load + i), narrow), align=1) for i in range(loads)]
            rows = [widened(eight, half) for eight in eights for half in HALVES]
            added: list[Any] = []
            for q in range(together):
                channels = builder.load(at(there, 8 * (first_query + q), wide), align=1)
                value = builder.bitcast(broadcast(channels, 4), halves)
                for row in rows:
                    added.append(builder.add(held[len(added)], builder.call(multiply, [row, value])))
            following = builder.add(step, ir.Constant(wide, 1))
            builder.cbranch(builder.icmp_signed("<", following, steps), loop, done)
            nothing = ir.Constant(sums, [0] * LANES)
            for phi, begin, end in zip(
                [step, *held], [ir.Constant(wide, 0), *[nothing] * len(held)], [following, *added], strict=True
            ):
                phi.add_incoming(begin, before)
                phi.add_incoming(end, loop)

            builder.position_at_end(done)
            found = iter(added)
            for q in range(first_query, first_query + together):
                own = broadcast(builder.load(at(start, 4 * q, quad), align=4), LANES)
                for i in range(first_load, first_load + loads):
                    both = next(found), next(found)
                    of_pairs = [shuffle(*both, list(range(odd, 2 * LANES, 2))) for odd in (0, 1)]
                    total = shuffle(builder.add(*of_pairs), ir.Constant(sums, ir.Undefined), IN_ORDER)
                    builder.store(builder.add(total, own), at(out, 4 * (q * TILE_ROWS + i * LANES), sums), align=4)

        for load in range(0, TILE_ROWS // LANES, loads):
            for query in range(0, count, together):
                pass_over(load, query)
        return context.get_dummy_value()

    return generate
