"""Features as the compiled kernels see them: addresses and strides of the stored values, whatever their type."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.reference import RegionFeatures

FORMATS = {torch.float32: np.float32, torch.float16: np.uint16, torch.bfloat16: np.int16}
"""The stored types, and the numpy type that stands for each in a kernel's signature."""


class Rows(NamedTuple):
    """N rows of features in memory that someone else keeps alive.

    stored: an empty array, of the type in `FORMATS`.
    base: int64 [L], addresses of the levels' first values. row, region: int64 [L], strides in values.
    channels: int64 [L]. region_weights: float32 [N, R]. level_weights: float32 [N, R, L].
    """

    stored: NDArray[np.generic]
    base: NDArray[np.int64]
    row: NDArray[np.int64]
    region: NDArray[np.int64]
    channels: NDArray[np.int64]
    region_weights: NDArray[np.float32]
    level_weights: NDArray[np.float32]


class Held:
    """Features in memory as `rows`, kept alive as long as this."""

    def __init__(self, features: RegionFeatures, as_float32: bool = False) -> None:
        """The stored values, not a copy of them, where a vector's channels are consecutive and the levels of one type.

        as_float32: a copy in float32, exact, if the type is narrower.
        """
        levels = [level.detach().float() if as_float32 else level.detach() for level in features.levels]
        if len({level.dtype for level in levels}) > 1:
            levels = [level.float() for level in levels]
        self._levels = [level if level.stride(2) == 1 else level.contiguous() for level in levels]
        self.rows = Rows(
            np.empty(0, FORMATS[levels[0].dtype]),
            np.array([level.data_ptr() for level in self._levels], np.int64),
            np.array([level.stride(0) for level in self._levels], np.int64),
            np.array([level.stride(1) for level in self._levels], np.int64),
            np.array([level.shape[2] for level in self._levels], np.int64),
            _float32(features.region_weights),
            _float32(features.level_weights),
        )


def held(block: GalleryBlock) -> Held:
    """The rows of a block, found in its cache after the first call."""
    if "cpu.rows" not in block.cache:
        block.cache["cpu.rows"] = Held(block)
    return cast(Held, block.cache["cpu.rows"])


def _float32(weights: Tensor) -> NDArray[np.float32]:
    result: NDArray[np.float32] = weights.detach().float().contiguous().numpy()
    return result


def _load(typing_context: Any, stored: Any, address: Any, index: Any) -> tuple[Any, Callable[..., Any]]:
    """Value number `index` from `address` on, of the type that `stored` stands for, as float32: exact."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, first, number = arguments
        kind = {
            types.float32: ir.FloatType(),
            types.uint16: ir.HalfType(),
            types.int16: ir.IntType(16),
        }[stored.dtype]
        pointer = builder.gep(builder.inttoptr(first, kind.as_pointer()), [number])
        value = builder.load(pointer, align=2)
        if isinstance(kind, ir.HalfType):
            return builder.fpext(value, ir.FloatType())
        if isinstance(kind, ir.IntType):  # bfloat16 is the upper half of a float32
            wide = builder.shl(builder.zext(value, ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
            return builder.bitcast(wide, ir.FloatType())
        return value

    return types.float32(stored, types.int64, types.int64), generate


def _fetch(typing_context: Any, address: Any) -> tuple[Any, Callable[..., Any]]:
    """Ask for the cache line at `address`, which need not exist, to come into the second cache."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, quad = ir.IntType(8), ir.IntType(32)
        prefetch = builder.module.declare_intrinsic(
            "llvm.prefetch", (byte.as_pointer(),), ir.FunctionType(ir.VoidType(), [byte.as_pointer(), quad, quad, quad])
        )
        pointer = builder.inttoptr(arguments[0], byte.as_pointer())
        builder.call(prefetch, [pointer, *(ir.Constant(quad, value) for value in (0, 2, 1))])
        return context.get_dummy_value()

    return types.void(types.int64), generate


load = cast(Callable[[NDArray[np.generic], int, int], np.float32], intrinsic(_load))
fetch = cast(Callable[[int], None], intrinsic(_fetch))
