"""The Triton kernels against the oracle: on a GPU, or in a process with TRITON_INTERPRET=1 on the CPU.

`test_gpu_interpreter.py` runs this file in such a process; in an ordinary one only the GPU's half exists.
"""

import os
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benches.cases import CORRECTNESS, Case, Rows, draw
from kernels import distance_topk, gpu, reference
from kernels.blocks import GalleryBlock
from kernels.bounds import direct_error
from kernels.reference import canonical_distance

pytest.importorskip("triton")

from kernels.gpu import nearest
from kernels.gpu.operands import Appended, Matrix

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

SMALL = [
    Case(1, 300, 10, "fp16", "centred"),
    Case(3, 127, 10, "bf16", "unit"),
    Case(17, 300, 1, "fp16", "unit"),
    Case(17, 127, 10, "bf16", "centred", power=2),
    Case(17, 127, 10, "fp32", "offset"),
    Case(17, 7, 3, "fp16", "offset"),
    Case(17, 1, 1, "fp16", "centred"),
    Case(3, 60, 10, "fp16", "ties"),
    Case(5, 127, 10, "fp16", "duplicates"),
    Case(5, 60, 10, "fp16", "huge"),
    Case(5, 60, 10, "fp32", "huge"),
    Case(5, 60, 10, "bf16", "denormal"),
    Case(5, 60, 10, "fp16", "denormal"),
    Case(3, 60, 10, "fp32", "denormal"),
    Case(5, 127, 10, "fp16", "zero-weights", power=2),
    Case(5, 127, 10, "fp16", "dead-rows"),
    Case(5, 60, 10, "fp16", "unit", channels=(1, 130), regions=2),
    Case(3, 60, 10, "fp16", "unit", channels=(64,), regions=1),
]


@pytest.fixture(
    params=[pytest.param("cpu", id="interpreter")]
    if INTERPRETED
    else [pytest.param("cuda", id="gpu", marks=pytest.mark.gpu)]
)
def device(request: pytest.FixtureRequest) -> torch.device:
    device = torch.device(request.param)
    if reason := gpu.why_not(device):
        pytest.skip(f"no GPU to run on: {reason}")
    return device


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A matrix tile of 64 rows for 3 queries, so that a small gallery takes the ways of a large one."""
    monkeypatch.setattr(nearest, "TILE_VALUES", 3 * 64)
    monkeypatch.setattr(nearest, "list_capacity", lambda count: 32)


def drawn(case: Case, device: torch.device) -> tuple[Rows, Rows]:
    query, gallery = draw(case)
    return query.to(device), gallery.to(device)


def by_bound_then_row(lower: Tensor, live: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    if live is not None:
        lower = lower.masked_fill(~live, torch.inf)
    values, rows = lower.sort(dim=1, stable=True)
    return values[:, :count], rows[:, :count]


@pytest.mark.parametrize("case", SMALL if INTERPRETED else SMALL + list(CORRECTNESS), ids=str)
def test_ids_distances_and_order_are_the_oracles(case: Case, device: torch.device) -> None:
    query, gallery = drawn(case, device)
    block = GalleryBlock.of(gallery, gallery.live)
    exact = canonical_distance(query, gallery, case.power)
    expected, expected_rows = by_bound_then_row(exact, gallery.live, min(case.top_k, block.live_count))
    distance, rows = distance_topk(
        query, gallery, case.top_k, region_weight_power=case.power, live=gallery.live, impl="triton"
    )
    found = slice(expected.shape[1])  # what lies behind it, where too few rows live, is `distance_topk`'s business
    assert torch.equal(rows[:, found], expected_rows)
    assert torch.equal(distance[:, found], expected)

    lower = gpu.lower_bounds(query, block, case.power)
    assert lower.dtype == torch.float32
    assert (lower.double() <= exact).all()
    # Not so low as to be useless: without this a bound of 0 would pass everything.
    if case.kind in ("centred", "unit"):
        assert (lower.double() >= 0.99 * exact).all()


@pytest.mark.parametrize(("offset", "spread"), [(1000.0, 1e-3), (100.0, 1e-3), (0.0, 1000.0)])
def test_lower_bounds_of_near_neighbours_that_cancel(offset: float, spread: float, device: torch.device) -> None:
    """Queries 1e-3 away from rows of norm 1e3, around the rows' mean and far from it: less than rounding moves s by."""
    noise, gallery = drawn(Case(17, 127, 1, "fp32", "centred"), device)
    gallery = replace(gallery, levels=tuple(offset + spread * level for level in gallery.levels))
    near = tuple(row[:17] + 1e-3 * level for row, level in zip(gallery.levels, noise.levels, strict=True))
    query = replace(noise, levels=near)
    lower = gpu.lower_bounds(query, GalleryBlock.of(gallery), 1)
    assert (lower.double() <= canonical_distance(query, gallery, 1)).all()
    # At 1000 a GPU's rounding may take all of it.
    assert offset == 1000 or (lower > 0).any()


