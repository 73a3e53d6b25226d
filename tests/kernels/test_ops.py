"""The registered operations: values, gradients, what torch.library and torch.compile ask of them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benches.cases import CORRECTNESS, Case, Rows, draw
from kernels import ImplementationError, distance_topk, gradients, ops, pair_distance, reference, region_pool
from kernels.bounds import direct_error
from kernels.reference import canonical_distance

IMPLEMENTATIONS = ("reference", "cpu")
SMALL = [case for case in CORRECTNESS if case.queries <= 63 and case.photos <= 1023 and case.top_k <= 10]


def tensors(side: Rows) -> tuple[list[Tensor], Tensor, Tensor]:
    return list(side.levels), side.region_weights, side.level_weights


def double(side: Rows) -> Rows:
    return Rows(tuple(v.double() for v in side.levels), side.region_weights.double(), side.level_weights.double())


# pair_distance


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("case", SMALL, ids=str)
def test_the_matrix_is_as_near_to_the_canonical_distance_as_float32_differences(case: Case, impl: str) -> None:
    query, gallery = draw(case)
    query = query[:8]
    distance = pair_distance(query, gallery, impl=impl)
    exact = canonical_distance(query, gallery)
    known = exact < 1e15  # a square beyond float32 overflows, in the eager twin too
    tolerance = 2 * direct_error(case.channels, case.regions)
    assert distance.dtype == torch.float32
    assert ((distance.double() - exact).abs() <= tolerance * exact + 1e-17)[known].all()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_terms_of_a_single_region_and_level_add_up_to_the_distance(impl: str) -> None:
    query, gallery = draw(Case(5, 40, 1, "fp32", "centred"))
    total = torch.zeros(5, 40)
    for region in range(3):
        for level in range(3):
            one = [
                Rows(
                    (side.levels[level][:, region : region + 1],),
                    side.region_weights[:, region : region + 1],
                    side.level_weights[:, region : region + 1, level : level + 1],
                )
                for side in (query, gallery)
            ]
            total += pair_distance(*one, impl=impl)
    assert torch.allclose(total, pair_distance(query, gallery, impl=impl), rtol=1e-5)


def test_float64_is_computed_in_float64() -> None:
    query, gallery = (double(side) for side in draw(Case(4, 9, 1, "fp32", "centred")))
    assert torch.allclose(pair_distance(query, gallery), canonical_distance(query, gallery), rtol=1e-14, atol=0)
    with pytest.raises(ImplementationError, match="was given float64"):
        pair_distance(query, gallery, impl="cpu")


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_no_queries_or_no_gallery_give_an_empty_matrix(impl: str) -> None:
    query, gallery = draw(Case(4, 9, 1))
    assert pair_distance(query[:0], gallery, impl=impl).shape == (0, 9)
    assert pair_distance(query, gallery[:0], impl=impl).shape == (4, 0)


# Gradients


def leaves(side: Rows) -> Rows:
    return Rows(
        tuple(v.detach().clone().requires_grad_() for v in side.levels),
        side.region_weights.detach().clone().requires_grad_(),
        side.level_weights.detach().clone().requires_grad_(),
    )


@pytest.mark.parametrize("power", [1, 2])
def test_gradients_are_those_of_finite_differences(power: int) -> None:
    sides = [leaves(double(side)) for side in draw(Case(3, 4, 1, "fp32", "centred", (2, 3), 2))]
    inputs = [tensor for side in sides for tensor in (*side.levels, side.region_weights, side.level_weights)]

    def function(*values: Tensor) -> Tensor:
        return pair_distance(Rows(values[:2], *values[2:4]), Rows(values[4:6], *values[6:]), region_weight_power=power)

    assert torch.autograd.gradcheck(function, inputs)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", ["centred", "offset", "duplicates"])
@pytest.mark.parametrize("power", [1, 2])
def test_gradients_are_the_eager_twins(power: int, kind: str, impl: str) -> None:
    """In float32, against autograd through the eager twin in float64; 0 where query and row are equal."""
    drawn = draw(Case(6, 9, 1, "fp32", kind, (5, 8, 63), 3))
    own, exact = [leaves(side) for side in drawn], [leaves(double(side)) for side in drawn]
    weight = torch.linspace(-1, 1, 54).view(6, 9)
    (pair_distance(*own, region_weight_power=power, impl=impl) * weight).sum().backward()
    (reference.pair_distance(*exact, power) * weight).sum().backward()
    for ours, twin in zip(own, exact, strict=True):
        for a, b in zip((*ours.levels, *tensors(ours)[1:]), (*twin.levels, *tensors(twin)[1:]), strict=True):
            # 1e-4: differences of values of 30 carry 30 * 2^-24 each, of 1 to 10 that matter.
            assert a.grad is not None
            assert torch.allclose(a.grad.double(), b.grad, rtol=1e-4, atol=1e-5)


def test_gradients_keep_the_type_of_the_features() -> None:
    query, gallery = draw(Case(3, 4, 1, "bf16", "centred"))
    sides = leaves(query), leaves(gallery)
    pair_distance(*sides).sum().backward()
    assert {level.grad.dtype for level in sides[0].levels} == {torch.float32}
    assert {level.grad.dtype for level in sides[1].levels} == {torch.bfloat16}


# region_pool


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("batch", "regions", "grid"), [(1, 1, (1, 1)), (3, 3, (8, 8)), (2, 5, (7, 11))])
def test_region_pool_is_the_mean_over_the_grid(
    batch: int, regions: int, grid: tuple[int, int], layout: torch.memory_format, dtype: torch.dtype, impl: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    levels = [
        torch.randn(batch, width, *grid, generator=generator).to(dtype).contiguous(memory_format=layout)
        for width in (5, 32, 63)
    ]
    maps = torch.rand(batch, regions, *grid, generator=generator)
    for pooled, level in zip(region_pool(levels, maps, impl=impl), levels, strict=True):
        exact = torch.einsum("brhw,bchw->brc", maps.double(), level.double()) / (grid[0] * grid[1])
        assert pooled.dtype == torch.float32
        scale = torch.einsum("brhw,bchw->brc", maps.double(), level.double().abs()) / (grid[0] * grid[1])
        assert ((pooled.double() - exact).abs() <= (grid[0] * grid[1] + 2) * 2.0**-24 * scale).all()


def test_region_pool_has_the_gradients_of_finite_differences() -> None:
    levels = [torch.randn(2, width, 3, 4, dtype=torch.float64, requires_grad=True) for width in (2, 5)]
    maps = torch.rand(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b, m: region_pool([a, b], m), (*levels, maps))


def test_region_pool_refuses_another_grid() -> None:
    with pytest.raises(ValueError, match=r"maps \(2, 3, 8, 8\) and levels"):
        region_pool([torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 4, 4)], torch.zeros(2, 3, 8, 8))


# torch.library and torch.compile


def test_opcheck_passes() -> None:
    query, gallery = (leaves(side) for side in draw(Case(3, 7, 2, "fp32", "centred")))
    for impl in IMPLEMENTATIONS:
        torch.library.opcheck(ops._pair_distance, (*tensors(query), *tensors(gallery), 1, impl))
        pooled = [torch.randn(2, 4, 3, 3, requires_grad=True), torch.randn(2, 6, 3, 3, requires_grad=True)]
        torch.library.opcheck(ops._region_pool, (pooled, torch.rand(2, 3, 3, 3, requires_grad=True), impl))
        plain = [tensors(side) for side in draw(Case(3, 7, 2, "fp32", "dead-rows"))]
        live = torch.arange(7) < 1
        torch.library.opcheck(ops._distance_topk, (*plain[0], *plain[1], 2, live, 1, impl))


def test_a_compiled_function_has_no_break_at_the_operations() -> None:
    query, gallery = draw(Case(3, 50, 5))
    levels, maps = [torch.randn(2, 4, 3, 3)], torch.rand(2, 3, 3, 3)

    def function(scale: Tensor) -> tuple[Tensor, ...]:
        scaled = replace(query, levels=tuple(level * scale for level in query.levels))
        distance, rows = distance_topk(scaled, gallery, 5)
        return pair_distance(scaled, gallery) + 1, distance * 2, rows, region_pool(levels, maps * scale)[0]

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for a, b in zip(compiled(torch.tensor(2.0)), function(torch.tensor(2.0)), strict=True):
        assert torch.equal(a, b)


def test_gradients_of_nothing_are_empty() -> None:
    query, gallery = draw(Case(2, 3, 1, "fp32", "centred"))
    found = gradients.pair_distance(torch.empty(2, 0), query, gallery[:0], 1)
    assert all(not grad.any() for grad in found[0])
    assert [grad.shape for grad in found[3]] == [(0, 3, width) for width in (5, 8, 63)]
