"""The processor's lower bounds: never above the canonical distance, at any scale, and sharp."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import cpu
from kernels.blocks import GalleryBlock
from kernels.bounds import FLOAT32_ROUNDOFF, direct_error, heaviest_weight, underflow_error
from kernels.cpu import amx, vnni
from kernels.cpu.packed import ERROR, NORM, SCALE, SQUARE, packed
from kernels.cpu.packed_queries import pack_queries
from kernels.cpu.rows import CACHE_LINE, held_in_float32
from kernels.cpu.screen import screen
from kernels.reference import canonical_distance
from tests.kernels.hard_cases import HARD, STORED, changed, flat, shifted, sides
from tests.kernels.test_reference import Side

needs_vnni = pytest.mark.skipif(not vnni.available(), reason="this processor has no AVX-512 VNNI")
needs_amx = pytest.mark.skipif(not amx.available(), reason="this processor has no AMX")


def screened(query: Side, block: GalleryBlock, power: int, by_amx: bool = False) -> Tensor:
    rows = packed(block)
    queries = pack_queries(held_in_float32(query), rows.centre, by_amx)
    return torch.from_numpy(screen(query, queries, block, rows, power))


def screened_by_amx(query: Side, block: GalleryBlock, power: int) -> Tensor:
    return screened(query, block, power, by_amx=True)


BOUNDS = [
    pytest.param(cpu.lower_bounds, id="direct"),
    pytest.param(screened, id="vnni", marks=needs_vnni),
    pytest.param(screened_by_amx, id="amx", marks=needs_amx),
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
    query, gallery = sides(3, 17, torch.float32, 2, (7, 20), seed)
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


@needs_amx
@pytest.mark.parametrize("queries", [1, 15, 16, 17, 33, 300])
@pytest.mark.parametrize("channels", [(3,), (64, 130), (1664,)])
def test_both_products_are_exact_so_their_bounds_are_equal(queries: int, channels: tuple[int, ...]) -> None:
    """But for the float32 arithmetic around them, which compilers may order as they like."""
    query, gallery = sides(queries, 100, channels=channels)
    block = GalleryBlock.of(gallery)
    assert torch.allclose(screened(query, block, 1), screened_by_amx(query, block, 1), rtol=1e-5)


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


@needs_vnni
def test_codes_cost_one_byte_a_value_and_24_bytes_a_vector() -> None:
    _, gallery = sides(1, 480, channels=(4, 64, 32))
    block = packed(GalleryBlock.of(gallery))
    assert block.codes.nbytes == 480 * 3 * (4 + 64 + 32)
    assert block.sides.nbytes == 480 * 9 * 24


@needs_vnni
@pytest.mark.parametrize("for_amx", [False, True])
def test_codes_begin_at_a_cache_line(for_amx: bool) -> None:
    """Where they don't, the matrix units load them at a third of the speed, and nothing else tells."""
    query, gallery = sides(20, 480, channels=(4, 64, 33))
    rows = packed(GalleryBlock.of(gallery))
    queries = pack_queries(held_in_float32(query), rows.centre, for_amx)
    assert [array.ctypes.data % CACHE_LINE for array in (rows.codes, rows.sides, queries.codes)] == [0, 0, 0]
