"""Lower bounds of chosen pairs from differences in float32: a quarter of a float64 distance's arithmetic.

A row that a screen left possible is read here first, where it lies; few are left for the float64 routine, and these
find it in the cache.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.blocks import GalleryBlock, slack_of_differences
from kernels.cpu.direct import Slack, lowered, term
from kernels.cpu.jit import any_order
from kernels.cpu.pairs import Pairs
from kernels.cpu.rows import Rows, held, held_in_float32
from kernels.cpu.threads import over_all
from kernels.reference import RegionFeatures

TOGETHER = 128
"""Queries whose pairs are taken row by row: a row is read from memory once for all of them."""
AHEAD = 4
"""Pairs between what is computed and the row that is asked from memory."""
FEWEST_PAIRS = 256
"""That a thread takes at a time: some 0.3 ms."""


def bounds_of_pairs(
    query: RegionFeatures, owner: Tensor, blocks: Sequence[GalleryBlock], rows: Tensor, region_weight_power: int = 1
) -> Tensor:
    """Float32 [P], never above the canonical distances of queries `owner[i]` and rows `rows[i]`; 0 for what overflowed.

    owner, rows: int64 [P]; rows are numbers over all blocks. Raises `IndexError` for a row that no block holds.
    """
    pairs, bounds = Pairs.of(owner, rows, blocks, TOGETHER), np.empty(len(rows), np.float32)
    ours, theirs = held_in_float32(query), [held(block) for block in blocks]
    given_up = Slack.of(*slack_of_differences(query, blocks, region_weight_power))

    def compute(run: slice) -> None:
        gallery = theirs[pairs.blocks[run.start]].rows
        bounds[pairs.order[run]] = _lower_bounds(
            ours.rows, gallery, region_weight_power, pairs.owners[run], pairs.numbers[run], given_up
        )

    over_all([pairs.work(TOGETHER, FEWEST_PAIRS, compute)])
    return torch.from_numpy(bounds)


@any_order
def _lower_bounds(
    query: Rows, gallery: Rows, power: int, owners: NDArray[np.int64], rows: NDArray[np.int64], given_up: Slack
) -> NDArray[np.float32]:
    """Level by level, so that the vectors of all queries stay in the caches: 2.5 MB of 128 of 1,664 channels."""
    found, value = np.zeros(len(rows), np.float32), gallery.stored.itemsize
    for level in range(len(gallery.base)):
        for i in range(len(rows)):
            for r in range(gallery.region_weights.shape[1]):
                another = i + AHEAD < len(rows) and rows[i + AHEAD] != rows[i + AHEAD - 1]
                place = rows[i + AHEAD] * gallery.row[level] + r * gallery.region[level] if another else 0
                following = gallery.base[level] + place * value
                found[i] += term(query, gallery, power, owners[i], rows[i], r, level, another, following)
    for i in range(len(rows)):
        found[i] = lowered(found[i], given_up)
    return found
