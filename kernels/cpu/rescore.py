"""The canonical distance of chosen pairs, compiled: the bits of `kernels.reference.canonical_distance`."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.cpu.jit import kernel
from kernels.cpu.rows import Held, Rows, held, load
from kernels.cpu.threads import over
from kernels.reference import RegionFeatures

RUN_PAIRS = 8
"""Pairs that a thread takes at a time: some 50 us."""


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
    ours = Held(query)
    if len(blocks) == 1:
        return _of_pairs(query, ours, owner, blocks[0], rows, region_weight_power)
    result = torch.empty(len(rows), dtype=torch.float64)
    first = 0
    for block in blocks:
        own = (rows >= first) & (rows < first + len(block))
        result[own] = _of_pairs(query, ours, owner[own], block, rows[own] - first, region_weight_power)
        first += len(block)
    return result


def _of_pairs(
    query: RegionFeatures, ours: Held, owner: Tensor, block: GalleryBlock, rows: Tensor, region_weight_power: int
) -> Tensor:
    """Canonical distances float64 [P] of query `owner[i]` to row `rows[i]` of one block."""
    level = (query.level_weights.double()[owner] + block.level_weights[rows].double()) / 2
    region = (query.region_weights.double()[owner] + block.region_weights[rows].double()) / 2
    weights = (level * (region * region if region_weight_power == 2 else region)[..., None]).numpy()
    pairs, theirs = torch.stack((owner, rows), 1).numpy(), held(block)
    distance = np.empty(len(rows), np.float64)
    over(
        len(rows),
        RUN_PAIRS,
        lambda start, stop: _sum_terms(
            ours.rows, theirs.rows, pairs[start:stop], weights[start:stop], distance[start:stop]
        ),
    )
    return torch.from_numpy(distance)


@kernel
def _sum_terms(
    query: Rows,
    gallery: Rows,
    pairs: NDArray[np.int64],
    weights: NDArray[np.float64],
    distance: NDArray[np.float64],
) -> None:
    """distance[i] of pairs (q, g), with the operations of `canonical_distance` in their order."""
    width, value = query.stored.itemsize, gallery.stored.itemsize
    squares = np.empty(gallery.channels.max(), np.float64)
    for i in range(len(pairs)):
        q, g = pairs[i]
        total = 0.0
        for r in range(weights.shape[1]):
            for level in range(weights.shape[2]):
                o_query = query.base[level] + (q * query.row[level] + r * query.region[level]) * width
                o_row = gallery.base[level] + (g * gallery.row[level] + r * gallery.region[level]) * value
                channels = gallery.channels[level]
                for c in range(channels):
                    difference = np.float64(load(query.stored, o_query, c)) - np.float64(load(gallery.stored, o_row, c))
                    squares[c] = difference * difference
                while channels > 1:
                    half = (channels + 1) // 2
                    for c in range(channels - half):
                        squares[c] += squares[half + c]
                    channels = half
                total += weights[i, r, level] * np.sqrt(squares[0])
        distance[i] = total
