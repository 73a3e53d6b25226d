import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from mlrm.regions import SpatialAttention, threshold_maps


def distinct_logits(batch: int, regions: int, side: int, seed: int = 0) -> torch.Tensor:
    """Logits of which no two of a map are equal or so near that their sigmoids round to the same number."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(side * side, generator=generator) for _ in range(batch * regions)]).float()
    return (order / 10 - 2).view(batch, regions, side, side)


@given(st.integers(1, 64), st.integers(0, 1000))
def test_exactly_m_cells_reach_one_half(cells: int, seed: int) -> None:
    logits = distinct_logits(2, 3, 8, seed)
    maps = threshold_maps(logits, cells)
    reached = maps >= 0.5
    largest = logits.flatten(2).topk(cells).indices
    assert torch.equal(reached.flatten(2), torch.zeros(2, 3, 64, dtype=torch.bool).scatter(2, largest, True))
    # The m-th reaches it and no more.
    assert torch.equal(maps.where(reached, 2.0).amin((2, 3)), torch.full((2, 3), 0.5))


def test_maps_do_not_depend_on_a_constant_added_to_the_logits() -> None:
    logits = distinct_logits(2, 3, 8).double()
    assert torch.allclose(threshold_maps(logits, 3), threshold_maps(logits + 5, 3), rtol=1e-12)


def test_a_threshold_of_zero_cells_is_a_plain_sigmoid() -> None:
    logits = torch.randn(2, 3, 8, 8)
    assert torch.equal(threshold_maps(logits, 0), torch.sigmoid(logits))


def test_gradients_flow_through_the_threshold() -> None:
    logits = distinct_logits(1, 1, 7).requires_grad_()
    threshold_maps(logits, 3).sum().backward()
    assert logits.grad is not None
    # The threshold's own cell gets the opposite of all others: a map is the same for logits shifted together.
    own = logits.detach().flatten().topk(3).indices[-1]
    others = torch.arange(49) != own
    grad = logits.grad.flatten()
    assert (grad[others] > 0).all()
    assert grad[own].item() == pytest.approx(-grad[others].sum().item(), rel=1e-5)


def test_gradients_of_the_threshold_are_those_of_finite_differences() -> None:
    logits = distinct_logits(1, 2, 3).double().requires_grad_()
    assert gradcheck(lambda values: threshold_maps(values, 2), logits)


def test_attention_sees_means_first_and_then_maxes() -> None:
    attention = SpatialAttention(3).eval()
    low = [torch.randn(2, channels, 7, 7) for channels in (4, 6)]
    region_levels = torch.randn(2, 5, 8, 7, 7)
    seen: list[torch.Tensor] = []
    attention.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert attention(low, region_levels).shape == (2, 5, 7, 7)
    planes = seen[0].unflatten(0, (2, 5))
    for region in range(5):
        levels = [*low, region_levels[:, region]]
        expected = [level.mean(1) for level in levels] + [level.amax(1) for level in levels]
        assert torch.equal(planes[:, region], torch.stack(expected, 1))


def test_a_region_attends_without_seeing_the_others() -> None:
    attention = SpatialAttention(2).eval()
    low, region_levels = [torch.randn(2, 4, 7, 7)], torch.randn(2, 3, 8, 7, 7)
    together = attention(low, region_levels)
    for region in range(3):
        alone = attention(low, region_levels[:, region : region + 1])
        assert torch.allclose(together[:, region], alone[:, 0], atol=1e-5)
