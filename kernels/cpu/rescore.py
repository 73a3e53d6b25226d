"""The canonical distance of chosen pairs, compiled: the bits of `kernels.reference.canonical_distance`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.cpu.aligned import scratch
from kernels.cpu.jit import kernel
from kernels.cpu.lanes import squared_distance
from kernels.cpu.rows import CACHE_LINE, Held, Rows, fetch, held, load
from kernels.cpu.threads import over
from kernels.reference import LANES, RegionFeatures

FEWEST_PAIRS, MOST_PAIRS = 64, 4096
"""That a thread takes at a time: what is converted or near is shared within such a run, 0.1 to 8 ms of work."""
RUNS = 16
"""Into so many the pairs are divided, within those limits."""
SHARED = 4
"""From so many pairs a gallery row and chunk of queries on, rows are what is converted once, and queries, in float32,
what is streamed."""
CHUNK = 256
"""Queries that are streamed together: those of one region and level stay in the second cache, 1.7 MB at 1664 channels.
"""


def rescore_pairs(
    query: RegionFeatures, owner: Tensor, blocks: Sequence[GalleryBlock], rows: Tensor, region_weight_power: int = 1
) -> Tensor:
    """`canonical_distance` of P pairs, query `owner[i]` and row `rows[i]`, both int64 [P]: float64 [P], the same bits.

    rows are numbers over all blocks, one block after the other. Raises `IndexError` for a row that no block holds.
    """
    owners, numbers = owner.numpy(), rows.numpy()
    ends = np.cumsum([len(block) for block in blocks])
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < ends[-1]:
        raise IndexError(f"rows {numbers.min()} to {numbers.max()}; expected 0 to {ends[-1] - 1}, the blocks' rows")
    ours, distance = held(query), np.empty(len(numbers), np.float64)
    owning = np.searchsorted(ends, numbers, side="right")
    for number in np.unique(owning):
        own, block = np.nonzero(owning == number)[0], blocks[number]
        within = numbers[own] - (ends[number] - len(block))
        distance[own] = _of_pairs(ours, owners[own], block, within, region_weight_power)
    return torch.from_numpy(distance)


def _of_pairs(
    query: Held, owners: NDArray[np.int64], block: GalleryBlock, numbers: NDArray[np.int64], power: int
) -> NDArray[np.float64]:
    """Canonical distances float64 [P] of query `owners[i]` to row `numbers[i]` of one block."""
    gallery = held(block)
    # One number a pair to sort by: numpy sorts these with the vector units, pairs of keys it doesn't.
    keys = owners // CHUNK * len(block) + numbers
    order = np.argsort(keys)
    shared = len(numbers) >= SHARED * (1 + np.count_nonzero(np.diff(keys[order])))
    if not shared:
        order = np.argsort(owners * len(block) + numbers)
    # A distance has the same bits either way round.
    kept, streamed = (gallery, query) if shared else (query, gallery)
    first, second = (numbers[order], owners[order]) if shared else (owners[order], numbers[order])
    weights = _weights(kept, streamed)
    distance = np.empty(len(numbers), np.float64)

    def run(start: int, stop: int) -> None:
        part = slice(start, stop)
        distance[order[part]] = _sum_terms(kept.rows, streamed.rows, weights, power, first[part], second[part])

    over(len(numbers), min(MOST_PAIRS, max(FEWEST_PAIRS, len(numbers) // RUNS)), run)
    return distance


class Weights(NamedTuple):
    """Of both sides, all float32 or all float64: region weights [N, R] and level weights [N, R, L]."""

    kept_region: NDArray[np.floating]
    kept_level: NDArray[np.floating]
    region: NDArray[np.floating]
    level: NDArray[np.floating]


def _weights(kept: Held, streamed: Held) -> Weights:
    """A gallery's float32 weights stay where they are: in float64 they would take 96 MB for a million photos."""
    sides = (*kept.exact_weights, *streamed.exact_weights)
    if any(one.dtype == np.float64 for one in sides):
        return Weights(*(one.astype(np.float64, copy=False) for one in sides))
    return Weights(*sides)


@kernel
def _sum_terms(
    kept: Rows,
    streamed: Rows,
    weights: Weights,
    power: int,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Distances of kept rows first[i] and streamed rows second[i], with the operations of `canonical_distance`.

    Equal numbers in `first` follow one another: such a row's vector is converted once, and stays in the first cache.
    """
    width, value = kept.stored.itemsize, streamed.stored.itemsize
    regions, levels = weights.level.shape[1:]
    total, tail = np.zeros(len(first), np.float64), np.zeros(LANES, np.float64)
    vector = scratch(total, streamed.channels.max())
    for r in range(regions):
        for level in range(levels):
            channels = streamed.channels[level]
            whole, current, o_kept = channels // LANES, -1, 0
            tail[:] = 0
            for i in range(len(first)):
                a, b = first[i], second[i]
                if a != current:
                    current = a
                    o_kept = kept.base[level] + (a * kept.row[level] + r * kept.region[level]) * width
                    for c in range(channels):
                        vector[c] = load(kept.stored, o_kept, c)
                o_row = streamed.base[level] + (b * streamed.row[level] + r * streamed.region[level]) * value
                if i + 1 < len(first):
                    ahead = o_row + (second[i + 1] - b) * streamed.row[level] * value
                    for line in range(0, channels * value, CACHE_LINE):
                        fetch(ahead + line)
                    if first[i + 1] != a:
                        ahead = o_kept + (first[i + 1] - a) * kept.row[level] * width
                        for line in range(0, channels * width, CACHE_LINE):
                            fetch(ahead + line)
                for c in range(whole * LANES, channels):
                    difference = vector[c] - np.float64(load(streamed.stored, o_row, c))
                    tail[c - whole * LANES] = difference * difference
                square = squared_distance(vector, vector.ctypes.data, streamed.stored, o_row, whole, tail.ctypes.data)
                region = (np.float64(weights.kept_region[a, r]) + np.float64(weights.region[b, r])) / 2
                mean = (np.float64(weights.kept_level[a, r, level]) + np.float64(weights.level[b, r, level])) / 2
                total[i] += mean * (region * region if power == 2 else region) * np.sqrt(square)
    return total
