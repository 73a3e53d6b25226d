"""Exact search against the oracle, on every implementation that runs here, and its laws."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benches.cases import CORRECTNESS, ODD_SHAPES, Case, Rows, draw
from kernels import dispatch, distance_topk
from kernels.blocks import GalleryBlock
from kernels.reference import canonical_distance
from kernels.topk import nearest, spare

IMPLEMENTATIONS = ("reference", "cpu")


def oracle(query: Rows, gallery: Rows, k: int, power: int) -> tuple[Tensor, Tensor]:
    """Distances and rows of the k nearest, by the definition."""
    distance = torch.cat([canonical_distance(query[i : i + 8], gallery, power) for i in range(0, len(query), 8)])
    if gallery.live is not None:
        distance[:, ~gallery.live] = torch.inf
    values, rows = distance.sort(dim=1, stable=True)
    values, rows = values[:, :k], rows[:, :k]
    return values, rows.masked_fill(values.isinf(), -1)


def assert_exact(query: Rows, gallery: Rows, case: Case, impl: str) -> None:
    expected_distance, expected_rows = oracle(query, gallery, case.top_k, case.power)
    distance, rows = distance_topk(
        query, gallery, case.top_k, region_weight_power=case.power, live=gallery.live, impl=impl
    )
    assert torch.equal(rows, expected_rows)
    assert torch.equal(distance, expected_distance)  # the same bits


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("case", CORRECTNESS, ids=str)
def test_ids_distances_and_order_are_the_oracles(case: Case, impl: str) -> None:
    assert_exact(*draw(case), case, impl)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("case", ODD_SHAPES, ids=lambda case: f"{case.channels}-R{case.regions}-p{case.power}")
def test_any_regions_levels_and_channels(case: Case, impl: str) -> None:
    assert_exact(*draw(case), case, impl)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("case", CORRECTNESS, ids=str)
def test_lower_bounds_are_below_the_canonical_distance(case: Case, impl: str) -> None:
    query, gallery = draw(case)
    query, gallery = query[:8], gallery[:600]
    lower = dispatch.implementation(impl).lower_bounds(query, GalleryBlock.of(gallery), case.power)
    exact = canonical_distance(query, gallery, case.power)
    assert lower.dtype == torch.float32
    assert (lower.double() <= exact).all()
    # Not so low as to be useless: without this a bound of 0 would pass everything.
    if case.kind in ("centred", "unit"):
        assert (lower.double() >= 0.9 * exact).all()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_near_neighbours_far_from_the_origin_are_ranked(impl: str) -> None:
    """Distances of 1e-3 beside norms of 1e3: what an expanded square in float32 can't see."""
    case = Case(3, 500, 10, "fp32", "centred")
    query, gallery = draw(case)
    near = tuple(1000 + 1e-3 * level for level in gallery.levels)
    far = tuple(1000 + 1e-3 * level for level in query.levels)
    assert_exact(replace(query, levels=far), replace(gallery, levels=near), case, impl)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), kind=st.sampled_from(["unit", "ties", "duplicates", "dead-rows"]))
def test_permuting_the_gallery_permutes_the_answer(impl: str, seed: int, kind: str) -> None:
    query, gallery = draw(Case(2, 60, 5, "fp16", kind, seed=seed))
    order = torch.randperm(len(gallery), generator=torch.Generator().manual_seed(seed))
    distance, rows = distance_topk(query, gallery, 5, live=gallery.live, impl=impl)
    shuffled = gallery[order]
    distance_shuffled, rows_shuffled = distance_topk(query, shuffled, 5, live=shuffled.live, impl=impl)
    assert torch.equal(distance, distance_shuffled)
    # Among equal distances rows decide, so only the sets below the last distance must agree.
    for i in range(2):
        inner = distance[i] < distance[i, -1]
        assert set(rows[i][inner].tolist()) == set(order[rows_shuffled[i][inner]].tolist())


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["unit", "ties", "duplicates", "dead-rows"]),
    cuts=st.lists(st.integers(0, 80), max_size=4),
    k=st.integers(1, 90),
)
def test_result_does_not_depend_on_block_boundaries(impl: str, seed: int, kind: str, cuts: list[int], k: int) -> None:
    query, gallery = draw(Case(3, 80, k, "fp16", kind, seed=seed))
    bounds = [0, *sorted(cuts), 80]
    blocks = [GalleryBlock.of(part, part.live) for part in (gallery[slice(a, b)] for a, b in pairwise(bounds))]
    whole = nearest(query, [GalleryBlock.of(gallery, gallery.live)], k, impl=impl)
    for one, other in zip(whole, nearest(query, blocks, k, impl=impl), strict=True):
        assert torch.equal(one.rows, other.rows)
        assert torch.equal(one.distance, other.distance)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), exponent=st.integers(-6, 6))
