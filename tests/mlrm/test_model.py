"""The model: shapes of its features, the images it takes, sketches and photos."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mlrm import MLRM, Features, MLRMConfig
from tests.mlrm.models import (
    SIDE,
    densenet_model,
    describe,
    drawn_images,
    largest_difference,
    lite,
    lite_model,
    settled,
    tensors,
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
