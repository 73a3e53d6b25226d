"""The rows with the smallest lower bounds, by the form that is fastest for the number of queries."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.cpu import amx, products
from kernels.cpu.direct import bounding
from kernels.cpu.packed import Packed, affordable, is_packed, mean_of_sample, packable, packed
from kernels.cpu.packed_queries import PackedQueries, pack_queries
from kernels.cpu.rounded import round_queries
from kernels.cpu.rows import held_in_float32
from kernels.cpu.screen import screening
from kernels.cpu.screen_rounded import can_be_rounded
from kernels.cpu.screen_rounded import screening as screening_rounded
from kernels.cpu.smallest import smallest
from kernels.cpu.threads import over_all
from kernels.reference import FeatureTensors, RegionFeatures

GROUP = 4
"""From so many queries on they are a group, and share what they read and round."""
PAYS = 32
"""Once codes would have saved as much as they save this many single queries, which is about what packing takes, the
rows are packed: see `saved` and `packed`."""
SERVED, CENTRE = "cpu.served", "cpu.centre"
"""Where a block's cache keeps what was counted, and what its rows and the queries are measured from."""
SPARSE = 4
"""Where more than one row in this many is wanted, 8 bits leave too many rows in doubt, and float32 differences are
taken of all."""
ROUNDED_SPARSE = 16
"""The same for rounded rows, which save less: a second search, for what they leave in doubt, takes longer than
differences of all do."""
CENTRE_ROWS = 64
"""Whose mean the rounded rows are measured from: found anew for every block."""
SPARE = 2
"""So many times as many bounds of 8 bits are kept: the few rows in doubt are among them."""
ROUNDED_ALIKE = 64
"""So many more queries cost a pass over rounded rows as much more as codes save a single one."""
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
    packing = products.fastest() is not None and count * SPARSE <= total
    rounding = queries >= GROUP and count * ROUNDED_SPARSE <= total
    rounded = [rounding and can_be_rounded(block) for block in blocks]
    worth = [
        packing and packable(block) and _worth_packing(block, queries, by_rounding)
        for block, by_rounding in zip(blocks, rounded, strict=True)
    ]
    if queries < GROUP:  # nobody waits for more than one block to be packed
        new = (number for number, block in enumerate(blocks) if worth[number] and not is_packed(block))
        for number in list(new)[1:]:
            worth[number] = False
    codes = _codes(blocks, worth)
    rounded = [by_rounding and not coded for by_rounding, coded in zip(rounded, worth, strict=True)]
    if any(worth) or any(rounded):
        count = min(sum(block.live_count for block in blocks), SPARE * count)
    group = max(amx.TILE_QUERIES, MATRIX_VALUES // max(1, total) // amx.TILE_QUERIES * amx.TILE_QUERIES)
    lower = torch.empty((queries, count))
    rows = torch.empty((queries, count), dtype=torch.int64)
    for start in range(0, queries, group):
        part = query if queries <= group else GalleryBlock.of(_rows(query, start, start + group))
        found, where = smallest(_bounds(part, blocks, codes, rounded, region_weight_power), count)
        lower[start : start + group], rows[start : start + group] = torch.from_numpy(found), torch.from_numpy(where)
    return lower, rows


def _codes(blocks: Sequence[GalleryBlock], wanted: Sequence[bool]) -> list[Packed | None]:
    """The codes of the wanted blocks; those built now share the centre of the first there are."""
    centre = next((packed(block).centre for block, want in zip(blocks, wanted, strict=True) if want), None)
    return [packed(block, centre) if want else None for block, want in zip(blocks, wanted, strict=True)]


def _rows(features: RegionFeatures, start: int, stop: int) -> FeatureTensors:
    return FeatureTensors.of(features, lambda values: values[start:stop])


def _bounds(
    query: RegionFeatures,
    blocks: Sequence[GalleryBlock],
    codes: Sequence[Packed | None],
    rounded: Sequence[bool],
    region_weight_power: int,
) -> NDArray[np.float32]:
    """Bounds of every block's rows side by side; infinity for dead rows.

    By its codes where a block has some, by its rounded rows where it is said so, else by differences.
    """
    ours, by_centre, product = held_in_float32(query), dict[int, PackedQueries](), products.fastest()
    by_rounding = [block for block, is_rounded in zip(blocks, rounded, strict=True) if is_rounded]
    longest = max(by_rounding, key=len, default=None)
    in_bfloat16 = None if longest is None else round_queries(ours, longest.derived(CENTRE, partial(_centre, longest)))
    result, works = [], []
    for block, rows, is_rounded in zip(blocks, codes, rounded, strict=True):
        if rows is not None and product is not None:
            if id(rows.centre) not in by_centre:
                by_centre[id(rows.centre)] = pack_queries(ours, rows.centre, product)
            found, work = screening(query, by_centre[id(rows.centre)], block, rows, region_weight_power)
        elif is_rounded and in_bfloat16 is not None:
            found, work = screening_rounded(query, in_bfloat16, block, region_weight_power)
        else:
            bounds, work = bounding(query, block, region_weight_power)
            found = bounds.numpy()
        result.append(found)
        works.append(work)
    over_all(works)
    for block, of_block in zip(blocks, result, strict=True):
        if block.live is not None:
            of_block[:, ~block.live.numpy()] = np.inf
    return result[0] if len(result) == 1 else np.concatenate(result, 1)


def _centre(block: GalleryBlock) -> NDArray[np.float32]:
    return mean_of_sample(block, CENTRE_ROWS)


def saved(queries: int, rounded: bool) -> int:
    """What codes would save a search by so many queries, in units of what they save a single one.

    rounded: whether the rows would be rounded otherwise.
    """
    return 1 + queries // ROUNDED_ALIKE if rounded else queries


def _worth_packing(block: GalleryBlock, queries: int, rounded: bool) -> bool:
    """Whether to screen codes: they are there, or would have saved enough to pay for them, and they fit."""
    if is_packed(block):
        return True
    served = block.cache.get(SERVED, 0) + saved(queries, rounded)
    block.cache[SERVED] = served
    return bool(served >= PAYS) and affordable(block)
