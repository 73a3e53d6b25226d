"""The eager twins against loops, and the laws of the canonical distance."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels.reference import (
    LANES,
    canonical_distance,
    canonical_terms,
    check_pair,
    pair_distance,
    pair_weights,
    sum_channels,
)


@dataclass
class Side:
    """The least that the operations ask for."""

    levels: tuple[Tensor, ...]
    region_weights: Tensor
    level_weights: Tensor

    def __getitem__(self, index: slice | Tensor) -> "Side":
        return Side(
            tuple(level[index] for level in self.levels),
            self.region_weights[index],
            self.level_weights[index],
        )


def drawn(
    images: int,
    seed: int = 0,
    regions: int = 3,
    channels: tuple[int, ...] = (5, 8, 3),
    dtype: torch.dtype = torch.float64,
) -> Side:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return Side(
        tuple(normal(images, regions, width).to(dtype) for width in channels),
        normal(images, regions).softmax(1).to(dtype),
        normal(images, regions, len(channels)).softmax(2).to(dtype),
    )


def looped_terms(query: Side, gallery: Side, power: int) -> Tensor:
    """The formula of the module's first lines, one number at a time."""
    shape = (len(query.region_weights), len(gallery.region_weights), *query.level_weights.shape[1:])
    terms = torch.empty(shape, dtype=torch.float64)
    for q, g, r, lv in torch.cartesian_prod(*(torch.arange(n) for n in shape)).tolist():
        level = (query.level_weights[q, r, lv].item() + gallery.level_weights[g, r, lv].item()) / 2
        region = (query.region_weights[q, r].item() + gallery.region_weights[g, r].item()) / 2
        norm = math.dist(query.levels[lv][q, r].tolist(), gallery.levels[lv][g, r].tolist())
        terms[q, g, r, lv] = level * region**power * norm
    return terms


# pair_distance


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("regions", "channels"), [(3, (5, 8, 3)), (1, (4,)), (5, (2, 1, 3, 7))])
def test_pair_distance_is_the_formula(power: int, regions: int, channels: tuple[int, ...]) -> None:
    query, gallery = drawn(4, 1, regions, channels), drawn(6, 2, regions, channels)
    expected = looped_terms(query, gallery, power)
    distance, terms = pair_distance(query, gallery, power, terms=True)
    assert torch.allclose(terms, expected, rtol=1e-13, atol=0)
    assert torch.allclose(distance, expected.sum((2, 3)), rtol=1e-13, atol=0)


@pytest.mark.parametrize("power", [1, 2])
def test_weights_of_the_pair_are_means_of_the_sides(power: int) -> None:
    query, gallery = drawn(3, 1), drawn(4, 2)
    region = (query.region_weights[1] + gallery.region_weights[2]) / 2
    level = (query.level_weights[1] + gallery.level_weights[2]) / 2
    assert torch.allclose(pair_weights(query, gallery, power)[1, 2], level * region[:, None] ** power)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distance_is_in_the_type_of_the_features_and_terms_add_up(dtype: torch.dtype) -> None:
    distance, terms = pair_distance(drawn(3, 1, dtype=dtype), drawn(4, 2, dtype=dtype), terms=True)
    assert (distance.dtype, distance.shape) == (dtype, (3, 4))
    assert (terms.dtype, terms.shape) == (dtype, (3, 4, 3, 3))
    assert torch.allclose(terms.sum((2, 3)), distance, rtol=1e-6)
    assert torch.equal(pair_distance(drawn(3, 1, dtype=dtype), drawn(4, 2, dtype=dtype)), distance)


def test_distance_is_symmetric_and_zero_to_oneself() -> None:
    a, b = drawn(4, 1), drawn(5, 2)
    assert torch.allclose(pair_distance(a, b), pair_distance(b, a).T, rtol=1e-14)
    assert torch.equal(pair_distance(a, a).diagonal(), torch.zeros(4, dtype=torch.float64))


def test_near_neighbours_do_not_cancel() -> None:
    """In float32, 1e-3 beside 1000: the expanded square |a|^2 + |b|^2 - 2 a.b would be all rounding."""
    query = drawn(1, 1, dtype=torch.float32)
    far = Side(tuple(level + 1000 for level in query.levels), query.region_weights, query.level_weights)
    near = Side(tuple(level + 1e-3 for level in far.levels), far.region_weights, far.level_weights)
    exact = looped_terms(far, near, 1).sum()
    assert pair_distance(far, near).item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize("power", [1, 2])
def test_gradients_are_those_of_finite_differences(power: int) -> None:
    query, gallery = drawn(2, 1, 2, (3, 2)), drawn(2, 2, 2, (3, 2))
    inputs = [
        tensor.requires_grad_()
        for side in (query, gallery)
        for tensor in (*side.levels, side.region_weights, side.level_weights)
    ]

    def distance(*tensors: Tensor) -> Tensor:
        halves = tensors[:4], tensors[4:]
        return pair_distance(*(Side(tuple(half[:2]), half[2], half[3]) for half in halves), power)

    assert torch.autograd.gradcheck(distance, inputs)


def test_the_gradient_at_identical_vectors_is_zero_and_not_nan() -> None:
    query, gallery = drawn(1, 1), drawn(1, 1)
    for level in query.levels:
        level.requires_grad_()
    pair_distance(query, gallery).sum().backward()
    for level in query.levels:
        assert level.grad is not None
        assert torch.equal(level.grad, torch.zeros_like(level))


