"""Arrays that begin at a cache line: a vector or tile load that straddles two lines takes twice the time or more."""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kernels.cpu.jit import part
from kernels.cpu.rows import CACHE_LINE


def empty(shape: tuple[int, ...], dtype: DTypeLike, beyond: int = 0) -> NDArray[Any]:
    """An array of any values at a cache line; `beyond` more bytes may be read behind it."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(size + beyond + CACHE_LINE, np.uint8)
    start = -room.ctypes.data % CACHE_LINE
    return room[start : start + size].view(dtype).reshape(shape)


def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of zeros at a cache line."""
    result = empty(shape, dtype)
    result[...] = 0
    return result


@part
def scratch(like: NDArray[Any], count: int) -> NDArray[Any]:
    """Inside a kernel: `count` values of the type of `like`, any values, at a cache line."""
    inside = CACHE_LINE // like.itemsize
    room = np.empty(count + inside, like.dtype)
    start = -(room.ctypes.data // like.itemsize) % inside
    return room[start : start + count]
