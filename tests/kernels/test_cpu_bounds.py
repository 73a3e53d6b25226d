"""The processor's lower bounds: never above the canonical distance, at any scale, and sharp."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from kernels import cpu
from kernels.blocks import GalleryBlock
from kernels.bounds import FLOAT32_ROUNDOFF, direct_error, heaviest_weight, underflow_error
from kernels.cpu import screen_rounded
from kernels.cpu.bound import add_term
from kernels.cpu.jit import any_order
from kernels.cpu.packed import ERROR, NORM, SCALE, SQUARE, WIDEST, mean_of_sample, packed
from kernels.cpu.packed_queries import pack_queries
from kernels.cpu.products import Product, dot_tile
from kernels.cpu.rounded import round_queries
from kernels.cpu.rows import CACHE_LINE, held_in_float32
from kernels.cpu.screen import screen
from kernels.cpu.threads import over_all
from kernels.cpu.tile import TILE_QUERIES, TILE_ROWS
from kernels.reference import canonical_distance
from tests.kernels.cpu_products import BY_LANES, NAMES, PRODUCTS, needs_bfloat16_units, skipped_without
from tests.kernels.hard_cases import HARD, STORED, changed, flat, shifted, sides
from tests.kernels.test_reference import Side


def screened(query: Side, block: GalleryBlock, power: int, product: Product) -> Tensor:
    rows = packed(block)
    queries = pack_queries(held_in_float32(query), rows.centre, product)
    return torch.from_numpy(screen(query, queries, block, rows, power))


def rounded(query: Side, block: GalleryBlock, power: int) -> Tensor:
    bounds, work = screen_rounded.screening(
        query, round_queries(held_in_float32(query), mean_of_sample(block)), block, power
    )
    over_all([work])
    return torch.from_numpy(bounds)


BOUNDS = [
    pytest.param(cpu.lower_bounds, id="direct"),
    pytest.param(rounded, id="rounded", marks=needs_bfloat16_units),
    *(pytest.param(partial(screened, product=name), id=name, marks=skipped_without(name)) for name in NAMES),
]


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("name", HARD)
def test_bounds_are_never_above_the_canonical_distance(
    name: str, bounds: Callable[[Side, GalleryBlock, int], Tensor], power: int
) -> None:
    query, gallery = HARD[name]
    lower = bounds(query, GalleryBlock.of(gallery), power)
    assert lower.dtype == torch.float32
    assert (lower >= 0).all()  # so not NaN
    assert (lower.double() <= canonical_distance(query, gallery, power)).all()


@pytest.mark.parametrize("bounds", BOUNDS)
@settings(max_examples=40, deadline=None)
@given(
    st.integers(-40, 30),
    st.integers(-40, 30),
    st.integers(-40, 30),
    st.sampled_from(STORED),
    st.integers(0, 10_000),
)
def test_bounds_hold_at_any_scale(
    bounds: Callable[[Side, GalleryBlock, int], Tensor],
    offset: int,
    query_spread: int,
    spread: int,
    stored: torch.dtype,
    seed: int,
) -> None:
    query, gallery = sides(3, 17, torch.float32, 2, (7, 70), seed)
    largest = torch.finfo(stored).max / 2
    query = changed(query, shifted(10.0**offset, 10.0**query_spread))
    gallery = changed(gallery, shifted(10.0**offset, 10.0**spread))
    gallery = Side(
        tuple(level.clamp(-largest, largest).to(stored) for level in gallery.levels),
        gallery.region_weights,
        gallery.level_weights,
    )
    lower = bounds(query, GalleryBlock.of(gallery), 1)
    assert (lower >= 0).all()
    assert (lower.double() <= canonical_distance(query, gallery)).all()


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("queries", [1, 2, 7])
def test_pair_distance_is_within_the_derived_error(queries: int, stored: torch.dtype) -> None:
    query, gallery = sides(queries, 131, stored, channels=(5, 200, 33))
    exact = canonical_distance(query, gallery)
    distance = cpu.pair_distance(query, GalleryBlock.of(gallery), 1)
    assert distance.dtype == torch.float32
    assert ((distance - exact).abs() <= direct_error((5, 200, 33), 3) * exact + 1e-30).all()


def test_near_neighbours_do_not_cancel() -> None:
    query, gallery = HARD["nearly equal"]
    exact = canonical_distance(query, gallery)
    error = direct_error((5, 63, 33), 3) * exact + underflow_error((5, 63, 33), 3, heaviest_weight([(1, 1)], 1))
    assert ((cpu.pair_distance(query, GalleryBlock.of(gallery), 1) - exact).abs() <= error).all()


@pytest.mark.parametrize("bounds", BOUNDS[1:])
def test_the_screen_is_sharp_for_far_queries_too(bounds: Callable[[Side, GalleryBlock, int], Tensor]) -> None:
    """Its slack is that of 8 bits, about 1 % of the rows' spread for each side, and not of the offset between them."""
    query, gallery = sides(5, 300, channels=(256, 512, 128))
    for offset in (0, 10):
        far = changed(query, shifted(offset, 1))
        exact = canonical_distance(far, gallery)
        lost = exact - bounds(far, GalleryBlock.of(gallery), 1)
        assert (lost / canonical_distance(query, gallery)).max() < 0.02


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("queries", [1, 7, 8, 9, 15, 16, 17, 33, 300])
@pytest.mark.parametrize("channels", [(3,), (64, 130), (1664,)])
def test_all_products_are_exact_so_their_bounds_are_those_of_the_codes(
    product: Product, queries: int, channels: tuple[int, ...]
) -> None:
    """But for the float32 arithmetic around them, which compilers may order as they like."""
    query, gallery = sides(queries, 100, channels=channels)
    block = GalleryBlock.of(gallery)
    rows = packed(block)
    ours = pack_queries(held_in_float32(query), rows.centre, "avx2")  # [tiles, places, 8, 4]
    expected = np.zeros((queries, 100), np.float32)
    for term in range(len(rows.centre)):
        steps = slice(rows.steps[term], rows.steps[term + 1])
        theirs = rows.codes[:, steps].transpose(0, 2, 1, 3).reshape(-1, 4 * (steps.stop - steps.start))
        own = ours.codes[:, steps].transpose(0, 2, 1, 3).reshape(-1, theirs.shape[1])[:queries]
        sums = (own.astype(np.int64) @ (theirs.astype(np.int64) - 128).T).astype(np.int32)
        for q in range(queries):
            total = np.zeros(theirs.shape[0], np.float32)
            for tile in range(len(rows.codes)):
                here = slice(tile * TILE_ROWS, (tile + 1) * TILE_ROWS)
                own_side, side = ours.sides[term, q], rows.sides[tile, term]
                add_term(sums[q, here], np.int32(0), own_side, side, 1, total[here])
            expected[q] += total[:100]
    assert np.allclose(screened(query, block, 1, product), expected, rtol=1e-5)


