"""Lower bounds of all pairs from 8-bit codes of both sides: see `bound` for the proof, `products` for the sums.

Bytes moved: 1 a value for each group of queries; sums, roots and weights stay in the cache.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.blocks import GalleryBlock, slack_of_differences
from kernels.bounds import FLOAT32_ROUNDOFF, weighted_sum_error
from kernels.cpu import screen_amx, screen_lanes
from kernels.cpu.direct import Slack
from kernels.cpu.packed import Packed
from kernels.cpu.packed_queries import PackedQueries
from kernels.cpu.threads import Work, over_all
from kernels.cpu.tile import TILE_ROWS
from kernels.reference import RegionFeatures

RUN_TILES = 8
"""Tiles that a thread takes at a time: 4 MB of codes at 10,368 values a row."""


def screen(
    query: RegionFeatures, queries: PackedQueries, block: GalleryBlock, rows: Packed, region_weight_power: int
) -> NDArray[np.float32]:
    """Bounds of all pairs, dead rows too, never above the canonical distance: float32 [Q, N].

    queries: those of query, packed.
    """
    bounds, work = screening(query, queries, block, rows, region_weight_power)
    over_all([work])
    return bounds


def screening(
    query: RegionFeatures, queries: PackedQueries, block: GalleryBlock, rows: Packed, region_weight_power: int
) -> tuple[NDArray[np.float32], Work]:
    """As `screen`: the bounds, and the work that fills them."""
    count, tiles = queries.sides.shape[1], len(rows.codes)
    bounds = np.empty((count, tiles * TILE_ROWS), np.float32)
    given_up = given_up_by_products(query, block, len(rows.centre), region_weight_power)
    fill = screen_amx.fill if queries.product == "amx" else screen_lanes.fill

    def run(first: int, last: int) -> None:
        fill(queries, rows, region_weight_power, given_up, first, last, bounds)

    return bounds[:, : len(block)], Work(tiles, run_of(tiles), run)


def given_up_by_products(query: RegionFeatures, block: GalleryBlock, terms: int, region_weight_power: int) -> Slack:
    """What a sum of weighted roots gives up to bound a distance from below, where each root bounds its own."""
    return Slack.of(
        1.01 * FLOAT32_ROUNDOFF * (2 + weighted_sum_error(terms)),
        slack_of_differences(query, [block], region_weight_power)[1],
    )


def run_of(tiles: int) -> int:
    """How many tiles a thread takes at a time.

    Two runs a thread even out; more of them would cost a small block more than its arithmetic.
    """
    return max(1, min(RUN_TILES, -(-tiles // (2 * torch.get_num_threads()))))
