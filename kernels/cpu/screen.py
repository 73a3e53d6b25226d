"""Lower bounds of all pairs from 8-bit codes of the rows: see `bound` for the proof, `vnni` and `amx` for the products.

Bytes moved: 1 a value for each group of queries; sums, roots and weights stay in the cache.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.blocks import GalleryBlock, slack_of_differences
from kernels.bounds import FLOAT32_ROUNDOFF, weighted_sum_error
from kernels.cpu import amx, screen_amx, screen_vnni
from kernels.cpu.direct import Slack
from kernels.cpu.packed import Packed
from kernels.cpu.packed_queries import PackedQueries
from kernels.cpu.threads import over
from kernels.reference import RegionFeatures

RUN_TILES = 8
"""Tiles that a thread takes at a time: 4 MB of codes at 10,368 values a row."""


class Rough(NamedTuple):
    """Lower bounds of the canonical distances of Q queries and N rows, and what each level adds to them.

    bounds: float32 [Q, N], at most the sum of parts. parts: float32 [L, Q, N], lower bounds of a level's terms, where
    making bounds sharper pays, else empty.
    """

    bounds: NDArray[np.float32]
    parts: NDArray[np.float32]


def limbs() -> int:
    """The limbs of a query's codes: two where the product is so fast that they cost nothing."""
    return amx.LIMBS if amx.available() else 1


def screen(
    query: RegionFeatures, queries: PackedQueries, block: GalleryBlock, rows: Packed, region_weight_power: int
) -> Rough:
    """Bounds of all pairs, dead rows too: never above the canonical distance. queries: those of query, packed."""
    by_amx = len(queries.start) == amx.LIMBS
    count, levels, tiles = queries.sides.shape[1], 0 if by_amx else len(block.levels), len(rows.codes)
    result = Rough(np.empty((count, len(block)), np.float32), np.empty((levels, count, len(block)), np.float32))
    given_up = Slack.of(
        1.01 * FLOAT32_ROUNDOFF * (2 + weighted_sum_error(len(rows.centre))),
        slack_of_differences(query, block, region_weight_power)[1],
    )
    fill = screen_amx.fill if by_amx else screen_vnni.fill
    over(
        tiles,
        max(1, min(RUN_TILES, tiles // 8)),
        lambda first, last: fill(queries, rows, region_weight_power, given_up, first, last, *result),
    )
    return result
