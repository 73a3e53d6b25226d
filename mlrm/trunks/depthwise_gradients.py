"""Gradients of a depthwise convolution on a CPU, compiled by numba: for maps in bfloat16, channels last."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bits = NDArray[np.uint16]
Floats = NDArray[np.float32]


@numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
def _gradients(
    x: Bits,  # [B, H, W, C], bfloat16's bits
    upstream: Bits,  # [B, H / s, W / s, C], likewise
    weight: Floats,  # [k, k, C]
    stride: int,
    padding: int,
    of_x: Bits,  # [B, H, W, C] or, where it is not asked for, no images
    of_weight: Floats,  # [k, k, C]
) -> None:
    batch, height, width, channels = x.shape
    out_height, out_width = upstream.shape[1:3]
    side = weight.shape[0]
    x_plane = np.empty((height, width, channels), np.uint32)
    up_plane = np.empty((out_height, out_width, channels), np.uint32)
    of_plane = np.empty((height, width, channels), np.float32)
    xs, ups = x_plane.view(np.float32), up_plane.view(np.float32)
    bits = of_plane.view(np.uint32)
    of_weight[:] = 0
    for image in range(batch):
        x_plane[:] = x[image]
        x_plane <<= np.uint32(16)
        up_plane[:] = upstream[image]
        up_plane <<= np.uint32(16)
        of_plane[:] = 0
        for row in range(out_height):
            for down in range(side):
                y = row * stride + down - padding
                if y < 0 or y >= height:
                    continue
                for column in range(out_width):
                    for right in range(side):
                        z = column * stride + right - padding
                        if z < 0 or z >= width:
                            continue
                        for c in range(channels):
                            of_weight[down, right, c] += ups[row, column, c] * xs[y, z, c]
                        if len(of_x):
                            for c in range(channels):
                                of_plane[y, z, c] += ups[row, column, c] * weight[down, right, c]
        if len(of_x):
            for y in range(height):
                for z in range(width):
                    for c in range(channels):
                        value = bits[y, z, c]  # rounded to the nearest bfloat16, ties to even
                        of_x[image, y, z, c] = np.uint16(
                            (value + np.uint32(0x7FFF) + ((value >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
                        )


def gradients(
    x: Tensor, upstream: Tensor, weight: Tensor, stride: int, padding: int, of_x_too: bool
) -> tuple[Tensor | None, Tensor]:
    """Gradients of `conv2d(x, weight, stride, padding, groups=C)`.

    x: bfloat16 [B, C, H, W]. upstream: bfloat16 [B, C, h, w]. weight: float32 [C, 1, k, k].
    Returns that of x (bfloat16, rounded once from float32 sums; None unless asked for) and that of weight (float32).
    """
    of_x = torch.empty_like(x, memory_format=torch.channels_last) if of_x_too else x.new_empty(0, *x.shape[1:])
    taps = weight.detach()[:, 0].permute(1, 2, 0).contiguous().numpy()
    sides = _bits(x), _bits(upstream), _bits(of_x)

    def part(images: slice) -> Floats:
        of_weight = np.empty_like(taps)
        some_x, some_upstream, of_some_x = (side[images] for side in sides)
        _gradients(some_x, some_upstream, taps, stride, padding, of_some_x, of_weight)
        return of_weight

    threads = min(torch.get_num_threads(), len(x))
    bounds = [len(x) * number // threads for number in range(threads + 1)]
    parts = [slice(start, end) for start, end in pairwise(bounds)]
    of_weight = torch.from_numpy(sum(map(part, parts) if threads == 1 else _threads(threads).map(part, parts)))
    return of_x if of_x_too else None, of_weight.permute(2, 0, 1).unsqueeze(1)


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count)


def _bits(maps: Tensor) -> Any:
    return maps.detach().permute(0, 2, 3, 1).contiguous().view(torch.uint16).numpy()