def test_a_query_far_from_the_others_spoils_no_bound(device: torch.device) -> None:
    query, gallery = drawn(Case(17, 60, 1, "fp16", "centred"), device)
    scale = torch.ones(17, 1, 1, device=device)
    scale[3], scale[5], scale[7] = 1e4, 1e30, 1e-30
    query = replace(query, levels=tuple(level * scale for level in query.levels))
    lower = gpu.lower_bounds(query, GalleryBlock.of(gallery), 1)
    assert (lower.double() <= canonical_distance(query, gallery, 1)).all()


def test_overflow_gives_a_bound_of_0_and_no_nan(device: torch.device) -> None:
    for queries in (1, 17):
        query, gallery = drawn(Case(queries, 60, 1, "fp32", "centred"), device)
        gallery = replace(gallery, levels=tuple(level * 1e25 for level in gallery.levels))
        assert (gpu.lower_bounds(query, GalleryBlock.of(gallery), 1) == 0).all()


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_pair_distance_is_within_its_bound_of_the_canonical_one(dtype: str, device: torch.device) -> None:
    query, gallery = drawn(Case(5, 127, 1, dtype, "offset"), device)
    exact = canonical_distance(query, gallery, 1)
    distance = gpu.pair_distance(query, GalleryBlock.of(gallery), 1)
    assert distance.dtype == torch.float32
    assert ((distance.double() - exact).abs() <= direct_error((5, 8, 63), 3) * exact).all()


@pytest.mark.parametrize("kind", ["centred", "dead-rows", "ties"])
def test_nearest_bounds_are_the_smallest_by_bound_and_row(kind: str, small_tiles: None, device: torch.device) -> None:
    query, gallery = drawn(Case(3, 300, 1, "fp16", kind), device)
    block = GalleryBlock.of(gallery, gallery.live)
    lower, rows = nearest.nearest_bounds(query, block, 5, 1)
    expected, expected_rows = by_bound_then_row(gpu.lower_bounds(query, block, 1), gallery.live, 5)
    assert torch.equal(lower, expected)
    assert torch.equal(rows, expected_rows)


def test_rows_up_to_the_limits_are_kept(small_tiles: None, device: torch.device) -> None:
    """What another block found leaves out what is above it, and no row that equals it."""
    query, gallery = drawn(Case(3, 300, 1, "fp16", "centred"), device)
    block = GalleryBlock.of(gallery)
    expected, expected_rows = by_bound_then_row(gpu.lower_bounds(query, block, 1), None, 5)
    lower, rows = nearest.nearest_bounds(query, block, 5, 1, limits=expected[:, 2].contiguous())
    assert torch.equal(lower[:, :3], expected[:, :3])
    assert torch.equal(rows[:, :3], expected_rows[:, :3])
    assert lower[:, 3:].isinf().all()


