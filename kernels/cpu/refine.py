"""Sharp lower bounds where rough ones leave a doubt: float32 differences, level by level.

A level's sharp part replaces its rough one; most doubts end with the first level, the smallest, so that the others'
vectors are never read.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kernels.blocks import GalleryBlock
from kernels.cpu.direct import Slack, lowered, slack, term, weight
from kernels.cpu.jit import any_order, part
from kernels.cpu.rows import CACHE_LINE, Rows, fetch, held, held_in_float32, load
from kernels.cpu.screen import Rough
from kernels.cpu.smallest import smallest
from kernels.cpu.threads import over
from kernels.reference import RegionFeatures

Both = tuple[Rows, Rows, int, Slack]
"""Queries, rows, p, and what `lowered` needs."""
RUN_PAIRS = 16
"""Single pairs that a thread takes at a time."""
TILE_ROWS, TILE_QUERIES = 32, 64
"""Rows and queries whose vectors of one region and level stay in the second cache together: 0.5 MB at 1664 channels."""


def smallest_refined(
    query: RegionFeatures, blocks: Sequence[GalleryBlock], roughs: Sequence[Rough], count: int, region_weight_power: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The `count` smallest sharp lower bounds of each query, ascending: float32 and rows int64 [Q, count].

    roughs: of each block; their bounds are overwritten; infinity for rows that don't count.
    The sharp bounds of the rows with the `count` smallest rough ones give a limit. A row whose bound is above it can't
    be among the smallest; all others are made sharp.
    """
    if not any(rough.parts.size for rough in roughs):
        return smallest(_joined(roughs), count)
    ours = held_in_float32(query)
    limits, seeds = smallest(_joined(roughs), count)
    queries, first = len(seeds), 0
    # Few queries doubt few rows: longer runs, so that the next doubtful row is mostly of the same run.
    step = TILE_ROWS * max(1, TILE_QUERIES // (2 * queries))
    doubtful = []
    for block, rough in zip(blocks, roughs, strict=True):
        if rough.parts.size:
            both: Both = (ours.rows, held(block).rows, region_weight_power, slack(query, block, region_weight_power))
            owner, place = np.nonzero((seeds >= first) & (seeds < first + len(block)))
            within = seeds[owner, place] - first
            sharp = np.empty(len(owner), np.float32)
            over(len(owner), RUN_PAIRS, partial(_sharpen_pairs, *both, owner, within, sharp))
            sharp = np.maximum(sharp, rough.bounds[owner, within])
            limits[owner, place] = sharp
            doubtful.append((both, rough, len(block), owner, within, sharp))
            rough.bounds[owner, within] = np.inf  # done with
        first += len(block)
    limit = limits.max(1)
    for both, rough, size, owner, within, sharp in doubtful:
        over(size, step, partial(_sharpen_run, both, limit, rough))
        rough.bounds[owner, within] = sharp
    return smallest(_joined(roughs), count)


def _joined(roughs: Sequence[Rough]) -> NDArray[np.float32]:
    """The bounds of all blocks side by side."""
    return roughs[0].bounds if len(roughs) == 1 else np.concatenate([rough.bounds for rough in roughs], 1)


def _sharpen_run(both: Both, limit: NDArray[np.float32], rough: Rough, first: int, last: int) -> None:
    _sharpen(*both, limit, first, last, rough.bounds, rough.parts)


@any_order
def _sharpen_pairs(
    query: Rows,
    gallery: Rows,
    power: int,
    given_up: Slack,
    owner: NDArray[np.int64],
    rows: NDArray[np.int64],
    sharp: NDArray[np.float32],
    first: int,
    last: int,
) -> None:
    """Sharp bounds of pairs first to last, query `owner[i]` and row `rows[i]`."""
    for i in range(first, last):
        total = np.float32(0)
        for level in range(len(gallery.base)):
            for r in range(gallery.region_weights.shape[1]):
                total += term(query, gallery, power, owner[i], rows[i], r, level)
        sharp[i] = lowered(total, given_up)


@any_order
def _sharpen(
    query: Rows,
    gallery: Rows,
    power: int,
    given_up: Slack,
    limits: NDArray[np.float32],
    first: int,
    last: int,
    bounds: NDArray[np.float32],
    parts: NDArray[np.float32],
) -> None:
    """Make the bounds of rows first to last sharper until they are sharp or exceed their query's limit."""
    width, value = query.stored.itemsize, gallery.stored.itemsize
    owners = np.empty(TILE_QUERIES * (last - first), np.int64)
    rows, ends = np.empty(last - first + 1, np.int64), np.empty(last - first + 1, np.int64)
    totals = np.empty(len(owners), np.float32)
    for start in range(0, len(bounds), TILE_QUERIES):
        count = _doubtful(bounds, limits, start, first, last, owners, rows, ends)
        for level in range(len(gallery.base)):
            channels, stride, step = gallery.channels[level], query.row[level] * width, gallery.row[level] * value
            totals[: ends[count]] = 0
            for r in range(gallery.region_weights.shape[1]):
                o_query = query.base[level] + r * query.region[level] * width
                o_rows = gallery.base[level] + r * gallery.region[level] * value
                for i in range(count):
                    for line in range(0, channels * value, CACHE_LINE):
                        fetch(o_rows + rows[i + 1] * step + line)
                    for number in range(ends[i], ends[i + 1], 2):
                        following = min(number + 1, ends[i + 1] - 1)
                        both = squares_of_two(
                            query.stored,
                            o_query + owners[number] * stride,
                            o_query + owners[following] * stride,
                            gallery.stored,
                            o_rows + rows[i] * step,
                            channels,
                        )
                        for j in range(following - number + 1):
                            w = weight(query, gallery, power, owners[number + j], rows[i], r, level)
                            totals[number + j] += w * np.sqrt(both[j])
            kept, end = 0, 0
            for i in range(count):
                begin, g = end, rows[i]
                for number in range(ends[i], ends[i + 1]):
                    q = owners[number]
                    gain = np.float64(lowered(totals[number], given_up)) - parts[level, q, g]
                    if gain > 0:
                        bounds[q, g] = np.float32((bounds[q, g] + gain) * (1 - 2.0**-23))
                    if bounds[q, g] <= limits[q]:
                        owners[end] = q
                        end += 1
                # What is read above lies behind what is written here.
                if end > begin:
                    rows[kept], ends[kept] = g, begin
                    kept += 1
            rows[kept], ends[kept] = first, end
            count = kept


@part
def _doubtful(
    bounds: NDArray[np.float32],
    limits: NDArray[np.float32],
    start: int,
    first: int,
    last: int,
    owners: NDArray[np.int64],
    rows: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> int:
    """Which of TILE_QUERIES queries from `start` on have a bound within their limit for which of rows first to last.

    Returns how many rows there are: rows[i] with the queries owners[ends[i] : ends[i + 1]]. One more row, any, follows.
    """
    stop = min(start + TILE_QUERIES, len(bounds))
    found = np.zeros(last - first, np.int64)
    for q in range(start, stop):
        for i in range(last - first):
            found[i] += bounds[q, first + i] <= limits[q]
    count, end = 0, 0
    for i in range(last - first):
        size = found[i]
        found[i] = end
        if size > 0:
            rows[count], ends[count] = first + i, end
            count += 1
        end += size
    rows[count], ends[count] = first, end
    for q in range(start, stop):
        for i in range(last - first):
            if bounds[q, first + i] <= limits[q]:
                owners[found[i]] = q
                found[i] += 1
    return count


@part
def squares_of_two(
    query_stored: NDArray[np.generic], query: int, other: int, stored: NDArray[np.generic], row: int, channels: int
) -> tuple[np.float32, np.float32]:
    """Squared distances of two queries to one row, which is loaded and converted once."""
    a = b = np.float32(0)
    for c in range(channels):
        value = load(stored, row, c)
        difference = load(query_stored, query, c) - value
        another = load(query_stored, other, c) - value
        a += difference * difference
        b += another * another
    return a, b
