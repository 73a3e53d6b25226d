"""Features as the compiled kernels see them: addresses and strides of the stored values, whatever their type."""

from collections.abc import Callable
from functools import cached_property
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


CACHE_LINE = 64


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
        self._weights = features.region_weights.detach(), features.level_weights.detach()

    @cached_property
    def exact_weights(self) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Region and level weights as they are: float32 where that holds them, as they lie in memory; else float64."""
        if all(torch.finfo(weights.dtype).bits <= 32 for weights in self._weights):
            return self.rows.region_weights, self.rows.level_weights
        region, level = (weights.double().contiguous().numpy() for weights in self._weights)
        return region, level


def held(features: RegionFeatures) -> Held:
    """Features in memory; those of a block are found in its cache after the first call."""
    if isinstance(features, GalleryBlock):
        return features.derived("cpu.rows", lambda: Held(features))
    return Held(features)


def held_in_float32(features: RegionFeatures) -> Held:
    """As `held`, the levels in float32."""
    if all(level.dtype == torch.float32 for level in features.levels):
        return held(features)
    if isinstance(features, GalleryBlock):
        return features.derived("cpu.rows_in_float32", lambda: Held(features, as_float32=True))
    return Held(features, as_float32=True)


def _float32(weights: Tensor) -> NDArray[np.float32]:
    result: NDArray[np.float32] = weights.detach().float().contiguous().numpy()
    return result


def stored_type(dtype: Any) -> Any:
    """How LLVM reads a value of the numba type that stands for it: a float, a half, or the bits of a bfloat16."""
    return {
        types.float64: ir.DoubleType(),
        types.float32: ir.FloatType(),
        types.uint16: ir.HalfType(),
        types.int16: ir.IntType(16),
    }[dtype]


def as_float32(builder: Any, value: Any, dtype: Any, lanes: int = 1) -> Any:
    """A value of `stored_type`, or a vector of `lanes` of them, as float32: exact."""

    def shape(kind: Any) -> Any:
        return kind if lanes == 1 else ir.VectorType(kind, lanes)

    if dtype == types.uint16:
        return builder.fpext(value, shape(ir.FloatType()))
    if dtype == types.int16:  # bfloat16 is the upper half of a float32
        kind = shape(ir.IntType(32))
        sixteen = ir.Constant(kind, 16 if lanes == 1 else [16] * lanes)
        return builder.bitcast(builder.shl(builder.zext(value, kind), sixteen), shape(ir.FloatType()))
    return value


def _load(typing_context: Any, stored: Any, address: Any, index: Any) -> tuple[Any, Callable[..., Any]]:
    """Value number `index` from `address` on, of the type that `stored` stands for, as float32: exact."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, first, number = arguments
        pointer = builder.gep(builder.inttoptr(first, stored_type(stored.dtype).as_pointer()), [number])
        return as_float32(builder, builder.load(pointer, align=2), stored.dtype)

    return types.float32(stored, types.int64, types.int64), generate


def ask_for(builder: Any, address: Any) -> None:
    """As `fetch`, for those who build kernels' parts themselves."""
    byte, quad = ir.IntType(8), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), quad, quad, quad])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", (byte.as_pointer(),), kind)
    pointer = builder.inttoptr(address, byte.as_pointer())
    builder.call(prefetch, [pointer, *(ir.Constant(quad, value) for value in (0, 2, 1))])


def _fetch(typing_context: Any, address: Any) -> tuple[Any, Callable[..., Any]]:
    """Ask for the cache line at `address`, which need not exist, to come into the second cache."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        ask_for(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate


load = cast(Callable[[NDArray[np.generic], int, int], np.float32], intrinsic(_load))
fetch = cast(Callable[[int], None], intrinsic(_fetch))
