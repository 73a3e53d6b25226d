"""Several blocks searched one after the other by an implementation that knows one block at a time."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.reference import RegionFeatures


class NearestBounds(Protocol):
    """The smallest lower bounds of one block."""

    def __call__(
        self, query: RegionFeatures, block: GalleryBlock, count: int, region_weight_power: int, limits: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The `count` (<= live rows) smallest lower bounds of live rows, ascending: float32 and rows int64 [Q, count].

        limits: float32 [Q]. Rows whose bound is above may be left out; in their places are infinity and any row.
        """


def over_blocks(
    nearest_bounds: NearestBounds,
    query: RegionFeatures,
    blocks: Sequence[GalleryBlock],
    count: int,
    region_weight_power: int,
) -> tuple[Tensor, Tensor]:
    """`Implementation.smallest_bounds`: what one block found limits what the next may add."""
    lower = torch.empty((query.region_weights.shape[0], 0), device=query.region_weights.device)
    rows, first, limits = lower.long(), 0, None
    for block in blocks:
        if block.live_count:
            found, where = nearest_bounds(query, block, min(count, block.live_count), region_weight_power, limits)
            lower, rows = torch.cat((lower, found), 1), torch.cat((rows, where + first), 1)
            if lower.shape[1] > count:
                lower, order = lower.topk(count, largest=False)
                rows = rows.gather(1, order)
            limits = lower.amax(1) if lower.shape[1] == count else None
        first += len(block)
    lower, order = lower.sort(1)
    return lower, rows.gather(1, order)