def test_scaling_all_features_scales_distances(impl: str, seed: int, exponent: int) -> None:
    """By powers of two, which are exact."""
    query, gallery = draw(Case(2, 40, 40, "fp32", "centred", seed=seed))
    scaled = [replace(side, levels=tuple(level * 2.0**exponent for level in side.levels)) for side in (query, gallery)]
    distance, rows = distance_topk(query, gallery, 40, impl=impl)
    distance_scaled, rows_scaled = distance_topk(*scaled, 40, impl=impl)
    assert torch.equal(rows, rows_scaled)
    assert torch.allclose(distance_scaled, distance * 2.0**exponent, rtol=1e-12)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_result_does_not_depend_on_the_other_queries(impl: str) -> None:
    query, gallery = draw(Case(70, 300, 7))
    distance, rows = distance_topk(query, gallery, 7, impl=impl)
    for i in (0, 33, 69):
        alone = distance_topk(query[i : i + 1], gallery, 7, impl=impl)
        assert torch.equal(alone[0][0], distance[i])
        assert torch.equal(alone[1][0], rows[i])


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_more_ties_than_the_fast_pass_keeps_are_all_found(impl: str) -> None:
    """All photos alike: whatever `count` bounds are kept, none settles rank k."""
    query, gallery = draw(Case(3, 400, 5))
    alike = gallery[torch.zeros(400, dtype=torch.int64)]
    assert 5 + spare(5) < 400
    for found in nearest(query, [GalleryBlock.of(alike)], 5, impl=impl):
        assert found.rows.tolist() == list(range(400))
    distance, rows = distance_topk(query, alike, 5, impl=impl)
    assert rows.tolist() == [[0, 1, 2, 3, 4]] * 3
    assert distance.unique(dim=1).shape[1] == 1


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_k_above_the_streaming_kernels_limit(impl: str) -> None:
    query, gallery = draw(Case(2, 1900, 1500))
    assert_exact(query, gallery, Case(2, 1900, 1500), impl)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_nothing_searched_or_nothing_to_search(impl: str) -> None:
    query, gallery = draw(Case(3, 10, 4))
    assert distance_topk(query[:0], gallery, 4, impl=impl)[1].shape == (0, 4)
    assert distance_topk(query, gallery[:0], 4, impl=impl)[1].shape == (3, 0)
    dead = torch.zeros(10, dtype=torch.bool)
    distance, rows = distance_topk(query, gallery, 4, live=dead, impl=impl)
    assert distance.tolist() == [[torch.inf] * 4] * 3
    assert rows.tolist() == [[-1] * 4] * 3


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_1_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        distance_topk(*draw(Case(1, 3, 1)), k)


def test_a_live_mask_that_does_not_fit_is_refused() -> None:
    query, gallery = draw(Case(1, 3, 1))
    for live in (torch.ones(4, dtype=torch.bool), torch.ones(3)):
        with pytest.raises(ValueError, match=r"expected torch.bool \[3\]"):
            distance_topk(query, gallery, 1, live=live)


# dispatch


def test_an_unknown_implementation_is_named() -> None:
    with pytest.raises(dispatch.ImplementationError, match="impl is 'cuda'; expected auto or one of triton, cpu"):
        distance_topk(*draw(Case(1, 3, 1)), 1, impl="cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: Triton runs here")
def test_triton_without_a_gpu_says_what_is_missing() -> None:
    with pytest.raises(dispatch.ImplementationError, match="impl='triton' can't run"):
        distance_topk(*draw(Case(1, 3, 1)), 1, impl="triton")
