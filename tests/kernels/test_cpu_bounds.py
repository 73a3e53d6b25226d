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
from kernels.bounds import direct_error, heaviest_weight, underflow_error
from kernels.cpu import amx, vnni
from kernels.cpu.packed import packed
from kernels.cpu.packed_queries import pack_queries
from kernels.cpu.refine import smallest_refined
from kernels.cpu.rows import held_in_float32
from kernels.cpu.screen import Rough, screen
from kernels.reference import canonical_distance
from tests.kernels.hard_cases import HARD, STORED, changed, shifted, sides
from tests.kernels.test_reference import Side

needs_vnni = pytest.mark.skipif(not vnni.available(), reason="this processor has no AVX-512 VNNI")
needs_amx = pytest.mark.skipif(not amx.available(), reason="this processor has no AMX")


def screened(query: Side, block: GalleryBlock, power: int, limbs: int = 1) -> Tensor:
    rows = packed(block)
    queries = pack_queries(held_in_float32(query), rows.centre, limbs)
    return torch.from_numpy(screen(query, queries, block, rows, power).bounds)


def screened_by_amx(query: Side, block: GalleryBlock, power: int) -> Tensor:
    return screened(query, block, power, amx.LIMBS)


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


@pytest.mark.parametrize(
    ("bounds", "most"),
    [
        pytest.param(screened, 0.02, id="vnni", marks=needs_vnni),
        pytest.param(screened_by_amx, 0.01, id="amx", marks=needs_amx),
    ],
)
def test_the_screen_is_sharp_for_far_queries_too(
    bounds: Callable[[Side, GalleryBlock, int], Tensor], most: float
) -> None:
    """Its slack is that of 8 bits, about 1 % of the rows' spread for each side, and not of the offset between them."""
    query, gallery = sides(5, 300, channels=(256, 512, 128))
    for offset in (0, 10):
        far = changed(query, shifted(offset, 1))
        exact = canonical_distance(far, gallery)
        lost = exact - bounds(far, GalleryBlock.of(gallery), 1)
        assert (lost / canonical_distance(query, gallery)).max() < most


@needs_amx
@pytest.mark.parametrize("queries", [1, 16, 65])
@pytest.mark.parametrize("channels", [(3,), (64, 130), (1664,)])
def test_two_limbs_bound_sharper_than_one(queries: int, channels: tuple[int, ...]) -> None:
    query, gallery = sides(queries, 100, channels=channels)
    block = GalleryBlock.of(gallery)
    exact = canonical_distance(query, gallery)
    one, two = (exact - screened(query, block, 1, limbs) for limbs in (1, amx.LIMBS))
    assert (one >= 0).all()
    assert (two >= 0).all()
    assert two.mean() < 0.6 * one.mean()


@pytest.mark.parametrize("queries", [1, 70])
def test_refining_finds_the_smallest_whatever_the_rough_bounds(queries: int) -> None:
    query, gallery = sides(queries, 300)
    block = GalleryBlock.of(gallery)
    sharp = cpu.lower_bounds(query, block, 1)
    generator = torch.Generator().manual_seed(3)
    levels = torch.stack(
        [
            canonical_distance(
                Side((q,), query.region_weights, query.level_weights[:, :, number, None]),
                Side((g,), gallery.region_weights, gallery.level_weights[:, :, number, None]),
            )
            for number, (q, g) in enumerate(zip(query.levels, gallery.levels, strict=True))
        ]
    )
    parts = (levels * torch.rand(levels.shape, generator=generator) * 0.999).float()
    rough = Rough((parts.sum(0) * (1 - 2.0**-20)).numpy(), parts.numpy())
    bounds, rows = smallest_refined(query, [block], [rough], 11, 1)
    assert np.allclose(bounds, sharp.sort(dim=1).values[:, :11], rtol=1e-4)
    assert np.allclose(sharp.gather(1, torch.from_numpy(rows)), bounds, rtol=1e-4)
    assert (torch.from_numpy(rough.bounds) <= canonical_distance(query, gallery)).all()


@needs_vnni
def test_codes_cost_one_byte_a_value_and_24_bytes_a_vector() -> None:
    _, gallery = sides(1, 480, channels=(4, 64, 32))
    block = packed(GalleryBlock.of(gallery))
    assert block.codes.nbytes == 480 * 3 * (4 + 64 + 32)
    assert block.sides.nbytes == 480 * 9 * 24
