"""Distances from differences in float32, the stored values converted in registers: for few queries, and for accuracy.

d = sum over r, l of w[r, l] * sqrt(sum over c of (q[r, l, c] - g[r, l, c])^2). Nothing cancels. A row is read from
memory once for all queries: Q = 1 moves 2 bytes a float16 value for 3 operations, and runs at the memory's speed; from
about 8 queries on the arithmetic decides.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.blocks import GalleryBlock, slack_of_differences
from kernels.cpu.differences import BLOCK, rest_of_squares, squares_of
from kernels.cpu.jit import any_order, part
from kernels.cpu.rows import Rows, held, held_in_float32
from kernels.cpu.threads import Work, over_all
from kernels.reference import RegionFeatures

TILE_ROWS = 8
"""Rows whose vectors of one region and level stay in the cache while all queries pass: 27 KB at 1664 channels."""
AHEAD_BYTES = 8192
"""Between what one query reads and what is asked from memory: the processor's own prefetching stops at every page."""
RUN_ROWS = 256
"""Rows that a thread takes at a time."""


squares = squares_of(1, 1, registers=2)
squares_fetching = squares_of(1, 1, registers=2, fetching=True)
squares_of_four = squares_of(1, 4, registers=2)
squares_of_eight = squares_of(2, 4, registers=1)
squares_of_eight_fetching = squares_of(2, 4, registers=1, fetching=True)


class Slack(NamedTuple):
    """What a float32 distance must give up to be a lower bound: d * factor - absolute, in float32 (`lowered`)."""

    factor: np.float32
    absolute: np.float32

    @classmethod
    def of(cls, relative: float, absolute: float) -> "Slack":
        """For distances within D * relative + absolute of D; 2^-20 covers the rounding of all that `lowered` does."""
        return cls(np.float32((1 - 2.0**-20) / (1 + relative)), np.float32(absolute * (1 + 2.0**-20)))


def pair_distance(query: RegionFeatures, gallery: GalleryBlock, region_weight_power: int) -> Tensor:
    """Distances of all pairs, float32 [Q, N], from differences: within `direct_error` of the canonical ones."""
    distances, work = _distances(query, gallery, region_weight_power, None)
    over_all([work])
    return distances


def lower_bounds(query: RegionFeatures, block: GalleryBlock, region_weight_power: int) -> Tensor:
    """Float32 [Q, N], dead rows too, never above the canonical distance; 0 where the distance overflowed."""
    bounds, work = bounding(query, block, region_weight_power)
    over_all([work])
    return bounds


def bounding(query: RegionFeatures, block: GalleryBlock, region_weight_power: int) -> tuple[Tensor, Work]:
    """As `lower_bounds`: the bounds, and the work that fills them."""
    given_up = Slack.of(*slack_of_differences(query, [block], region_weight_power))
    return _distances(query, block, region_weight_power, given_up)


def _distances(query: RegionFeatures, block: GalleryBlock, power: int, given_up: Slack | None) -> tuple[Tensor, Work]:
    ours, theirs = held_in_float32(query), held(block)
    queries, count = len(ours.rows.region_weights), len(block)
    result = torch.zeros((queries, count))
    out = result.numpy()
    add = _distances_to_one if queries == 1 else _distances_of_run

    def run(start: int, stop: int) -> None:
        add(ours.rows, theirs.rows, power, start, stop, out)
        if given_up is not None:
            _lower(given_up, out[:, start:stop])

    return result, Work(count, RUN_ROWS, run)


@part
def weight(query: Rows, gallery: Rows, power: int, q: int, g: int, r: int, level: int) -> np.float32:
    """w[q, g, r, l], float32."""
    half = np.float32(0.5)
    region = (query.region_weights[q, r] + gallery.region_weights[g, r]) * half
    mean = (query.level_weights[q, r, level] + gallery.level_weights[g, r, level]) * half
    result: np.float32 = mean * (region * region if power == 2 else region)
    return result


@part
def lowered(distance: np.float32, given_up: Slack) -> np.float32:
    """A lower bound, float32, of the canonical distance from a float32 one; 0 where that overflowed."""
    bound = distance * given_up.factor - given_up.absolute
    return bound if bound > 0 and distance < np.inf else np.float32(0)


