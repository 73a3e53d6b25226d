"""The canonical distance of chosen pairs, compiled: the bits of `kernels.reference.canonical_distance`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.cpu.jit import kernel
from kernels.cpu.lanes import squared_distance
from kernels.cpu.rows import Held, Rows, held, load
from kernels.cpu.threads import over
from kernels.reference import LANES, RegionFeatures

RUN_PAIRS = 64
"""Pairs that a thread takes at a time: some 100 us."""


def rescore_pairs(
    query: RegionFeatures, owner: Tensor, blocks: Sequence[GalleryBlock], rows: Tensor, region_weight_power: int = 1
) -> Tensor:
    """`canonical_distance` of P pairs, query `owner[i]` and row `rows[i]`, both int64 [P]: float64 [P], the same bits.

    rows are numbers over all blocks, one block after the other. A thread computes a pair at a time, in the scratch of
    one vector. Raises `IndexError` for a row that no block holds.
    """
    total = sum(len(block) for block in blocks)
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < total:
        raise IndexError(f"rows {int(rows.min())} to {int(rows.max())}; expected 0 to {total - 1}, the blocks' rows")
    if not len(rows):
        return torch.empty(0, dtype=torch.float64)
    ours = held(query)
    if len(blocks) == 1:
        return _of_pairs(ours, owner, blocks[0], rows, region_weight_power)
    result = torch.empty(len(rows), dtype=torch.float64)
    first = 0
    for block in blocks:
        own = (rows >= first) & (rows < first + len(block))
        result[own] = _of_pairs(ours, owner[own], block, rows[own] - first, region_weight_power)
        first += len(block)
    return result


def _of_pairs(query: Held, owner: Tensor, block: GalleryBlock, rows: Tensor, region_weight_power: int) -> Tensor:
    """Canonical distances float64 [P] of query `owner[i]` to row `rows[i]` of one block."""
    gallery, owners, numbers = held(block), owner.contiguous().numpy(), rows.contiguous().numpy()
    weights = Weights(*query.wide_weights, *gallery.wide_weights)
    distance = np.empty(len(rows), np.float64)

    def run(start: int, stop: int) -> None:
        part = slice(start, stop)
        _sum_terms(query.rows, gallery.rows, weights, region_weight_power, owners[part], numbers[part], distance[part])

    over(len(rows), RUN_PAIRS, run)
    return torch.from_numpy(distance)


class Weights(NamedTuple):
    """Of queries and rows, float64: region weights [N, R] and level weights [N, R, L]."""

    query_region: NDArray[np.float64]
    query_level: NDArray[np.float64]
    region: NDArray[np.float64]
    level: NDArray[np.float64]


@kernel
def _sum_terms(
    query: Rows,
    gallery: Rows,
    weights: Weights,
    power: int,
    owners: NDArray[np.int64],
    numbers: NDArray[np.int64],
    distance: NDArray[np.float64],
) -> None:
    """distance[i] of query owners[i] and row numbers[i], with the operations of `canonical_distance` in their order."""
    width, value = query.stored.itemsize, gallery.stored.itemsize
    regions, levels = weights.level.shape[1:]
    widest = gallery.channels.max()
    tail = np.empty(LANES, np.float64)
    # Pairs of one query follow one another, so its values are converted once for all of them.
    values = np.empty((regions, levels, widest), np.float64)
    current = -1
    for i in range(len(numbers)):
        q, g = owners[i], numbers[i]
        if q != current:
            current = q
            for r in range(regions):
                for level in range(levels):
                    o_query = query.base[level] + (q * query.row[level] + r * query.region[level]) * width
                    for c in range(gallery.channels[level]):
                        values[r, level, c] = load(query.stored, o_query, c)
        total = 0.0
        for r in range(regions):
            region = (weights.query_region[q, r] + weights.region[g, r]) / 2
            for level in range(levels):
                vector = values[r, level]
                o_row = gallery.base[level] + (g * gallery.row[level] + r * gallery.region[level]) * value
                channels = gallery.channels[level]
                whole = channels // LANES
                for c in range(whole * LANES, channels):
                    difference = vector[c] - np.float64(load(gallery.stored, o_row, c))
                    tail[c - whole * LANES] = difference * difference
                tail[channels - whole * LANES :] = 0
                square = squared_distance(vector, vector.ctypes.data, gallery.stored, o_row, whole, tail.ctypes.data)
                mean = (weights.query_level[q, r, level] + weights.level[g, r, level]) / 2
                total += mean * (region * region if power == 2 else region) * np.sqrt(square)
        distance[i] = total
