"""The canonical distance of chosen pairs, compiled: the bits of `kernels.reference.canonical_distance`.

Of a chunk of queries the vectors of one region and level are copied to where they fit the second cache; a row's is
converted to float64 into the first, once, and meets those of its queries. So pairs are taken chunk by chunk and,
within, row by row. Copies in float64 leave three operations a value to a pair, which decide; copies in float32 leave
four, and twice as many fit: better where few queries want the same row, and converting rows is most of the work. Where
hardly two do, a row is converted as it is read.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.cpu.aligned import scratch
from kernels.cpu.jit import kernel
from kernels.cpu.lanes import convert, squared_distance
from kernels.cpu.pairs import Pairs
from kernels.cpu.rows import CACHE_LINE, Held, Rows, fetch, held, load
from kernels.cpu.threads import over_all
from kernels.reference import LANES, RegionFeatures

WIDE_BYTES, SINGLE_BYTES = 7 << 17, 7 << 18
"""Of copies, in float64 and in float32: 68 and 275 vectors of 1664 channels. The latter may spill to the third cache.
"""
FEWEST_PAIRS = 64
"""That a thread takes at a time: some 0.2 ms."""
MEETS = 4
"""Fewer pairs of a row than these, with float64 copies, take less time if the row is converted for each, in registers.
"""
SHARED = 2
"""From so many pairs a row and chunk of float32 copies on, these pay where float64 copies meet too few."""
AHEAD = 4
"""Rows between what is computed and what is asked from memory."""


def rescore_pairs(
    query: RegionFeatures, owner: Tensor, blocks: Sequence[GalleryBlock], rows: Tensor, region_weight_power: int = 1
) -> Tensor:
    """`canonical_distance` of P pairs, query `owner[i]` and row `rows[i]`, both int64 [P]: float64 [P], the same bits.

    rows are numbers over all blocks, one block after the other. Raises `IndexError` for a row that no block holds.
    """
    ours, distance = held(query), np.empty(len(rows), np.float64)
    copies, chunk = _copies(ours, len(rows), sum(len(block) for block in blocks))
    pairs = Pairs.of(owner, rows, blocks, chunk)
    theirs = [held(block) for block in blocks]
    weights = [_weights(ours, block) for block in theirs]

    def compute(run: slice) -> None:
        block, own, within = pairs.blocks[run.start], pairs.owners[run], pairs.numbers[run]
        distance[pairs.order[run]] = _sum_terms(
            ours.rows, theirs[block].rows, weights[block], region_weight_power, own, within, chunk, copies
        )

    over_all([pairs.work(chunk, FEWEST_PAIRS, compute)])
    return torch.from_numpy(distance)


def _copies(query: Held, pairs: int, rows: int) -> tuple[NDArray[np.floating], int]:
    """An empty array of the type of the copies, and how many queries are copied at a time."""
    queries, widest = len(query.rows.region_weights), int(query.rows.channels.max())
    wide, single = (max(1, limit // (size * widest)) for limit, size in ((WIDE_BYTES, 8), (SINGLE_BYTES, 4)))
    if queries > wide and wide * pairs < MEETS * queries * rows and single * pairs >= SHARED * queries * rows:
        return np.empty(0, np.float32), min(queries, single)
    return np.empty(0, np.float64), min(queries, wide)


class Weights(NamedTuple):
    """Of both sides, all float32 or all float64: region weights [N, R] and level weights [N, R, L]."""

    query_region: NDArray[np.floating]
    query_level: NDArray[np.floating]
    region: NDArray[np.floating]
    level: NDArray[np.floating]


def _weights(query: Held, gallery: Held) -> Weights:
    """A gallery's float32 weights stay where they are: in float64 they would take 96 MB for a million photos."""
    sides = (*query.exact_weights, *gallery.exact_weights)
    if any(one.dtype == np.float64 for one in sides):
        return Weights(*(one.astype(np.float64, copy=False) for one in sides))
    return Weights(*sides)


