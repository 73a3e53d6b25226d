"""Which parameters a loss reaches, and through what."""

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mlrm import MLRM, MLRMConfig
from mlrm.losses import mlrm_losses
from tests.mlrm.models import (
    SIDE,
    drawn_images,
    lite,
    lite_model,
)

SHIFT_CANCELS = re.compile(
    # A linear bottleneck goes to 1 x 1 convolutions, each with a BatchNorm, alone (blocks 3, 4 and 8 to 10
    # also to a reduction, which has none).
    r"networks\.\d\.trunk\._blocks\.([012567]|1[1-5])\._bn2\.bias"
    r"|networks\.\d\.regions\.tails\.\d\.[0-4]\._bn2\.bias"
    # Into a BatchNorm, by way of the heads' first linear map or not; the heads' last bias into a softmax.
    r"|rla\.geometry_encoder\.0\.bias|rla\.transformer\.layers\.2\.linear2\.bias"
    r"|rla\.(level|region)_head\.[03]\.bias"
)
"""Biases of which training finds the same loss whatever they are: a shift that the next layer takes out again."""


def gradients(config: MLRMConfig, dtype: torch.dtype, pairs: int) -> dict[str, Tensor | None]:
    """Of the total loss in train mode; 0 for what rounds to 0 in float64."""
    torch.manual_seed(0)
    model = MLRM(replace(config, dropout=0.0)).to(dtype).train()
    sketch = model(drawn_images(pairs, seed=1), "sketch")
    photo = model(drawn_images(pairs, seed=2), "photo")
    mlrm_losses(sketch, photo, model)["total"].backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"region_maps": "cama", "overlap_penalty": "cama"},
        {"shared_networks": False, "l2norm": True},
        {"attention_over": "batch", "level_softmax": "regions", "region_weight_power": 2},
    ],
    ids=["lama", "cama", "separate", "authors"],
)
def test_gradients_reach_every_parameter(overrides: dict[str, Any]) -> None:
    found = gradients(lite(**overrides), torch.float64, pairs=2 if overrides else 3)
    without = {name for name, grad in found.items() if grad is None or grad.abs().max() < 1e-11}
    assert without == {name for name in found if SHIFT_CANCELS.fullmatch(name)}
    if "region_maps" not in overrides:
        assert any(".regions.indicator." in name for name in found)


def test_gradients_flow_into_maps_from_features_and_penalties_and_not_from_positions() -> None:
    model = lite_model()
    maps = torch.rand(2, 3, 7, 7, requires_grad=True)
    unscaled = tuple(torch.randn(2, 3, channels) for channels in model.level_channels)
    weighed = model.weigh(unscaled, maps)
    weights = weighed.region_weights[0, 0] + weighed.level_weights[0, 0, 0]
    assert torch.autograd.grad(weights, maps, allow_unused=True) == (None,)
    assert weighed.maps is maps

    level_maps = tuple(torch.randn(2, channels, 7, 7) for channels in model.level_channels)
    described = model.describe(level_maps, maps)
    assert described.maps is not None
    for used in (described.maps, *described.levels):
        (grad,) = torch.autograd.grad(used.sum(), maps, retain_graph=True)
        assert grad.abs().amax((0, 2, 3)).gt(0).all()


def test_gradients_reach_every_parameter_of_densenet() -> None:
    found = gradients(MLRMConfig.paper(image_size=SIDE), torch.float32, pairs=2)
    assert [name for name, grad in found.items() if grad is None or not grad.isfinite().all()] == []
    indicator = {name: grad for name, grad in found.items() if ".regions.indicator." in name}
    assert len(indicator) == 4
    # What rounding leaves of a gradient of 0 is known from the biases that a BatchNorm takes out.
    zero = max(grad.abs().max() for name, grad in found.items() if grad is not None and SHIFT_CANCELS.fullmatch(name))
    assert all(grad is not None and grad.abs().max() > 10 * zero for grad in indicator.values())


def test_cama_without_level_3_trains_the_copies_of_the_tail_alone() -> None:
    found = gradients(lite(region_maps="cama", levels=(1,)), torch.float32, pairs=2)
    without = {name for name, grad in found.items() if grad is None}
    tail = re.compile(r"networks\.0\.trunk\.(_blocks\.1[1-5]|_conv_head|_bn1)\..*")
    assert without == {name for name in found if tail.fullmatch(name)}
