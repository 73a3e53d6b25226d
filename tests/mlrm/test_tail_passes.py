"""Why the passes of the tail are one batch."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mlrm import MLRM, MLRMConfig
from mlrm.model import Network
from mlrm.regions import CAMA, LAMA
from tests.mlrm.models import densenet_model, describe, drawn_images, lite, lite_model, settled


def x3_and_constants(network: Network) -> tuple[Tensor, Tensor]:
    assert isinstance(network.regions, LAMA)
    with torch.no_grad():
        x3 = network.trunk.middle(network.trunk.early(network.normalise(drawn_images(3)))[1])
        return x3, network.regions.indicator(torch.eye(network.regions.regions, dtype=x3.dtype))


@torch.no_grad()
def outputs_pass_by_pass(network: Network) -> list[Tensor]:
    x3, constants = x3_and_constants(network)
    return [network.trunk.tail(x3 + constant[:, None, None]) for constant in constants]


def relative_difference(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("trunk", ["efficientnet_lite0", "densenet169"])
def test_in_train_mode_passes_one_by_one_cannot_tell_regions_apart(trunk: str) -> None:
    torch.manual_seed(0)
    network = MLRM(lite() if trunk == "efficientnet_lite0" else MLRMConfig.paper()).double().train().network()
    first, second, third = outputs_pass_by_pass(network)
    assert relative_difference(first, second) < 1e-9
    assert relative_difference(first, third) < 1e-9


def test_with_frozen_statistics_passes_one_by_one_tell_regions_apart() -> None:
    first, second, _ = outputs_pass_by_pass(lite_model().network())
    assert relative_difference(first, second) > 1e-3


@pytest.mark.parametrize("model", [lite_model, densenet_model])
def test_regions_start_as_far_apart_as_x3_varies(model: Callable[[], MLRM]) -> None:
    """Regions that start as one stay one: equal maps get equal gradients."""
    network = model().network()
    assert isinstance(network.regions, LAMA)
    spread = network.regions.constants().std(0).mean().item()
    assert spread == pytest.approx(network.trunk.x3_std, rel=1e-3)


@pytest.mark.parametrize("train", [True, False])
def test_regions_differ_in_train_mode_and_in_eval_mode(train: bool) -> None:
    model = settled(lite()).train(train)
    maps = describe(model, drawn_images(3)).maps
    assert maps is not None
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (maps[:, one] - maps[:, other]).abs().max() > 1e-3


def test_in_eval_mode_one_batched_pass_equals_passes_one_by_one() -> None:
    network = lite_model().network()
    seen: list[Tensor] = []
    hook = network.regions.attention.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    describe(lite_model(), drawn_images(3))
    hook.remove()
    expected = torch.stack(outputs_pass_by_pass(network), 1)
    assert relative_difference(seen[0], expected) < 1e-4


def test_each_region_of_cama_has_a_tail_of_its_own() -> None:
    model = settled(lite(region_maps="cama"))
    before = describe(model, drawn_images(2)).maps
    regions = model.network().regions
    assert isinstance(regions, CAMA)
    with torch.no_grad():
        for parameter in regions.tails[1].parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    after = describe(model, drawn_images(2)).maps
    assert before is not None
    assert after is not None
    changed = (after - before).abs().amax((0, 2, 3)) > 1e-3
    assert changed.tolist() == [False, True, False]
