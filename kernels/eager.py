"""The eager implementation: plain PyTorch on any device, float32 arithmetic. Slow, and right everywhere."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from kernels import reference
from kernels.blocks import GalleryBlock, slack_of_differences
from kernels.merge import over_blocks
from kernels.reference import FeatureTensors, RegionFeatures
from kernels.rescore import rescore_pairs

__all__ = [
    "bounds_of_pairs",
    "lower_bounds",
    "pair_distance",
    "region_pool",
    "rescore_pairs",
    "smallest_bounds",
    "why_not",
]

CHUNK_ROWS = 1024
"""Gallery rows converted to float32 at a time: 42 MB at 10,368 values a row."""


def why_not(device: torch.device) -> str | None:
    """Nothing stands in its way."""
    return None


def pair_distance(query: RegionFeatures, gallery: GalleryBlock, region_weight_power: int) -> Tensor:
    """Distances of all pairs, float32 [Q, N], from differences: within `direct_error` of the canonical ones."""
    whole = FeatureTensors.of(query, Tensor.float)
    parts = [whole.region_weights.new_empty((len(whole.region_weights), 0))]
    for start in range(0, len(gallery), CHUNK_ROWS):
        rows = FeatureTensors.of(gallery, partial(_rows_in_float32, start=start))
        distance = reference.pair_distance(whole, rows, region_weight_power)
        assert isinstance(distance, Tensor)
        parts.append(distance)
    return torch.cat(parts, 1)


def _rows_in_float32(tensor: Tensor, start: int) -> Tensor:
    """CHUNK_ROWS rows, in float32, which holds the narrower types exactly."""
    return tensor[start : start + CHUNK_ROWS].float()


def lower_bounds(query: RegionFeatures, block: GalleryBlock, region_weight_power: int) -> Tensor:
    """Float32 [Q, N], never above the canonical distance; 0 where the distance overflowed."""
    distance = pair_distance(query, block, region_weight_power)
    relative, absolute = slack_of_differences(query, [block], region_weight_power)
    lower = distance.double() / (1 + relative) - absolute
    # Rounded to float32 it may come out up to 2^-24 larger: 2^-23 off covers it.
    return torch.where(distance.isfinite(), lower * (1 - 2.0**-23), 0).clamp_min(0).float()


def bounds_of_pairs(*pairs: object) -> None:
    """None: the caller rescores at once. Rows would have to be gathered either way."""


def smallest_bounds(
    query: RegionFeatures, blocks: Sequence[GalleryBlock], count: int, region_weight_power: int
) -> tuple[Tensor, Tensor]:
    """The `count` smallest lower bounds of live rows of all blocks, ascending: float32 and rows int64 [Q, count]."""
    return over_blocks(_nearest_bounds, query, blocks, count, region_weight_power)


def _nearest_bounds(
    query: RegionFeatures, block: GalleryBlock, count: int, region_weight_power: int, limits: Tensor | None
) -> tuple[Tensor, Tensor]:
    lower = lower_bounds(query, block, region_weight_power)
    if block.live is not None:
        lower = lower.masked_fill(~block.live, torch.inf)
    values, rows = lower.topk(count, largest=False)
    return values, rows


def region_pool(levels: Sequence[Tensor], maps: Tensor) -> tuple[Tensor, ...]:
    """Mean over the grid of (map r * level l), L x float32 [B, R, C_l]."""
    return reference.region_pool(levels, maps)
