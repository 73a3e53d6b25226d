"""The rows with the smallest lower bounds, by the form that is fastest for the number of queries."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.cpu import vnni
from kernels.cpu.direct import lower_bounds
from kernels.cpu.packed import affordable, is_packed, packed
from kernels.cpu.refine import smallest_refined
from kernels.cpu.screen import screen
from kernels.cpu.smallest import smallest
from kernels.reference import RegionFeatures

MANY = 4
"""Groups of fewer queries are never a reason to pack: differences run at the memory's speed without a copy."""
PAYS = 32
"""After this many queries in groups, and from a group of as many on, the rows are packed as codes, which takes about as
long as they took. A packed block is screened for any number of queries: that reads half the bytes."""
SPARSE = 16
"""Where more than one row in this many is wanted, 8 bits leave most rows in doubt, and all are computed in float32."""
MATRIX_VALUES = 1 << 24
"""Bounds held at a time: 64 MB. More queries than fit come in groups."""


def nearest_bounds(
    query: RegionFeatures, block: GalleryBlock, count: int, region_weight_power: int, limits: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The `count` (<= live rows) smallest lower bounds of live rows, ascending: float32 and rows int64 [Q, count].

    limits: float32 [Q]; rows whose bound is above are left out: infinity, and row -1.
    """
    queries = len(query.region_weights)
    screened = vnni.available() and count * SPARSE <= len(block) and _worth_packing(block, queries)
    # The screen keeps a bound for each level too.
    values = max(1, len(block) * (1 + len(block.levels) if screened else 1))
    group = max(vnni.TILE_QUERIES, MATRIX_VALUES // values // vnni.TILE_QUERIES * vnni.TILE_QUERIES)
    bounds = torch.empty((queries, count))
    rows = torch.empty((queries, count), dtype=torch.int64)
    for start in range(0, queries, group):
        part = _Some(query, slice(start, start + group))
        if screened:
            rough = screen(part, block, packed(block), region_weight_power)
            _remove(rough.bounds, block, limits, start)
            found, where = smallest_refined(part, block, rough, count, region_weight_power)
        else:
            lower = lower_bounds(part, block, region_weight_power).numpy()
            _remove(lower, block, limits, start)
            found, where = smallest(lower, count)
        bounds[start : start + group], rows[start : start + group] = torch.from_numpy(found), torch.from_numpy(where)
    return bounds, rows


def _worth_packing(block: GalleryBlock, queries: int) -> bool:
    """Whether to screen codes: they are there, or enough queries came in groups to pay for them, and they fit."""
    if is_packed(block):
        return True
    if queries < MANY:
        return False
    served = block.cache.get("cpu.served", 0) + queries
    block.cache["cpu.served"] = served
    return bool(served >= PAYS) and affordable(block)


def _remove(bounds: NDArray[np.float32], block: GalleryBlock, limits: Tensor | None, start: int) -> None:
    """Put infinity where rows are dead or too far."""
    if block.live is not None:
        bounds[:, ~block.live.numpy()] = np.inf
    if limits is not None:
        bounds[bounds > limits[start : start + len(bounds), None].numpy()] = np.inf


class _Some:
    """Some of the queries."""

    def __init__(self, query: RegionFeatures, part: slice) -> None:
        self.levels = tuple(level[part] for level in query.levels)
        self.region_weights = query.region_weights[part]
        self.level_weights = query.level_weights[part]
