"""Region vectors of all levels in one pass: mean over the grid of (map r * level l).

    f[b, r, c] = 1 / (h w) * sum over the grid of maps[b, r] * level[b, c]

A program takes BC channels of one level of one image, and all regions: every level value is read once (0.88 MB an image
in float32 for 512 + 1280 + 1664 channels on 8 x 8), R products each, so it is bound by memory. The maps, 64 numbers a
region, come from the cache. Which level a program belongs to follows from its number.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,assignment,misc"
# Kernels are Triton's language, which has no types of Python's.

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.availability import current
from kernels.gpu.tiles import POOL_TILE
from kernels.reference import check_pool


@triton.jit
def pool_kernel(
    levels,  # L x [B, C_l, S]
    maps,  # [B, R, S]
    outs,  # L x [B, R, C_l], float32
    level_strides,  # L x (image, channel, cell)
    map_strides,  # image, region, cell
    R: tl.constexpr,
    S: tl.constexpr,  # cells of the grid
    CHANNELS: tl.constexpr,  # C_l of the L levels
    BC: tl.constexpr,
    BR: tl.constexpr,  # R, rounded up to a power of two
    BS: tl.constexpr,
):
    """The region vectors of some channels of one level of one image."""
    i_block, i_image = tl.program_id(0), tl.program_id(1).to(tl.int64)
    for i_level in tl.static_range(len(CHANNELS)):
        if (i_block >= 0) & (i_block < tl.cdiv(CHANNELS[i_level], BC)):
            pool_channels(
                levels[i_level] + i_image * level_strides[i_level][0],
                maps + i_image * map_strides[0],
                outs[i_level] + i_image * (R * CHANNELS[i_level]),
                level_strides[i_level],
                map_strides,
                i_block * BC + tl.arange(0, BC),
                R,
                S,
                CHANNELS[i_level],
                BC,
                BR,
                BS,
            )
        i_block -= tl.cdiv(CHANNELS[i_level], BC)


@triton.jit
def pool_channels(
    level,  # [C, S]
    maps,  # [R, S]
    out,  # [R, C]
    level_strides,
    map_strides,
    o_c,  # [BC]
    R: tl.constexpr,
    S: tl.constexpr,
    C: tl.constexpr,
    BC: tl.constexpr,
    BR: tl.constexpr,
    BS: tl.constexpr,
):
    """Some channels of one level of one image."""
    o_r = tl.arange(0, BR)
    b_sum = tl.zeros([BR, BC], tl.float32)
    for i_cell in range(0, S, BS):
        o_s = i_cell + tl.arange(0, BS)
        p_level = level + o_c[:, None] * level_strides[1] + o_s[None, :] * level_strides[2]
        p_maps = maps + o_r[:, None] * map_strides[1] + o_s[None, :] * map_strides[2]
        b_level = tl.load(p_level, mask=(o_c < C)[:, None] & (o_s < S)[None, :], other=0.0).to(tl.float32)
        b_maps = tl.load(p_maps, mask=(o_r < R)[:, None] & (o_s < S)[None, :], other=0.0).to(tl.float32)
        b_sum += tl.sum(b_maps[:, None, :] * b_level[None, :, :], 2)
    tl.store(out + o_r[:, None] * C + o_c[None, :], b_sum / S, mask=(o_r < R)[:, None] & (o_c < C)[None, :])


def region_pool(levels: Sequence[Tensor], maps: Tensor) -> tuple[Tensor, ...]:
    """Mean over the grid of (map r * level l).

    levels: L tensors [B, C_l, h, w] on one grid, of any memory format; maps: [B, R, h, w]; floating point.
    Returns L tensors [B, R, C_l], float32, within (h w + 2) 2^-24 sum |map * level| / (h w). Raises `ValueError` for
    levels of another batch or grid than the maps'.
    """
    check_pool(levels, maps)
    images, regions, height, width = maps.shape
    channels = tuple(level.shape[1] for level in levels)
    outs = tuple(torch.empty((images, regions, c), dtype=torch.float32, device=maps.device) for c in channels)
    if not maps.numel():
        return tuple(out.zero_() for out in outs)
    flat, flat_maps = tuple(level.flatten(2) for level in levels), maps.flatten(2)
    tile = POOL_TILE
    grid = (sum(triton.cdiv(c, tile.channels) for c in channels), images)
    with current(maps.device):
        pool_kernel[grid](
            flat,
            flat_maps,
            outs,
            tuple(level.stride() for level in flat),
            flat_maps.stride(),
            R=regions,
            S=height * width,
            CHANNELS=channels,
            BC=tile.channels,
            BR=triton.next_power_of_2(regions),
            BS=tile.cells,
            num_warps=tile.warps,
            enable_fp_fusion=True,
        )
    return outs
