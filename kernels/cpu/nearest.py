"""The rows with the smallest lower bounds, by the form that is fastest for the number of queries."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.cpu import amx, products
from kernels.cpu.direct import bounding
from kernels.cpu.packed import Packed, affordable, is_packed, packable, packed
from kernels.cpu.packed_queries import PackedQueries, pack_queries
from kernels.cpu.rows import held_in_float32
from kernels.cpu.screen import screening
from kernels.cpu.smallest import smallest
from kernels.cpu.threads import over_all
from kernels.reference import FeatureTensors, RegionFeatures

GROUP = 4
"""From so many queries on they are a group, and share what they read."""
PAYS = 32
"""After this many queries, alone or in groups, the rows are packed as codes, which takes about as long as codes would
have saved them: see `packed`."""
SERVED = "cpu.served"
"""Where a block's cache keeps what was counted."""
SPARSE = 4
"""Where more than one row in this many is wanted, 8 bits leave too many rows in doubt, and float32 differences are
taken of all."""
SPARE = 2
"""So many times as many bounds from codes are kept: the few rows in doubt are among them."""
MATRIX_VALUES = 1 << 25
"""Bounds held at a time: 128 MB, twice that while those of several blocks are joined. More queries than fit come in
groups."""


def smallest_bounds(
    query: RegionFeatures, blocks: Sequence[GalleryBlock], count: int, region_weight_power: int
) -> tuple[Tensor, Tensor]:
    """The `count` (<= live rows) smallest lower bounds of live rows of all blocks, or more.

    Float32 and rows int64 [Q, K], ascending; rows are numbered over all blocks, one block after the other.
    """
    queries, total = len(query.region_weights), sum(len(block) for block in blocks)
    sparse = products.fastest() is not None and count * SPARSE <= total
    worth = [sparse and packable(block) and _worth_packing(block, queries) for block in blocks]
    if queries < GROUP:  # nobody waits for more than one block to be packed
        new = (number for number, block in enumerate(blocks) if worth[number] and not is_packed(block))
        for number in list(new)[1:]:
            worth[number] = False
    codes = _codes(blocks, worth)
    if any(codes):
        count = min(sum(block.live_count for block in blocks), SPARE * count)
    group = max(amx.TILE_QUERIES, MATRIX_VALUES // max(1, total) // amx.TILE_QUERIES * amx.TILE_QUERIES)
    lower = torch.empty((queries, count))
    rows = torch.empty((queries, count), dtype=torch.int64)
    for start in range(0, queries, group):
        part = query if queries <= group else GalleryBlock.of(_rows(query, start, start + group))
        found, where = smallest(_bounds(part, blocks, codes, region_weight_power), count)
        lower[start : start + group], rows[start : start + group] = torch.from_numpy(found), torch.from_numpy(where)
    return lower, rows


def _codes(blocks: Sequence[GalleryBlock], wanted: Sequence[bool]) -> list[Packed | None]:
    """The codes of the wanted blocks; those built now share the centre of the first there are."""
    centre = next((packed(block).centre for block, want in zip(blocks, wanted, strict=True) if want), None)
    return [packed(block, centre) if want else None for block, want in zip(blocks, wanted, strict=True)]


def _rows(features: RegionFeatures, start: int, stop: int) -> FeatureTensors:
    return FeatureTensors.of(features, lambda values: values[start:stop])


def _bounds(
    query: RegionFeatures, blocks: Sequence[GalleryBlock], codes: Sequence[Packed | None], region_weight_power: int
) -> NDArray[np.float32]:
    """Bounds of every block's rows side by side, by its codes where it has some; infinity for dead rows."""
    ours, by_centre, product = held_in_float32(query), dict[int, PackedQueries](), products.fastest()
    result, works = [], []
    for block, rows in zip(blocks, codes, strict=True):
        if rows is None or product is None:
            bounds, work = bounding(query, block, region_weight_power)
            result.append(bounds.numpy())
        else:
            if id(rows.centre) not in by_centre:
                by_centre[id(rows.centre)] = pack_queries(ours, rows.centre, product)
            found, work = screening(query, by_centre[id(rows.centre)], block, rows, region_weight_power)
            result.append(found)
        works.append(work)
    over_all(works)
    for block, of_block in zip(blocks, result, strict=True):
        if block.live is not None:
            of_block[:, ~block.live.numpy()] = np.inf
    return result[0] if len(result) == 1 else np.concatenate(result, 1)


def _worth_packing(block: GalleryBlock, queries: int) -> bool:
    """Whether to screen codes: they are there, or enough queries came to pay for them, and they fit."""
    if is_packed(block):
        return True
    served = block.cache.get(SERVED, 0) + queries
    block.cache[SERVED] = served
    return bool(served >= PAYS) and affordable(block)
