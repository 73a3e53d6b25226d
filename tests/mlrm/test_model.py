import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mlrm import MLRM, Features, MLRMConfig
from mlrm.checkpoint import load, save
from mlrm.losses import mlrm_losses
from mlrm.model import Network
from mlrm.regions import CAMA, LAMA

SIDE = 224


def lite(**overrides: Any) -> MLRMConfig:
    return MLRMConfig.paper(trunk="efficientnet_lite0", image_size=SIDE, **overrides)


def drawn_images(count: int, height: int = SIDE, width: int = SIDE, seed: int = 0) -> Tensor:
    """Random colours in 16 x 16 squares, uint8: images that still differ deep inside a trunk."""
    generator = torch.Generator().manual_seed(seed)
    squares = torch.randint(0, 256, (count, 3, height // 16, width // 16), generator=generator, dtype=torch.uint8)
    return squares.repeat_interleave(16, 2).repeat_interleave(16, 3)


def settled(config: MLRMConfig, seed: int = 0) -> MLRM:
    """A random model whose BatchNorm has seen images: without, its features would hardly depend on them."""
    torch.manual_seed(seed)
    model = MLRM(config).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        for domain in ("sketch", "photo"):
            model(drawn_images(4, config.image_size, config.image_size, seed=9), domain)
    return model.eval()


@cache
def lite_model() -> MLRM:
    return settled(lite())


@cache
def densenet_model() -> MLRM:
    return settled(MLRMConfig.paper(image_size=SIDE))


@torch.no_grad()
def describe(model: MLRM, images: Tensor, domain: Any = None) -> Features:
    features: Features = model(images, domain)
    return features


def tensors(features: Features) -> dict[str, Tensor]:
    assert features.maps is not None
    levels = {f"level {number}": level for number, level in enumerate(features.levels)}
    rest = {"rho": features.region_weights, "lambda": features.level_weights, "maps": features.maps}
    return levels | rest


def largest_difference(a: Features, b: Features) -> float:
    """Of the largest entry of each tensor, over all of them."""
    return max(
        ((x - y).abs().max() / y.abs().max()).item()
        for x, y in zip(tensors(a).values(), tensors(b).values(), strict=True)
    )


# Shapes


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    **{f"R{regions}": {"regions": regions} for regions in (1, 2, 4, 5)},
    **{"levels" + "".join(map(str, levels)): {"levels": levels} for levels in ((0,), (1,), (3,), (2, 3), (0, 1, 2, 3))},
    "narrow": {"token_dim": 32, "attention_heads": 2, "transformer_layers": 1},
    "m0": {"threshold_cells": 0},
    "m5": {"threshold_cells": 5},
    "l2norm": {"l2norm": True},
    "cama": {"region_maps": "cama", "overlap_penalty": "cama"},
    "cama1": {"region_maps": "cama", "levels": (1,)},
    "separate": {"shared_networks": False},
    "authors": {"attention_over": "batch", "level_softmax": "regions", "region_weight_power": 2},
}


def check_features(features: Features, config: MLRMConfig, channels: tuple[int, ...], grid: int) -> None:
    """Shapes, ranges and what sums to 1, of the features of 2 images."""
    regions, levels = config.regions, config.levels
    assert [level.shape for level in features.levels] == [(2, regions, channels[level]) for level in levels]
    assert features.region_weights.shape == (2, regions)
    assert features.level_weights.shape == (2, regions, len(levels))
    assert features.maps is not None
    assert features.maps.shape == (2, regions, grid, grid)
    assert all(tensor.dtype == torch.float32 for tensor in tensors(features).values())
    assert all(tensor.isfinite().all() for tensor in tensors(features).values())
    assert ((features.maps >= 0) & (features.maps <= 1)).all()
    assert torch.allclose(features.region_weights.sum(1), torch.ones(2))
    summed = features.level_weights.sum(2 if config.level_softmax == "levels" else 1)
    assert torch.allclose(summed, torch.ones_like(summed))
    assert features.unscaled_levels is not None
    for level, unscaled in zip(features.levels, features.unscaled_levels, strict=True):
        assert unscaled.shape == level.shape
        if config.l2norm:
            assert torch.allclose(level.norm(dim=2), torch.ones(2, regions))
            assert torch.allclose(level * unscaled.norm(dim=2, keepdim=True), unscaled, atol=1e-6)
        else:
            assert torch.equal(level, unscaled)


@pytest.mark.parametrize("overrides", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_features_of_the_light_trunk(overrides: dict[str, Any]) -> None:
    config = lite(**overrides)
    features = describe(MLRM(config).eval(), drawn_images(2), "photo")
    check_features(features, config, (128, 256, 512, 1280), 7)


@pytest.mark.parametrize("overrides", [{}, {"levels": (0, 1, 2, 3), "region_maps": "cama", "regions": 2}])
def test_features_of_densenet(overrides: dict[str, Any]) -> None:
    config = MLRMConfig.paper(**overrides)
    features = describe(MLRM(config).eval(), drawn_images(2, 256, 256))
    check_features(features, config, (256, 512, 1280, 1664), 8)


def test_the_default_is_the_paper_with_densenet() -> None:
    assert MLRM().config == MLRMConfig.paper()


def test_region_features_are_means_over_the_grid_of_masked_maps() -> None:
    model, images = lite_model(), drawn_images(2)
    network = model.network()
    with torch.no_grad():
        level_maps, maps = network(network.trunk.early(network.normalise(images)))
        features = model.describe(level_maps, maps)
    for level, level_map in zip(features.levels, level_maps, strict=True):
        expected = (maps[:, :, None] * level_map[:, None]).mean((3, 4))
        assert torch.allclose(level, expected, rtol=1e-4, atol=1e-6)


def test_a_float64_model_computes_in_float64() -> None:
    features = describe(MLRM(lite()).double().eval(), drawn_images(2))
    assert {tensor.dtype for tensor in tensors(features).values()} == {torch.float64}


def test_features_are_float32_under_mixed_precision() -> None:
    model = lite_model()
    network = model.network()
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            level_maps, maps = network(network.trunk.early(network.normalise(drawn_images(2))))
        assert level_maps[0].dtype == torch.bfloat16
        features = model.describe(level_maps, maps)
    assert {tensor.dtype for tensor in tensors(features).values()} == {torch.float32}


# The images


def test_uint8_and_float_images_give_the_same_features() -> None:
    images = drawn_images(2)
    features, of_floats = (
        describe(lite_model(), images),
        describe(lite_model(), images.float() / 255),
    )
    assert largest_difference(features, of_floats) == 0


@pytest.mark.parametrize("model", [lite_model, densenet_model])
def test_normalisation_is_the_trunks(model: Callable[[], MLRM]) -> None:
    network = model().network()
    white, black = (network.normalise(torch.full((1, 3, 1, 1), value)) for value in (1.0, 0.0))
    mean, std = (torch.tensor(values) for values in (network.trunk.mean, network.trunk.std))
    assert torch.allclose(white.flatten(), (1 - mean) / std)
    assert torch.allclose(black.flatten(), -mean / std)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (224, 288), (256, 224)])
