"""Float32 arithmetic of whole registers, inside numba kernels: formulas in plain operators, one value for each lane.

For loops over several arrays LLVM asks before each whether they overlap, which takes as long as a short loop does.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]

from kernels.cpu.jit import ANY_ORDER
from kernels.cpu.tile import host_features

FLAGS = tuple(sorted(ANY_ORDER))
LANES = 16 if host_features().get("avx512f") else 8
"""Values in a register; the compiler takes several where registers are smaller."""
QUAD, WIDE = ir.IntType(32), ir.IntType(64)


class Vector:
    """LANES float32 values; sums may be fused with products, as in `kernels.cpu.jit.any_order`."""

    kind = ir.VectorType(ir.FloatType(), LANES)

    def __init__(self, builder: Any, value: Any) -> None:
        self._builder, self.value = builder, value

    @classmethod
    def of(cls, builder: Any, scalar: Any) -> "Vector":
        """A float32 value in every lane; a Python number is rounded to one."""
        value = scalar if isinstance(scalar, ir.Value) else ir.FloatType()(float(np.float32(scalar)))
        return cls(builder, every(builder, value))

    @classmethod
    def table(cls, builder: Any, address: Any, count: int) -> "list[Vector]":
        """Each of `count` float32 values that lie together, in every lane of a vector of its own."""
        first = builder.inttoptr(address, ir.FloatType().as_pointer())
        return [cls.of(builder, builder.load(builder.gep(first, [QUAD(number)]))) for number in range(count)]

    @classmethod
    def load(cls, builder: Any, address: Any) -> "Vector":
        """Float32 values that lie together."""
        return cls(builder, load_lanes(builder, address, ir.FloatType(), 4))

    @classmethod
    def load_half(cls, builder: Any, address: Any) -> "Vector":
        """Float16 values that lie together: exact."""
        return cls(builder, builder.fpext(load_lanes(builder, address, ir.HalfType(), 2), cls.kind))

    @classmethod
    def rounded(cls, builder: Any, integers: Any) -> "Vector":
        """Of LANES 32-bit integers."""
        return cls(builder, builder.sitofp(integers, cls.kind))

    def store(self, address: Any) -> None:
        """Write the values to where they lie together."""
        self._builder.store(self.value, self._builder.inttoptr(address, self.kind.as_pointer()), align=4)

    def __add__(self, other: "Vector") -> "Vector":
        return Vector(self._builder, self._builder.fadd(self.value, other.value, flags=FLAGS))

    def __sub__(self, other: "Vector") -> "Vector":
        return Vector(self._builder, self._builder.fsub(self.value, other.value, flags=FLAGS))

    def __mul__(self, other: "Vector") -> "Vector":
        return Vector(self._builder, self._builder.fmul(self.value, other.value, flags=FLAGS))

    def __abs__(self) -> "Vector":
        return self._call("llvm.fabs")

    def sqrt(self) -> "Vector":
        """The root of each."""
        return self._call("llvm.sqrt")

    def sum(self) -> Any:
        """All lanes in one, in any order."""
        return sum_of_lanes(self._builder, self.value)

    def not_negative(self) -> "Vector":
        """Each, or 0 where it is less or not a number."""
        zero = ir.Constant(self.kind, [0.0] * LANES)
        above = self._builder.fcmp_ordered(">", self.value, zero)
        return Vector(self._builder, self._builder.select(above, self.value, zero))

    def squared_if(self, condition: Any) -> "Vector":
        """Their squares where a condition, the same for all lanes, holds."""
        return Vector(self._builder, self._builder.select(condition, (self * self).value, self.value))

    def _call(self, name: str) -> "Vector":
        function = self._builder.module.declare_intrinsic(
            f"{name}.v{LANES}f32", (), ir.FunctionType(self.kind, [self.kind])
        )
        return Vector(self._builder, self._builder.call(function, [self.value]))


def load_integers(builder: Any, address: Any) -> Any:
    """LANES 32-bit integers that lie together, for `Vector.rounded`. Numba would add them in 64 bits."""
    return load_lanes(builder, address, QUAD, 4)


def every(builder: Any, scalar: Any) -> Any:
    """A value in every lane."""
    nothing = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    single = builder.insert_element(nothing, scalar, QUAD(0))
    return builder.shuffle_vector(single, nothing, ir.Constant(ir.VectorType(QUAD, LANES), [0] * LANES))


def sum_of_lanes(builder: Any, value: Any) -> Any:
    """All float32 lanes of a vector in one, in any order."""
    single, kind = ir.FloatType(), value.type
    name = f"llvm.vector.reduce.fadd.v{kind.count}f32"
    add = builder.module.declare_intrinsic(name, (), ir.FunctionType(single, [single, kind]))
    return builder.call(add, [single(0.0), value], fastmath=FLAGS)


def load_lanes(builder: Any, address: Any, stored: Any, align: int, lanes: int = LANES) -> Any:
    """So many values of an LLVM type that lie together."""
    return builder.load(builder.inttoptr(address, ir.VectorType(stored, lanes).as_pointer()), align=align)


def for_each(builder: Any, count: int, body: Callable[[Any], None]) -> None:
    """`body(number)` for 0, LANES, 2 LANES and so on below `count`, a multiple of LANES; numbers are 64-bit."""
    before = builder.block
    loop, done = builder.append_basic_block("lanes"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    number = builder.phi(WIDE)
    body(number)
    following = builder.add(number, WIDE(LANES))
    number.add_incoming(WIDE(0), before)
    number.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, WIDE(count)), loop, done)
    builder.position_at_end(done)