@pytest.mark.parametrize("queries", [1, 8, 17])
@pytest.mark.parametrize("channels", [(3,), (64, 130)])
def test_queries_are_the_same_codes_in_the_order_of_every_product(queries: int, channels: tuple[int, ...]) -> None:
    """On any processor: packing takes no product's instructions."""
    query, gallery = sides(queries, 50, channels=channels)
    ours, centre = held_in_float32(query), packed(GalleryBlock.of(gallery)).centre

    def by_term(product: Product) -> list[NDArray[np.int64]]:
        made = pack_queries(ours, centre, product)
        assert made.product == product
        rows = made.codes.astype(np.int64).transpose(0, 2, 1, 3)  # [tiles, queries of one, places, width]
        rows = rows.reshape(-1, *rows.shape[2:])[:queries]
        ends = zip(made.places[:-1], made.places[1:], strict=True)
        return [rows[:, first:last].reshape(queries, -1) for first, last in ends]

    expected = by_term("avx2")
    assert any(codes.any() for codes in expected)
    for product in ("vnni", "amx"):
        for found, codes in zip(by_term(product), expected, strict=True):
            assert np.array_equal(found[:, : codes.shape[1]], codes)
            assert not found[:, codes.shape[1] :].any()


@any_order
def dots(codes: NDArray[np.uint8], queries: NDArray[Any], start: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    """out [3, 8, 48]: by 1, 2 and 8 queries of the tile."""
    o_codes, o_queries, o_start = codes.ctypes.data, queries.ctypes.data, start.ctypes.data
    dot_tile(queries, o_codes, o_queries, len(codes), o_start, out[0].ctypes.data, 1)
    dot_tile(queries, o_codes, o_queries, len(codes), o_start, out[1].ctypes.data, 2)
    dot_tile(queries, o_codes, o_queries, len(codes), o_start, out[2].ctypes.data, 8)


@pytest.mark.parametrize("product", BY_LANES)
@pytest.mark.parametrize("steps", [1, 2, 7, WIDEST // 4])
@pytest.mark.parametrize("extreme", [False, True])
def test_sums_of_a_tile_are_exact(product: Product, steps: int, extreme: bool) -> None:
    rng = np.random.default_rng(steps)
    codes = rng.integers(0, 256, (steps, TILE_ROWS, 4)).astype(np.uint8)
    queries = rng.integers(-127, 128, (steps, TILE_QUERIES, 4)).astype(np.int8 if product == "vnni" else np.int16)
    if extreme:
        codes[...] = 255
        queries[:, ::2], queries[:, 1::2] = 127, -127
    start = rng.integers(-1000, 1000, TILE_QUERIES).astype(np.int32)
    out = np.zeros((3, TILE_QUERIES, TILE_ROWS), np.int32)
    dots(codes, queries, start, out)
    exact = start[:, None] + np.einsum("sgj,sqj->qg", codes.astype(np.int64), queries.astype(np.int64))
    for found, count in zip(out, (1, 2, 8), strict=True):
        assert np.array_equal(found[:count], exact[:count])
        assert not found[count:].any()


def with_fitting_codes(channels: int) -> Tensor:
    """Float32 [1, channels] whose codes fit to the last bit, so that nothing but rounding is left of a residual."""
    return 127.0 * torch.randn(channels, generator=torch.Generator().manual_seed(0)).sign()[None]


@pytest.mark.parametrize("centre", [0.0, 2.0**-20, 3.0])
@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e-20, 1e-3, 1.0, 1e10, 1e15])
@pytest.mark.parametrize("channels", [1, 7, 128, 1664])
@pytest.mark.parametrize("values", ["drawn", "fitting", "one large"])
def test_the_error_of_codes_covers_what_they_lose(values: str, channels: int, scale: float, centre: float) -> None:
    """|x|^2, |x| and the error against float64, in float32's roundoff u: 133 u, 67 u, and between 0 and 2^-14 above."""
    drawn = torch.randn(3, channels, generator=torch.Generator().manual_seed(channels))
    rows = {"drawn": drawn, "fitting": with_fitting_codes(channels), "one large": drawn}[values] * scale
    if values == "one large":
        rows[:, 0] = 100 * scale
    centres = np.full((1, channels), np.float32(centre * scale))
    made = packed(GalleryBlock.of(flat(rows[:, None])), centres)
    exact = rows.double().numpy() - np.float64(centres)
    square, norm = (exact**2).sum(1), np.sqrt((exact**2).sum(1))
    sides = made.sides[0, 0, :, : len(rows)].astype(np.float64)
    codes = made.codes[0, :, : len(rows)].transpose(1, 0, 2).reshape(len(rows), -1)[:, :channels] - np.float64(128)
    lost = np.sqrt(((exact - sides[SCALE][:, None] * codes) ** 2).sum(1))
    lowest = 1.001 * channels * 2.0**-126  # what squares lose below float32's normal range
    assert np.abs(codes).max() <= 127
    assert (np.abs(sides[SQUARE] - square) <= 133 * FLOAT32_ROUNDOFF * square + lowest).all()
    assert (np.abs(sides[NORM] - norm) <= 67 * FLOAT32_ROUNDOFF * norm + np.sqrt(lowest)).all()
    assert (sides[ERROR] >= lost * (1 + 80 * FLOAT32_ROUNDOFF)).all()
    assert (sides[ERROR] <= (lost + 8 * FLOAT32_ROUNDOFF * norm) * (1 + 2.0**-14) + 2 * np.sqrt(lowest)).all()


def test_codes_cost_one_byte_a_value_and_24_bytes_a_vector() -> None:
    _, gallery = sides(1, 480, channels=(4, 64, 32))
    block = packed(GalleryBlock.of(gallery))
    assert block.codes.nbytes == 480 * 3 * (4 + 64 + 32)
    assert block.sides.nbytes == 480 * 9 * 24


@pytest.mark.parametrize("product", ["amx", "vnni", "avx2"])
def test_codes_begin_at_a_cache_line(product: Product) -> None:
    """Where they don't, the matrix units load them at a third of the speed, and nothing else tells."""
    query, gallery = sides(20, 480, channels=(4, 64, 33))
    rows = packed(GalleryBlock.of(gallery))
    queries = pack_queries(held_in_float32(query), rows.centre, product)
    assert [array.ctypes.data % CACHE_LINE for array in (rows.codes, rows.sides, queries.codes)] == [0, 0, 0]
