"""The smallest lower bounds of each query, without a matrix of all pairs.

The first rows are compared to all queries in a matrix, and the `count` smallest bounds kept. From then on the largest
of these is a limit: a launch over the next rows, `GROWTH` times as many as there were before, appends only what is
below it to a list per query. In rows of random order about GROWTH * count are; a list that overflows, from rows sorted
the wrong way, is thrown away, and its rows go the first way, a matrix tile at a time.

One number orders everything: a bound's bits above its row's, so that ties go to the lower row, and the answer doesn't
depend on the order in which the lists were filled. Bounds are >= 0, so their bits are in their order.

The host waits for the GPU once a launch, to learn if a list overflowed; not where all pairs fit one tile.
"""

import math
from collections.abc import Sequence
from operator import itemgetter

import torch
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.gpu.matrix import BoundsLauncher, bounds_launcher
from kernels.gpu.operands import Appended, Matrix
from kernels.merge import over_blocks
from kernels.reference import FeatureTensors, RegionFeatures

TILE_VALUES = 1 << 23
"""Pairs in a matrix at a time: 32 MB of bounds, 64 MB of keys. No more values are in all lists together."""

GROWTH = 3
"""Rows of a launch that appends, per row before it."""

NOTHING = 0x7F800000_FFFFFFFF
"""The key of no row: its bound is infinity, behind all others."""


def smallest_bounds(
    query: RegionFeatures, blocks: Sequence[GalleryBlock], count: int, region_weight_power: int
) -> tuple[Tensor, Tensor]:
    """The `count` smallest lower bounds of live rows of all blocks, ascending: float32 and rows int64 [Q, count].

    Queries of which so many are wanted that a matrix tile doesn't hold them come in groups.
    """
    queries, group = len(query.region_weights), max(1, TILE_VALUES // (2 * max(1, count)))
    if queries <= group:
        return over_blocks(nearest_bounds, query, blocks, count, region_weight_power)
    parts = []
    for start in range(0, queries, group):
        some = FeatureTensors.of(query, itemgetter(slice(start, start + group)))
        parts.append(over_blocks(nearest_bounds, some, blocks, count, region_weight_power))
    bounds, rows = zip(*parts, strict=True)
    return torch.cat(bounds), torch.cat(rows)


def nearest_bounds(
    query: RegionFeatures, block: GalleryBlock, count: int, region_weight_power: int, limits: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The `count` (<= live rows) smallest lower bounds of live rows by (bound, row): float32 and int64, [Q, count].

    limits: float32 [Q], or None; rows whose bound is above may be left out: infinity, and row 0. With them the first
    rows go into lists too.
    """
    queries = len(query.region_weights)
    kept = torch.full((queries, count), NOTHING, device=block.device)
    if not kept.numel():
        return kept.float(), kept
    launch, live = bounds_launcher(query, block, region_weight_power), _live(block)
    tile, capacity = max(TILE_VALUES // queries, 2 * count), list_capacity(count)
    done = 0
    while done < len(block):
        found = None
        rows = range(done, min(len(block), (1 + GROWTH) * done if done else tile))
        if (done or limits is not None) and queries * capacity <= TILE_VALUES:
            found = _below(_limits(kept, limits), launch, rows, capacity, live)
        if found is not None:
            kept = _smallest(kept, found)
        else:
            for start in range(rows.start, rows.stop, tile):
                kept = _smallest(kept, _all_of(launch, range(start, min(rows.stop, start + tile)), queries, live))
        done = rows.stop
    return bounds_of(kept), (kept & 0xFFFFFFFF).masked_fill_(kept == NOTHING, 0)


def list_capacity(count: int) -> int:
    """Length of a list: eight standard deviations above the GROWTH * count that rows of random order put into it.

    How many of m rows before the limit is drawn from lie below it, and how many of GROWTH m after, makes the number
    negative binomial, with a variance of (1 + GROWTH) times its mean.
    """
    expected = GROWTH * count
    length = expected + 8 * math.isqrt((1 + GROWTH) * expected) + 8
    return -(-length // 16) * 16  # of one kind to Triton, which compiles anew for an argument that 16 doesn't divide


def keys_of(bounds: Tensor, rows: Tensor) -> Tensor:
    """int64 keys in the order of (bound, row), of float32 bounds >= 0 and rows below 2^32."""
    return (bounds.view(torch.int32).long() << 32) | rows


def bounds_of(keys: Tensor) -> Tensor:
    """The float32 bounds in keys."""
    return (keys >> 32).int().view(torch.float32)


def _all_of(launch: BoundsLauncher, rows: range, queries: int, live: Tensor) -> Tensor:
    """The keys of some rows for all queries, [Q, rows]."""
    out = torch.empty((queries, len(rows)), dtype=torch.float32, device=live.device)
    launch(rows, Matrix(out))
    keys = keys_of(out, torch.arange(rows.start, rows.stop, device=live.device))
    return keys.masked_fill_(~live[rows.start : rows.stop], NOTHING)


def _below(limits: Tensor, launch: BoundsLauncher, rows: range, capacity: int, live: Tensor) -> Tensor | None:
    """The keys of the rows whose bound is below their query's limit, [Q, capacity], or None if a list overflows.

    A bound equal to the limit is out too.
    """
    keys = torch.full((len(limits), capacity), NOTHING, device=live.device)
    counts = torch.zeros(len(limits), dtype=torch.int32, device=live.device)
    launch(rows, Appended(keys, capacity, counts, limits, live))
    return keys if int(counts.max()) <= capacity else None


def _limits(kept: Tensor, limits: Tensor | None) -> Tensor:
    """What a bound must be below to matter, float32 [Q].

    Below the largest kept, as a row that ties with it comes after it; and not above the caller's limit.
    """
    largest = bounds_of(kept[:, -1])
    if limits is None:
        return largest
    return torch.minimum(largest, limits.nextafter(torch.full_like(limits, torch.inf)))


def _smallest(kept: Tensor, found: Tensor) -> Tensor:
    """The smallest of both sets of keys, as many as there were kept, ascending."""
    return torch.cat((kept, found), 1).topk(kept.shape[1], largest=False, sorted=True).values


def _live(block: GalleryBlock) -> Tensor:
    """bool [N], kept with the block where it has no mask."""
    if block.live is not None:
        return block.live.contiguous()
    if "triton.live" not in block.cache:
        block.cache["triton.live"] = torch.ones(len(block), dtype=torch.bool, device=block.device)
    live: Tensor = block.cache["triton.live"]
    return live
