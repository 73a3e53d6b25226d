"""The rows with the smallest lower bounds, by the form that is fastest for the number of queries."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.cpu import vnni
from kernels.cpu.direct import lower_bounds
from kernels.cpu.packed import affordable, is_packed, packed
from kernels.cpu.refine import smallest_refined
from kernels.cpu.screen import Rough, screen
from kernels.reference import RegionFeatures

MANY = 4
"""Groups of fewer queries are never a reason to pack: differences run at the memory's speed without a copy."""
PAYS = 32
"""After this many queries in groups, and from a group of as many on, the rows are packed as codes, which takes about as
long as they took. A packed block is screened for any number of queries: that reads half the bytes."""
SHARP = np.empty((0, 0, 0), np.float32)
"""`Rough.parts` of bounds that are sharp."""
SPARSE = 16
"""Where more than one row in this many is wanted, 8 bits leave most rows in doubt, and all are computed in float32."""
MATRIX_VALUES = 1 << 24
"""Bounds held at a time: 64 MB. More queries than fit come in groups."""


def smallest_bounds(
    query: RegionFeatures, blocks: Sequence[GalleryBlock], count: int, region_weight_power: int
) -> tuple[Tensor, Tensor]:
    """The `count` (<= live rows) smallest lower bounds of live rows of all blocks: float32 and rows int64 [Q, count].

    Ascending; rows are numbered over all blocks, one block after the other.
    """
    queries, total = len(query.region_weights), sum(len(block) for block in blocks)
    sparse = vnni.available() and count * SPARSE <= total
    screened = [sparse and len(block) > 0 and _worth_packing(block, queries) for block in blocks]
    # The screen keeps a bound for each level too.
    values = max(1, total * (1 + len(query.levels) if any(screened) else 1))
    group = max(vnni.TILE_QUERIES, MATRIX_VALUES // values // vnni.TILE_QUERIES * vnni.TILE_QUERIES)
    bounds = torch.empty((queries, count))
    rows = torch.empty((queries, count), dtype=torch.int64)
    for start in range(0, queries, group):
        part = _Some(query, slice(start, start + group))
        roughs = [
            screen(part, block, packed(block), region_weight_power)
            if codes
            else Rough(lower_bounds(part, block, region_weight_power).numpy(), SHARP)
            for block, codes in zip(blocks, screened, strict=True)
        ]
        for rough, block in zip(roughs, blocks, strict=True):
            if block.live is not None:
                rough.bounds[:, ~block.live.numpy()] = np.inf
        found, where = smallest_refined(part, blocks, roughs, count, region_weight_power)
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


class _Some:
    """Some of the queries."""

    def __init__(self, query: RegionFeatures, part: slice) -> None:
        self.levels = tuple(level[part] for level in query.levels)
        self.region_weights = query.region_weights[part]
        self.level_weights = query.level_weights[part]