def test_multiples_of_32_from_224_on_are_taken(height: int, width: int) -> None:
    features = describe(lite_model(), drawn_images(1, height, width))
    assert features.maps is not None
    assert features.maps.shape == (1, 3, height // 32, width // 32)


@pytest.mark.parametrize(("height", "width"), [(192, 192), (192, 256), (256, 192), (1, 1), (240, 240), (256, 250)])
def test_other_sizes_are_refused_with_the_smallest_that_works(height: int, width: int) -> None:
    images = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    message = rf"{height} x {width} pixels; expected multiples of 32, at least 224 x 224.*7 x 7 cells"
    with pytest.raises(ValueError, match=message):
        describe(lite_model(), images)


@pytest.mark.parametrize("shape", [(3, 224, 224), (1, 1, 224, 224), (1, 4, 224, 224), (1, 224, 224, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images have shape \(.*expected \[B, 3, H, W\], RGB"):
        describe(lite_model(), torch.zeros(shape, dtype=torch.uint8))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool, torch.complex64])
def test_other_types_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"images are torch\..*expected uint8, or floating point"):
        describe(lite_model(), torch.zeros((1, 3, SIDE, SIDE), dtype=dtype))


@pytest.mark.parametrize("model", [lite_model, densenet_model])
def test_the_network_leaves_images_and_early_maps_as_they_are(model: Callable[[], MLRM]) -> None:
    """Training caches early maps: an in-place layer must not write into them."""
    network = model().network()
    with torch.no_grad():
        normalised = network.normalise(drawn_images(1))
        before = normalised.clone()
        early = network.trunk.early(normalised)
        assert torch.equal(normalised, before)
        copies = [level.clone() for level in early]
        network(early)
    assert all(torch.equal(level, copy) for level, copy in zip(early, copies, strict=True))


# One image, one description


@pytest.mark.parametrize("model", [lite_model, densenet_model])
def test_features_of_an_image_do_not_depend_on_its_batch(model: Callable[[], MLRM]) -> None:
    images = drawn_images(4)
    together = describe(model(), images)
    alone = Features.cat([describe(model(), images[i : i + 1]) for i in range(4)])
    assert largest_difference(together, alone) < 1e-4
    # Which says something only if the images do differ.
    assert largest_difference(together[[1, 2, 3, 0]], together) > 1e-2
    assert (together.level_weights[1:] - together.level_weights[:-1]).abs().amin(0).max() > 1e-4


def test_the_released_form_depends_on_the_batch() -> None:
    model = settled(lite(attention_over="batch", level_softmax="regions", region_weight_power=2))
    images = drawn_images(4)
    together, alone = describe(model, images), describe(model, images[:1])
    assert torch.allclose(together.levels[0][:1], alone.levels[0], rtol=1e-3, atol=1e-5)
    assert (together.level_weights[:1] - alone.level_weights).abs().max() > 1e-4


# Sketches and photos


def test_separate_networks_describe_an_image_each_in_its_way_and_share_the_weighting() -> None:
    model = settled(lite(shared_networks=False))
    assert len(model.networks) == 2
    assert sum(isinstance(module, type(model.rla)) for module in model.modules()) == 1
    sketch, photo = (describe(model, drawn_images(2), domain) for domain in ("sketch", "photo"))
    assert largest_difference(sketch, photo) > 1e-2


def test_separate_networks_need_to_know_the_domain() -> None:
    with pytest.raises(ValueError, match="say domain='sketch' or 'photo'"):
        describe(MLRM(lite(shared_networks=False)), drawn_images(1))


def test_one_network_serves_both_domains() -> None:
    images = drawn_images(1)
    sketch, photo, either = (describe(lite_model(), images, domain) for domain in ("sketch", "photo", None))
    assert largest_difference(sketch, photo) == largest_difference(sketch, either) == 0


def test_an_unknown_domain_is_refused() -> None:
    with pytest.raises(ValueError, match=r"domain is 'image'; expected 'sketch' or 'photo'"):
        describe(lite_model(), drawn_images(1), "image")


# Gradients

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


# Why the passes of the tail are one batch


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


# The fingerprint


def twin(model: MLRM, **changes: Any) -> MLRM:
    """The same weights under a configuration with changes."""
    other = MLRM(replace(model.config, **changes))
    other.load_state_dict(model.state_dict())
    return other


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold_cells": 4},
        {"l2norm": True},
        {"level_softmax": "regions"},
        {"region_weight_power": 2},
        {"attention_over": "batch"},
        {"attention_heads": 2},
        {"image_size": 256},
    ],
    ids=str,
)
def test_the_fingerprint_changes_with_what_changes_features_or_distances(changes: dict[str, Any]) -> None:
    assert twin(lite_model(), **changes).fingerprint() != lite_model().fingerprint()


@pytest.mark.parametrize(
    "changes",
    [{"dropout": 0.2, "margin": 0.5, "alpha": 0.3, "beta": 0.2}, {"overlap_penalty": "cama"}],
    ids=str,
)
def test_the_fingerprint_does_not_change_with_what_only_training_uses(changes: dict[str, Any]) -> None:
    assert twin(lite_model(), **changes).fingerprint() == lite_model().fingerprint()


@pytest.mark.parametrize("name", ["networks.0.trunk._conv_stem.weight", "networks.0.trunk._bn1.running_mean"])
def test_the_fingerprint_changes_with_the_least_change_of_a_weight_or_statistic(name: str) -> None:
    model = twin(lite_model())
    value = model.state_dict()[name].flatten()[-1]
    value.copy_(torch.nextafter(value, torch.tensor(torch.inf)))
    assert model.fingerprint() != lite_model().fingerprint()


def test_the_fingerprint_ignores_step_counters_and_memory_layout() -> None:
    model = twin(lite_model()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.network().trunk._bn1.num_batches_tracked += 1
    assert model.fingerprint() == lite_model().fingerprint()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_fingerprint_survives_saving_and_loading(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    save(lite_model(), path)
    assert load(path).fingerprint() == lite_model().fingerprint()