@kernel
def _sum_terms(
    query: Rows,
    gallery: Rows,
    weights: Weights,
    power: int,
    owners: NDArray[np.int64],
    rows: NDArray[np.int64],
    chunk: int,
    copies: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Distances of queries owners[i] and rows[i], with the operations of `canonical_distance`.

    All owners are of one chunk of queries, and equal numbers in `rows` follow one another.
    """
    value, width = gallery.stored.itemsize, query.stored.itemsize
    regions, levels = weights.level.shape[1:]
    first = owners[0] // chunk * chunk
    present, starts = np.zeros(chunk, np.bool_), _starts(rows)
    for i in range(len(owners)):
        present[owners[i] - first] = True
    total, squares = np.zeros(len(owners), np.float64), np.empty(len(owners), np.float64)
    room = -(-query.channels.max() // LANES) * LANES
    near, vector, singles = scratch(copies, chunk * room), scratch(total, room), scratch(query.region_weights, room)
    o_near, stride = near.ctypes.data, room * near.itemsize
    for r in range(regions):
        for level in range(levels):
            channels, step = query.channels[level], gallery.row[level] * value
            blocks = -(-channels // LANES)
            for q in range(chunk):
                if present[q]:
                    o_query = query.base[level] + ((first + q) * query.row[level] + r * query.region[level]) * width
                    _copy(query.stored, o_query, channels, singles, near[q * room : q * room + blocks * LANES])
            base = gallery.base[level] + r * gallery.region[level] * value
            for j in range(len(starts) - 1):
                if j + AHEAD < len(starts) - 1:
                    ahead = base + rows[starts[j + AHEAD]] * step
                    for line in range(0, channels * value, CACHE_LINE):
                        fetch(ahead + line)
                start, stop = starts[j], starts[j + 1]
                o_row = base + rows[start] * step
                if channels % LANES == 0 and near.itemsize == vector.itemsize and stop - start < MEETS:
                    for i in range(start, stop):
                        here = o_near + (owners[i] - first) * stride
                        squares[i] = squared_distance(near, here, gallery.stored, o_row, blocks)
                else:
                    _copy(gallery.stored, o_row, channels, singles, vector[: blocks * LANES])
                    for i in range(start, stop):
                        here = o_near + (owners[i] - first) * stride
                        squares[i] = squared_distance(near, here, vector, vector.ctypes.data, blocks)
            _add(weights, power, r, level, owners, rows, squares, total)
    return total


@kernel
def _starts(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where equal numbers begin, and the end."""
    starts, count = np.empty(len(rows) + 1, np.int64), 0
    for i in range(len(rows)):
        if i == 0 or rows[i] != rows[i - 1]:
            starts[count] = i
            count += 1
    starts[count] = len(rows)
    return starts[: count + 1]


@kernel
def _copy(
    stored: NDArray[np.generic],
    address: int,
    channels: int,
    singles: NDArray[np.float32],
    vector: NDArray[np.floating],
) -> None:
    """Copy a vector, filled up with zeros: these add nothing to a distance, whose sums are >= 0, not even a bit.

    Half to double precision goes by way of `singles`: in one instruction it takes current processors twice as long.
    """
    blocks = channels // LANES
    if stored.itemsize < singles.itemsize < vector.itemsize:
        convert(stored, address, blocks, singles, singles.ctypes.data)
        convert(singles, singles.ctypes.data, blocks, vector, vector.ctypes.data)
    else:
        convert(stored, address, blocks, vector, vector.ctypes.data)
    for c in range(blocks * LANES, channels):
        vector[c] = load(stored, address, c)
    vector[channels:] = 0


@kernel
def _add(
    weights: Weights,
    power: int,
    r: int,
    level: int,
    owners: NDArray[np.int64],
    rows: NDArray[np.int64],
    squares: NDArray[np.float64],
    total: NDArray[np.float64],
) -> None:
    for i in range(len(total)):
        q, g = np.uint64(owners[i]), np.uint64(rows[i])  # unsigned: no index counts from the end
        region = (np.float64(weights.query_region[q, r]) + np.float64(weights.region[g, r])) / 2
        mean = (np.float64(weights.query_level[q, r, level]) + np.float64(weights.level[g, r, level])) / 2
        total[i] += mean * (region * region if power == 2 else region) * np.sqrt(squares[i])
