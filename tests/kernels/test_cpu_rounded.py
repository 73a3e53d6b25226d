"""Vectors rounded to bfloat16: what they lose, their order, their products, and which searches use them."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kernels.blocks import GalleryBlock
from kernels.bounds import FLOAT32_ROUNDOFF
from kernels.cpu import nearest, smallest_bounds
from kernels.cpu.amx import CONFIGURATION, TILE_QUERIES, configure, release
from kernels.cpu.amx_bfloat16 import multiply
from kernels.cpu.jit import any_order
from kernels.cpu.packed import ERROR, NORM, SCALE, SQUARE, is_packed, packed
from kernels.cpu.rounded import WIDEST, RoundedQueries, round_queries
from kernels.cpu.rows import CACHE_LINE, held_in_float32
from kernels.cpu.tile import TILE_ROWS
from kernels.reference import canonical_distance
from tests.kernels.cpu_products import needs_bfloat16_units
from tests.kernels.hard_cases import flat, sides


def values_of(rounded: RoundedQueries, term: int, queries: int) -> NDArray[np.float64]:
    """What the units multiply, [queries, places * CHANNELS], in the order of the channels."""
    pairs = rounded.pairs[:, rounded.places[term] : rounded.places[term + 1]]  # [tiles, places, 16 pairs, 16 queries]
    halves = np.stack((pairs << 16, pairs & 0xFFFF0000), 2).view(np.float32)  # [tiles, places, 2, 16 pairs, 16 queries]
    return halves.transpose(0, 4, 1, 2, 3).reshape(len(pairs) * TILE_QUERIES, -1)[:queries].astype(np.float64)


@pytest.mark.parametrize("queries", [1, 16, 17])
def test_channels_are_in_the_order_that_is_said_and_filled_up_with_zeros(queries: int) -> None:
    query, _ = sides(queries, 1, channels=(1, 31, 32, 33, 100))
    rounded = round_queries(held_in_float32(query), np.zeros((15, 100), np.float32))
    assert [array.ctypes.data % CACHE_LINE for array in (rounded.pairs, rounded.sides)] == [0, 0]
    for term in range(15):
        exact = query.levels[term % 5][:, term // 5].numpy()
        found = values_of(rounded, term, queries)
        assert np.allclose(found[:, : exact.shape[1]], exact, rtol=2.0**-8, atol=0)
        assert not found[:, exact.shape[1] :].any()


@pytest.mark.parametrize("centre", [0.0, 2.0**-20, 3.0])
@pytest.mark.parametrize("scale", [1e-42, 1e-38, 1e-30, 1e-20, 1e-3, 1.0, 1e10, 1e15])
@pytest.mark.parametrize("channels", [1, 33, 128, WIDEST])
@pytest.mark.parametrize("values", ["drawn", "halfway", "one large"])
def test_the_error_covers_what_rounding_loses(values: str, channels: int, scale: float, centre: float) -> None:
    """|x|^2, |x| and the error against float64: 73 u, 38 u, and the residual with 2^-8 of it to spare."""
    drawn = torch.randn(3, channels, generator=torch.Generator().manual_seed(channels))
    halfway = torch.full((3, channels), 1 + 2.0**-8)  # exactly between two bfloat16: what loses most
    rows = {"drawn": drawn, "halfway": halfway, "one large": drawn}[values] * scale
    if values == "one large":
        rows[:, 0] = 100 * scale
    centres = np.full((1, channels), np.float32(centre * scale))
    rounded = round_queries(held_in_float32(flat(rows[:, None])), centres)
    exact = rows.double().numpy() - np.float64(centres)
    square, norm = (exact**2).sum(1), np.sqrt((exact**2).sum(1))
    side = rounded.sides[0, 0, :, :3].astype(np.float64)
    units = values_of(rounded, 0, 3)[:, :channels]
    units[np.abs(units) < 2.0**-126] = 0  # as the units take them
    lost = np.sqrt(((exact - units) ** 2).sum(1))
    lowest = 1.001 * channels * 2.0**-126  # what squares lose below float32's normal range
    assert (side[SCALE] == 1).all()
    assert (np.abs(side[SQUARE] - square) <= 73 * FLOAT32_ROUNDOFF * square + lowest).all()
    assert (np.abs(side[NORM] - norm) <= 38 * FLOAT32_ROUNDOFF * norm + np.sqrt(lowest)).all()
    assert (side[ERROR] >= (lost + FLOAT32_ROUNDOFF * channels * norm) * (1 + 2.0**-8)).all()
    assert (side[ERROR] <= 1.02 * (2.0**-8 + FLOAT32_ROUNDOFF * (channels + 2)) * norm + 2.0**-63).all()


@any_order
def _products(
    rows: NDArray[np.uint32], queries: NDArray[np.uint32], out: NDArray[np.float32], tiles: NDArray[np.uint8]
) -> None:
    """out [3, TILE_ROWS, 16]: of the second group of queries alone, and of both."""
    apart = queries[0].nbytes
    o_rows, o_queries, stride, places = rows.ctypes.data, queries.ctypes.data, 4 * rows.shape[1], queries.shape[1]
    configure(tiles.ctypes.data)
    multiply(o_rows, stride, o_queries + apart, apart, places, out.ctypes.data, 1)
    multiply(o_rows, stride, o_queries, apart, places, out[1].ctypes.data, 2)
    release()


@needs_bfloat16_units
@pytest.mark.parametrize("channels", [32, 96, WIDEST])
@pytest.mark.parametrize("alike", [False, True])
def test_products_are_within_the_error_that_the_bound_allows_for(channels: int, alike: bool) -> None:
    """2 u C |x^| |y^|, with all signs alike too, where partial sums are largest."""
    drawn = torch.randn(2, TILE_ROWS, 1, channels, generator=torch.Generator().manual_seed(channels))
    rows, query = (flat((one.abs() if alike else one).half()) for one in drawn.unbind())
    nothing = np.zeros((1, channels), np.float32)
    theirs, ours = (round_queries(held_in_float32(one), nothing) for one in (rows, query[: 2 * TILE_QUERIES]))
    as_rows = np.ascontiguousarray(theirs.pairs.transpose(0, 3, 1, 2)).reshape(TILE_ROWS, -1)
    out = np.full((3, TILE_ROWS, TILE_QUERIES), np.nan, np.float32)
    _products(as_rows, ours.pairs, out, CONFIGURATION)
    x, y = values_of(theirs, 0, TILE_ROWS), values_of(ours, 0, 2 * TILE_QUERIES)
    assert np.array_equal(out[0], out[2])
    found, allowed = np.concatenate((out[1], out[2]), 1), 2 * FLOAT32_ROUNDOFF * channels
    norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)
    assert (np.abs(found - x @ y.T) <= allowed * norms).all()


@needs_bfloat16_units
def test_groups_are_served_without_codes_by_bounds_within_a_hundredth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what 8-bit codes may lose; float32 differences would lose a ten-thousandth."""
    query, gallery = sides(nearest.GROUP, 300, channels=(256, 512, 128))
    exact = canonical_distance(query, gallery)

    def largest_loss() -> float:
        block = GalleryBlock.of(gallery)
        bounds, rows = smallest_bounds(query, [block], 300 // nearest.ROUNDED_SPARSE, 1)
        assert not is_packed(block)
        return float((1 - bounds / exact.gather(1, rows)).max())

    assert 1e-3 < largest_loss() < 1e-2
    monkeypatch.setattr(nearest, "can_be_rounded", lambda block: False)
    assert largest_loss() < 1e-4


@needs_bfloat16_units
def test_nothing_is_rounded_where_all_rows_have_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = sides(nearest.GROUP, 300)
    blocks = [GalleryBlock.of(gallery[:200]), GalleryBlock.of(gallery[200:])]
    asked = []
    round_queries = nearest.round_queries
    monkeypatch.setattr(nearest, "round_queries", lambda *sides: asked.append(sides) or round_queries(*sides))
    for coded, expected in ((blocks[:1], 1), (blocks[1:], 0)):
        for block in coded:
            packed(block)
        asked.clear()
        smallest_bounds(query, blocks, 5, 1)
        assert len(asked) == expected


@needs_bfloat16_units
@pytest.mark.parametrize(("channels", "rounded"), [(WIDEST, True), (WIDEST + 1, False)])
def test_rows_too_wide_for_sums_in_float32_are_compared_by_differences(channels: int, rounded: bool) -> None:
    query, gallery = sides(nearest.GROUP, nearest.ROUNDED_SPARSE, regions=1, channels=(channels,))
    bounds, rows = smallest_bounds(query, [GalleryBlock.of(gallery)], 1, 1)
    loss = 1 - bounds / canonical_distance(query, gallery).gather(1, rows)
    assert (loss >= 0).all()
    assert bool(loss.max() > 1e-3) == rounded
