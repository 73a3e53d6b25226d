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
from kernels.cpu.jit import any_order, part
from kernels.cpu.rows import CACHE_LINE, Rows, fetch, held, held_in_float32, load
from kernels.cpu.threads import Work, over_all
from kernels.reference import RegionFeatures

TILE_ROWS = 8
"""Rows whose vectors of one region and level stay in the cache while all queries pass: 27 KB at 1664 channels."""
AHEAD = 4
"""Rows between what is computed and what is asked from memory. The processor's own prefetching stops at every page."""
RUN_ROWS = 256
"""Rows that a thread takes at a time."""


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
    # One query passes over the rows as they lie in memory; several pass over a tile, one region after the other.
    tile = 1 if queries == 1 else TILE_ROWS

    def run(start: int, stop: int) -> None:
        _distances_of_run(ours.rows, theirs.rows, power, tile, start, stop, out)
        if given_up is not None:
            _lower(given_up, out[:, start:stop])

    return result, Work(count, RUN_ROWS, run)


@part
def squares(
    query_stored: NDArray[np.generic], query: int, stored: NDArray[np.generic], row: int, channels: int
) -> np.float32:
    """Squared distance of two vectors at two addresses, float32."""
    total = np.float32(0)
    for c in range(channels):
        difference = load(query_stored, query, c) - load(stored, row, c)
        total += difference * difference
    return total


@part
def squares_of_four(
    query_stored: NDArray[np.generic], query: int, stored: NDArray[np.generic], row: int, stride: int, channels: int
) -> tuple[np.float32, ...]:
    """As `squares` for four rows, `stride` bytes apart: the query is loaded once."""
    second, third, fourth = row + stride, row + 2 * stride, row + 3 * stride
    a = b = c = d = np.float32(0)
    for i in range(channels):
        value = load(query_stored, query, i)
        a_difference = value - load(stored, row, i)
        b_difference = value - load(stored, second, i)
        c_difference = value - load(stored, third, i)
        d_difference = value - load(stored, fourth, i)
        a += a_difference * a_difference
        b += b_difference * b_difference
        c += c_difference * c_difference
        d += d_difference * d_difference
    return a, b, c, d


@part
def squares_of_eight(
    query_stored: NDArray[np.generic],
    query: int,
    other: int,
    stored: NDArray[np.generic],
    row: int,
    stride: int,
    channels: int,
) -> tuple[np.float32, ...]:
    """As `squares_of_four` for two queries: the rows are loaded and converted once for both."""
    second, third, fourth = row + stride, row + 2 * stride, row + 3 * stride
    a = b = c = d = e = f = g = h = np.float32(0)
    for i in range(channels):
        value, another = load(query_stored, query, i), load(query_stored, other, i)
        w, x = load(stored, row, i), load(stored, second, i)
        y, z = load(stored, third, i), load(stored, fourth, i)
        a += (value - w) * (value - w)
        b += (value - x) * (value - x)
        c += (value - y) * (value - y)
        d += (value - z) * (value - z)
        e += (another - w) * (another - w)
        f += (another - x) * (another - x)
        g += (another - y) * (another - y)
        h += (another - z) * (another - z)
    return a, b, c, d, e, f, g, h


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
def term(query: Rows, gallery: Rows, power: int, q: int, g: int, r: int, level: int) -> np.float32:
    """The weighted distance of one pair in one region and level, float32."""
    value, width = gallery.stored.itemsize, query.stored.itemsize
    square = squares(
        query.stored,
        query.base[level] + (q * query.row[level] + r * query.region[level]) * width,
        gallery.stored,
        gallery.base[level] + (g * gallery.row[level] + r * gallery.region[level]) * value,
        gallery.channels[level],
    )
    result: np.float32 = weight(query, gallery, power, q, g, r, level) * np.sqrt(square)
    return result


@any_order
def _distances_of_run(
    query: Rows, gallery: Rows, power: int, tile: int, start: int, stop: int, out: NDArray[np.float32]
) -> None:
    """Add to out [Q, N], zeros, the distances of rows start to stop."""
    value, width = gallery.stored.itemsize, query.stored.itemsize
    queries = out.shape[0]
    for level in range(len(gallery.base)):
        channels, stride = gallery.channels[level], query.row[level] * width
        for first in range(start, stop, tile):
            last = min(first + tile, stop)
            fours = first + (last - first) // 4 * 4
            for r in range(gallery.region_weights.shape[1]):
                o_query = query.base[level] + r * query.region[level] * width
                o_row = gallery.base[level] + r * gallery.region[level] * value
                step = gallery.row[level] * value
                ahead = max(tile, AHEAD) * step
                for g in range(first, last):
                    for line in range(0, channels * value, CACHE_LINE):
                        fetch(o_row + g * step + ahead + line)
                for q in range(0, queries - 1, 2):
                    here = o_query + q * stride
                    for g in range(first, fours, 4):
                        eight = squares_of_eight(
                            query.stored, here, here + stride, gallery.stored, o_row + g * step, step, channels
                        )
                        for i in range(8):
                            j, h = q + i // 4, g + i % 4
                            out[j, h] += weight(query, gallery, power, j, h, r, level) * np.sqrt(eight[i])
                if queries % 2:
                    q = queries - 1
                    for g in range(first, fours, 4):
                        four = squares_of_four(
                            query.stored, o_query + q * stride, gallery.stored, o_row + g * step, step, channels
                        )
                        for i in range(4):
                            out[q, g + i] += weight(query, gallery, power, q, g + i, r, level) * np.sqrt(four[i])
                for q in range(queries):
                    for g in range(fours, last):
                        one = squares(query.stored, o_query + q * stride, gallery.stored, o_row + g * step, channels)
                        out[q, g] += weight(query, gallery, power, q, g, r, level) * np.sqrt(one)