@any_order
def _lower(given_up: Slack, distances: NDArray[np.float32]) -> None:
    """Make distances lower bounds."""
    for q in range(distances.shape[0]):
        for g in range(distances.shape[1]):
            distances[q, g] = lowered(distances[q, g], given_up)


@part
def term(
    query: Rows, gallery: Rows, power: int, q: int, g: int, r: int, level: int, fetching: bool, following: int
) -> np.float32:
    """The weighted distance of one pair in one region and level, float32.

    fetching: a vector at the address `following` is asked for meanwhile.
    """
    ours = query.base[level] + (q * query.row[level] + r * query.region[level]) * query.stored.itemsize
    theirs = gallery.base[level] + (g * gallery.row[level] + r * gallery.region[level]) * gallery.stored.itemsize
    channels = gallery.channels[level]
    whole = channels // BLOCK * BLOCK
    if fetching:
        square = squares_fetching(gallery.stored, ours, 0, theirs, 0, whole, following)[0]
    else:
        square = squares(gallery.stored, ours, 0, theirs, 0, whole, 0)[0]
    square += rest_of_squares(query.stored, ours, gallery.stored, theirs, channels)
    result: np.float32 = weight(query, gallery, power, q, g, r, level) * np.sqrt(square)
    return result


@any_order
def _distances_to_one(query: Rows, gallery: Rows, power: int, start: int, stop: int, out: NDArray[np.float32]) -> None:
    """Add to out [1, N], zeros, the distances of rows start to stop, as they lie in memory."""
    value = gallery.stored.itemsize
    for level in range(len(gallery.base)):
        for g in range(start, stop):
            for r in range(gallery.region_weights.shape[1]):
                here = gallery.base[level] + (g * gallery.row[level] + r * gallery.region[level]) * value
                out[0, g] += term(query, gallery, power, 0, g, r, level, True, here + AHEAD_BYTES)


@any_order
def _distances_of_run(query: Rows, gallery: Rows, power: int, start: int, stop: int, out: NDArray[np.float32]) -> None:
    """Add to out [Q, N], zeros, the distances of rows start to stop: tile by tile, one region after the other."""
    value, width = gallery.stored.itemsize, query.stored.itemsize
    queries = out.shape[0]
    for level in range(len(gallery.base)):
        channels, stride = gallery.channels[level], query.row[level] * width
        step, whole = gallery.row[level] * value, channels // BLOCK * BLOCK
        for first in range(start, stop, TILE_ROWS):
            last = min(first + TILE_ROWS, stop)
            fours = first + (last - first) // 4 * 4
            for r in range(gallery.region_weights.shape[1]):
                o_query = query.base[level] + r * query.region[level] * width
                o_row = gallery.base[level] + r * gallery.region[level] * value
                for q in range(0, queries - 1, 2):
                    here = o_query + q * stride
                    for g in range(first, fours, 4):
                        row = o_row + g * step
                        if q == 0:
                            following = row + TILE_ROWS * step
                            eight = squares_of_eight_fetching(gallery.stored, here, stride, row, step, whole, following)
                        else:
                            eight = squares_of_eight(gallery.stored, here, stride, row, step, whole, 0)
                        for i in range(8):
                            j, h = q + i // 4, g + i % 4
                            rest = rest_of_squares(
                                query.stored, o_query + j * stride, gallery.stored, o_row + h * step, channels
                            )
                            out[j, h] += weight(query, gallery, power, j, h, r, level) * np.sqrt(eight[i] + rest)
                if queries % 2:
                    q = queries - 1
                    here = o_query + q * stride
                    for g in range(first, fours, 4):
                        four = squares_of_four(gallery.stored, here, 0, o_row + g * step, step, whole, 0)
                        for i in range(4):
                            h = g + i
                            rest = rest_of_squares(query.stored, here, gallery.stored, o_row + h * step, channels)
                            out[q, h] += weight(query, gallery, power, q, h, r, level) * np.sqrt(four[i] + rest)
                for q in range(queries):
                    for g in range(fours, last):
                        out[q, g] += term(query, gallery, power, q, g, r, level, False, 0)