@pytest.mark.parametrize(("nearest_last", "overflows"), [(False, False), (True, True)])
def test_a_list_that_overflows_changes_nothing(
    nearest_last: bool, overflows: bool, small_tiles: None, monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    query, gallery = drawn(Case(3, 300, 1, "fp16", "centred"), device)
    query = replace(query, levels=tuple(level[:1].expand(3, -1, -1) for level in query.levels))
    order = canonical_distance(query, gallery, 1)[0].argsort(descending=nearest_last)
    block = GalleryBlock.of(gallery[order])
    outcomes = []
    below = nearest._below

    def watched(*arguments: object) -> Tensor | None:
        keys: Tensor | None = below(*arguments)
        outcomes.append(keys is None)
        return keys

    monkeypatch.setattr(nearest, "_below", watched)
    lower, rows = nearest.nearest_bounds(query, block, 5, 1)
    expected, expected_rows = by_bound_then_row(gpu.lower_bounds(query, block, 1), None, 5)
    assert torch.equal(lower, expected)
    assert torch.equal(rows, expected_rows)
    assert any(outcomes) == overflows
    assert outcomes


def test_many_queries_fill_lists_too(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    """The product form's own way into a list, ending in the oracle's answer."""
    monkeypatch.setattr(nearest, "TILE_VALUES", 17 * 100)
    query, gallery = drawn(Case(17, 300, 2, "fp16", "centred"), device)
    launched = []
    launcher = nearest.bounds_launcher

    def watched(query: Rows, block: GalleryBlock, power: int) -> nearest.BoundsLauncher:
        launch = launcher(query, block, power)

        def noted(rows: range, sink: Matrix | Appended) -> None:
            launched.append(type(sink))
            launch(rows, sink)

        return noted

    monkeypatch.setattr(nearest, "bounds_launcher", watched)
    monkeypatch.setattr(nearest, "list_capacity", lambda count: 60)
    distance, rows = distance_topk(query, gallery, 2, impl="triton")
    expected, expected_rows = by_bound_then_row(canonical_distance(query, gallery, 1), None, 2)
    assert torch.equal(rows, expected_rows)
    assert torch.equal(distance, expected)
    assert Appended in launched


@pytest.mark.parametrize("values", [1, 4 * 2 * 5])
def test_queries_of_which_too_many_rows_are_wanted_come_in_groups(
    values: int, monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    """One by one, or four together, three times; to the same result."""
    query, gallery = drawn(Case(9, 20, 1, "fp16", "centred"), device)
    blocks = [GalleryBlock.of(gallery[:7]), GalleryBlock.of(gallery[7:])]
    monkeypatch.setattr(nearest, "TILE_VALUES", values)
    bounds, rows = gpu.smallest_bounds(query, blocks, 5, 1)
    assert bounds.shape == rows.shape == (9, 5)
    for one in range(9):
        alone, alone_rows = gpu.smallest_bounds(query[one : one + 1], blocks, 5, 1)
        assert torch.equal(rows[one], alone_rows[0])
        # Another tile may add in another order.
        torch.testing.assert_close(bounds[one], alone[0], rtol=2e-5, atol=0)


def test_rows_that_are_not_contiguous_are_compared_all_the_same(device: torch.device) -> None:
    query, gallery = drawn(Case(3, 120, 1, "fp16", "centred"), device)
    every_second = gallery[torch.arange(0, 120, 2, device=device)]
    view = gallery[slice(0, None, 2)]
    assert not view.levels[0].is_contiguous()
    expected = gpu.pair_distance(query, GalleryBlock.of(every_second), 1)
    assert torch.equal(gpu.pair_distance(query, GalleryBlock.of(view), 1), expected)


@pytest.mark.parametrize(("queries", "rows"), [(0, 5), (3, 0), (17, 0)])
def test_an_empty_side_gives_an_empty_matrix(queries: int, rows: int, device: torch.device) -> None:
    query, gallery = drawn(Case(3, 5, 1), device)
    query, block = query[:queries].to(device), GalleryBlock.of(gallery[:rows])
    assert gpu.pair_distance(query, block, 1).shape == (len(query), rows)
    assert gpu.lower_bounds(query, block, 1).shape == (len(query), rows)
    assert nearest.nearest_bounds(query, block, 0, 1)[1].shape == (len(query), 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_region_pool_is_the_references(
    memory_format: torch.memory_format, dtype: torch.dtype, device: torch.device
) -> None:
    generator = torch.Generator().manual_seed(0)
    levels = [
        torch.randn(2, channels, 9, 8, generator=generator).to(device, dtype, memory_format=memory_format)
        for channels in (1, 40, 7)
    ]
    maps = torch.rand(2, 3, 9, 8, generator=generator).to(device, dtype)
    pooled = gpu.region_pool(levels, maps)
    for own, level in zip(pooled, levels, strict=True):
        exact = torch.einsum("brhw,bchw->brc", maps.double(), level.double()) / 72
        size = torch.einsum("brhw,bchw->brc", maps.double(), level.double().abs()) / 72
        assert own.dtype == torch.float32
        assert ((own.double() - exact).abs() <= 74 * 2.0**-24 * size).all()
    with pytest.raises(ValueError, match=r"expected \[B, R, h, w\]"):
        gpu.region_pool([levels[0][:1]], maps)
    assert [own.shape for own in pooled] == [want.shape for want in reference.region_pool(levels, maps)]


@pytest.mark.gpu
def test_rows_behind_2_to_the_31_values_are_reached() -> None:
    if reason := gpu.why_not(torch.device("cuda")):
        pytest.skip(f"no GPU to run on: {reason}")
    width, rows = 4096, 2**19 + 100
    if torch.cuda.get_device_properties(0).total_memory < 3 * rows * width * 2:
        pytest.skip("the GPU's memory is too small for 2^31 values in float16")
    level = torch.zeros(rows, 1, width, dtype=torch.float16, device="cuda")
    level[-1] = 1
    ones = torch.ones(rows, 1, device="cuda")
    gallery = Rows((level,), ones, ones[..., None])
    for queries in (1, 17):
        query = Rows((torch.ones(queries, 1, width, device="cuda"),), ones[:queries], ones[:queries, :, None])
        distance, found = distance_topk(query, gallery, 1, impl="triton")
        assert found.flatten().tolist() == [rows - 1] * queries
        assert (distance == 0).all()
