"""Lower bounds and estimates from short codes, at the memory's speed: `kernels.short.bounds` in float32.

Bytes moved: a photo's codes, 6 for each term and 2 for each weight, once for all sketches. A product of 16 bits takes a
sketch's integers as they are; for one of 8 bits they are two rows of int8 (q = 256 high + low), which it takes as two
queries. Sums are exact in 32 bits. Without the instructions of a product the same sums are taken by plain loops.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.cpu import products
from kernels.cpu.jit import any_order, part
from kernels.cpu.products import dot_tile
from kernels.cpu.short_term import add_term, add_term_of_limbs
from kernels.cpu.smallest import smallest
from kernels.cpu.threads import over
from kernels.cpu.tile import TILE_QUERIES
from kernels.short.basis import GROUP
from kernels.short.bounds import check_basis
from kernels.short.codes import TILE_PHOTOS, ShortCodes
from kernels.short.operands import Operands, operands
from kernels.short.queries import ShortQueries
from kernels.short.screens import Likely, MatrixScreen

RUN_TILES = 32
"""Tiles that a thread takes at a time: 1,536 photos, some 0.9 MB."""


class Screened(NamedTuple):
    """float32 [Q, N]: bounds never above the canonical distance, and what the distance probably is."""

    lower: NDArray[np.float32]
    estimate: NDArray[np.float32]


class _Limbs(NamedTuple):
    """Sketches as a product takes them, TILE_QUERIES rows of a group's: int16, one of each sketch, or int8, two.

    codes: [groups of sketches, groups, TILE_QUERIES, GROUP]. start: int32 [groups of sketches, terms, TILE_QUERIES].
    """

    codes: NDArray[Any]
    start: NDArray[np.int32]


class _Rows(NamedTuple):
    codes: NDArray[np.uint8]
    sides: NDArray[np.uint16]
    weights: NDArray[np.uint16]
    ends: NDArray[np.int64]
    groups: NDArray[np.int64]
    levels: int


def screen(queries: ShortQueries, codes: ShortCodes, region_weight_power: int = 1) -> Screened:
    """Bounds and estimates of all pairs. Raises `ValueError` for queries along another basis than the codes'."""
    check_basis(queries, codes.basis)
    product = products.fastest_by_lanes()
    ours = operands(queries, codes.scales, region_weight_power)
    limbs = _limbs(queries, np.int8 if product == "vnni" else np.int16)
    basis, count = codes.basis, len(codes)
    rows = _Rows(
        codes.codes, codes.sides.view(np.uint16), codes.weights.view(np.uint16), codes.ends, basis.groups, basis.levels
    )
    result = Screened(*(np.empty((len(ours.usable), count), np.float32) for _ in range(2)))
    run = _screen_by_product if product else _screen_plain
    tiles = len(codes.codes)

    def task(first: int, last: int) -> None:
        run(limbs, ours, rows, region_weight_power, first, last, result)

    over(tiles, max(1, min(RUN_TILES, tiles // 8)), task)
    return result


class CompiledScreen(MatrixScreen):
    """The same, its smallest estimates found at the memory's speed."""

    def likely(self, count: int) -> Likely:
        """Of all photos."""
        return Likely(*smallest(self.estimate, count))


def hold_codes(codes: ShortCodes, device: torch.device) -> ShortCodes:
    """The codes as they are."""
    return codes


def screen_codes(
    queries: ShortQueries, codes: ShortCodes, live: Tensor | None, region_weight_power: int
) -> CompiledScreen:
    """The screen of all pairs, dead rows at infinity. Raises `ValueError` as `screen` does."""
    found = screen(queries, codes, region_weight_power)
    if live is not None:
        dead = np.flatnonzero(~live.cpu().numpy())
        found.lower[:, dead] = found.estimate[:, dead] = np.inf
    return CompiledScreen(found.lower, found.estimate)


def _limbs(queries: ShortQueries, kind: type[np.int8] | type[np.int16]) -> _Limbs:
    of_each, count = _of_each(np.dtype(kind).itemsize), len(queries.integers)
    filled = -(-count * of_each // TILE_QUERIES)
    integers = np.zeros((filled * TILE_QUERIES // of_each, queries.integers.shape[1]), np.int32)
    integers[:count] = queries.integers
    high = (integers + 128) >> 8
    limbs = integers if of_each == 1 else np.stack((high, integers - 256 * high), 1)
    limbs = limbs.reshape(filled, TILE_QUERIES, -1, GROUP)
    starts = [
        -128 * limbs[:, :, first:last].sum((2, 3), dtype=np.int32)
        for first, last in zip(queries.basis.groups[:-1], queries.basis.groups[1:], strict=True)
    ]
    return _Limbs(
        np.ascontiguousarray(limbs.transpose(0, 2, 1, 3), dtype=kind), np.ascontiguousarray(np.stack(starts, 1))
    )


@part
def _of_each(itemsize: int) -> int:
    """Rows that a sketch's integers take."""
    return 2 // itemsize


@any_order
def _screen_by_product(
    limbs: _Limbs, ours: Operands, rows: _Rows, power: int, first: int, last: int, result: Screened
) -> None:
    """Fill the columns of result that tiles first to last hold."""
    queries, terms = ours.terms.shape[0], ours.terms.shape[1]
    groups, of_each = rows.groups[terms], _of_each(limbs.codes.itemsize)
    together = TILE_QUERIES // of_each
    dots = np.zeros((TILE_QUERIES, TILE_PHOTOS), np.int32)
    totals = np.empty((together, 2, TILE_PHOTOS), np.float32)
    o_dots, o_codes, o_limbs, o_start = (
        dots.ctypes.data,
        rows.codes.ctypes.data,
        limbs.codes.ctypes.data,
        limbs.start.ctypes.data,
    )
    for tile in range(first, last):
        for group in range(limbs.codes.shape[0]):
            begin = group * together
            count = min(together, queries - begin)
            totals[:] = 0
            for term in range(terms):
                o_group = rows.groups[term]
                steps = rows.groups[term + 1] - o_group
                codes = o_codes + (tile * groups + o_group) * (GROUP * TILE_PHOTOS)
                here = o_limbs + (group * groups + o_group) * (GROUP * TILE_QUERIES * limbs.codes.itemsize)
                start = o_start + (group * terms + term) * (4 * TILE_QUERIES)
                if steps == 0:
                    dots[:] = 0
                elif count * of_each == 1:
                    dot_tile(limbs.codes, codes, here, steps, start, o_dots, 1)
                elif count * of_each == 2:
                    dot_tile(limbs.codes, codes, here, steps, start, o_dots, 2)
                elif count * of_each <= 4:
                    dot_tile(limbs.codes, codes, here, steps, start, o_dots, 4)
                else:
                    dot_tile(limbs.codes, codes, here, steps, start, o_dots, 8)
                for i in range(count):
                    _add_term(dots, i, of_each, ours, begin + i, term, rows, tile, power, totals)
            _store(totals, ours, begin, count, rows.ends, tile, result)


@any_order
def _screen_plain(
    limbs: _Limbs, ours: Operands, rows: _Rows, power: int, first: int, last: int, result: Screened
) -> None:
    """As `_screen_by_product` on any processor."""
    queries, terms = ours.terms.shape[0], ours.terms.shape[1]
    of_each = _of_each(limbs.codes.itemsize)
    together = TILE_QUERIES // of_each
    dots = np.zeros((TILE_QUERIES, TILE_PHOTOS), np.int32)
    totals = np.empty((together, 2, TILE_PHOTOS), np.float32)
    for tile in range(first, last):
        for group in range(limbs.codes.shape[0]):
            begin = group * together
            count = min(together, queries - begin)
            totals[:] = 0
            for term in range(terms):
                for j in range(of_each * count):
                    dots[j] = limbs.start[group, term, j]
                    for step in range(rows.groups[term], rows.groups[term + 1]):
                        for c in range(GROUP):
                            limb = np.int32(limbs.codes[group, step, j, c])
                            for i in range(TILE_PHOTOS):
                                dots[j, i] += limb * np.int32(rows.codes[tile, step, i, c])
                for i in range(count):
                    _add_term(dots, i, of_each, ours, begin + i, term, rows, tile, power, totals)
            _store(totals, ours, begin, count, rows.ends, tile, result)


@part
def _add_term(
    dots: NDArray[np.int32],
    i: int,
    of_each: int,
    ours: Operands,
    q: int,
    term: int,
    rows: _Rows,
    tile: int,
    power: int,
    totals: NDArray[np.float32],
) -> None:
    """Add a term's lower bounds and estimates for sketch q, number i of its group, and a tile of photos."""
    terms, region, regions = ours.terms.shape[1], term // rows.levels, ours.region_weights.shape[1]
    o_weights = rows.weights.ctypes.data + tile * rows.weights.shape[1] * (TILE_PHOTOS * 2)
    o_operands = ours.terms.ctypes.data + (q * terms + term) * (4 * ours.terms.shape[2])
    o_dots, share = dots.ctypes.data + of_each * i * (TILE_PHOTOS * 4), ours.region_weights[q, region]
    o_sides = rows.sides.ctypes.data + (tile * terms + term) * (3 * TILE_PHOTOS * 2)
    o_region, o_level = o_weights + region * (TILE_PHOTOS * 2), o_weights + (regions + term) * (TILE_PHOTOS * 2)
    o_totals = totals.ctypes.data + i * (2 * TILE_PHOTOS * 4)
    if of_each == 1:
        add_term(o_operands, share, power, o_dots, o_sides, o_region, o_level, o_totals)
    else:
        add_term_of_limbs(o_operands, share, power, o_dots, o_sides, o_region, o_level, o_totals)


@part
def _store(
    totals: NDArray[np.float32],
    ours: Operands,
    begin: int,
    count: int,
    ends: NDArray[np.int64],
    tile: int,
    result: Screened,
) -> None:
    """Write a tile's bounds and estimates; what overflowed, or is not to be used, bounds nothing."""
    first = ends[tile - 1] if tile else 0
    for i in range(count):
        usable = ours.usable[begin + i]
        for lane in range(ends[tile] - first):
            total = totals[i, 0, lane]
            lower = np.float64(total) * ours.factor - ours.absolute
            good = usable and total < np.inf and lower > 0
            result.lower[begin + i, first + lane] = np.float32(lower) if good else np.float32(0)
            guess = totals[i, 1, lane]
            result.estimate[begin + i, first + lane] = guess if guess < np.inf else np.float32(0)