# The canonical distance


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("channels", [(1,), (63, 64, 65), (512, 1280, 1664)])
def test_canonical_distance_is_the_formula_in_float64(power: int, channels: tuple[int, ...]) -> None:
    query, gallery = drawn(4, 1, channels=channels), drawn(5, 2, channels=channels)
    canonical = canonical_distance(query, gallery, power)
    assert torch.allclose(canonical, pair_distance(query, gallery, power), rtol=1e-12, atol=0)
    assert torch.allclose(
        canonical_terms(query, gallery, power), looped_terms(query, gallery, power), rtol=1e-12, atol=0
    )


def test_canonical_distance_of_stored_features_is_that_of_their_float64_values() -> None:
    query, gallery = drawn(3, 1, dtype=torch.float32), drawn(4, 2, dtype=torch.float16)
    wide = [
        Side(
            tuple(level.double() for level in side.levels),
            side.region_weights.double(),
            side.level_weights.double(),
        )
        for side in (query, gallery)
    ]
    canonical = canonical_distance(query, gallery)
    assert canonical.dtype == torch.float64
    assert torch.equal(canonical, canonical_distance(*wide))


@settings(max_examples=30)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 2]), st.data())
def test_canonical_distance_does_not_depend_on_batch_chunk_or_order(
    queries: int, photos: int, width: int, power: int, data: st.DataObject
) -> None:
    query = drawn(queries, 1, 2, (width, 70 - width + 1), torch.float32)
    gallery = drawn(photos, 2, 2, (width, 70 - width + 1), torch.float16)
    whole = canonical_distance(query, gallery, power)

    chunk = data.draw(st.integers(1, photos))
    chunks = [canonical_distance(query, gallery[i : i + chunk], power) for i in range(0, photos, chunk)]
    assert torch.equal(torch.cat(chunks, 1), whole)

    order = torch.randperm(photos, generator=torch.Generator().manual_seed(photos))
    assert torch.equal(canonical_distance(query, gallery[order], power), whole[:, order])

    one = data.draw(st.integers(0, queries - 1))
    assert torch.equal(canonical_distance(query[one : one + 1], gallery, power), whole[one : one + 1])


@pytest.mark.parametrize("width", [1, 2, 3, 63, 64, 65, 1023, 1664])
def test_channels_are_summed_as_exactly_as_pairs_can_be(width: int) -> None:
    values = torch.rand(5, width, dtype=torch.float64, generator=torch.Generator().manual_seed(width))
    summed = sum_channels(values.clone())
    exact = torch.tensor([math.fsum(row) for row in values.tolist()], dtype=torch.float64)
    # A number takes part in the additions of its lane and of the folds, each within half a unit of the last place.
    additions = math.ceil(width / LANES) - 1 + math.ceil(math.log2(min(width, LANES)))
    assert ((summed - exact).abs() <= additions * 2**-53 * exact * 1.01).all()


@given(st.integers(1, 3 * LANES + 1), st.integers(0, 100))
def test_the_order_of_summation_is_fixed_by_the_number_of_channels(width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Of widely different sizes, so that another order gives other bits.
    values = torch.randn(width, generator=generator, dtype=torch.float64).mul(10).exp()
    folded = [0.0] * LANES
    for channel, value in enumerate(values.tolist()):
        folded[channel % LANES] += value
    while len(folded) > 1:
        half = len(folded) // 2
        folded = [folded[i] + folded[half + i] for i in range(half)]
    assert sum_channels(values.clone()).item() == folded[0]
    strided = values.repeat(3, 2, 1).transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(sum_channels(strided), torch.full((3, 2), folded[0], dtype=torch.float64))


# What is refused


@pytest.mark.parametrize("power", [0, 3, 1.5, None])
def test_a_power_that_is_not_1_or_2_is_refused(power: object) -> None:
    with pytest.raises(ValueError, match=r"region_weight_power is .*expected 1 \(paper\) or 2"):
        check_pair(drawn(2), drawn(2), power)  # type: ignore[arg-type]


@pytest.mark.parametrize("other", [drawn(2, regions=2), drawn(2, channels=(5, 8)), drawn(2, channels=(5, 8, 4))])
@pytest.mark.parametrize("function", [pair_distance, canonical_distance, canonical_terms])
def test_sides_that_differ_are_refused(function: object, other: Side) -> None:
    with pytest.raises(ValueError, match="query and gallery differ in regions, levels or channels"):
        function(drawn(2), other)  # type: ignore[operator]


def test_sides_that_agree_with_each_other_but_not_with_themselves_are_refused() -> None:
    good = drawn(2)
    fewer_levels = Side(good.levels[:2], good.region_weights, good.level_weights)
    fewer_regions = Side(good.levels, good.region_weights[:, :2], good.level_weights)
    cut = Side((good.levels[0][:, :2], *good.levels[1:]), good.region_weights, good.level_weights)
    for side in (fewer_levels, fewer_regions, cut):
        with pytest.raises(ValueError, match=r"inconsistent (query|gallery) features"):
            check_pair(side, side, 1)


def test_another_number_of_images_is_no_difference() -> None:
    check_pair(drawn(2), drawn(7), 2)
