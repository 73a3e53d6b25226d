"""The losses against the specification's words, one number at a time."""

import math
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from mlrm import MLRM, Features, MLRMConfig
from mlrm.losses import band_mismatch, bands, cama_overlap, lama_overlap, mlrm_losses

PAIRS = 3
LOSSES = ("gtrp_in", "gtrp_rn", "ltrp_in", "ltrp_rn", "overlap_sketch", "overlap_photo")


@cache
def model(**overrides: Any) -> MLRM:
    """In float64, so that loops and tensors agree to more digits than a mistake could hide in."""
    torch.manual_seed(0)
    config = MLRMConfig.paper(
        trunk="efficientnet_lite0", image_size=224, token_dim=16, transformer_layers=1, **overrides
    )
    return MLRM(config).double().eval()


@torch.no_grad()
def drawn(model: MLRM, seed: int, images: int = PAIRS) -> Features:
    """Random features of the model, with weights that the model gives them."""
    generator = torch.Generator().manual_seed(seed)
    regions = model.config.regions

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    # About 0.3 apart, as far as the margins are: hinges on both sides of zero.
    unscaled = tuple(normal(images, regions, channels) * 0.2 / math.sqrt(channels) for channels in model.level_channels)
    return model.weigh(unscaled, normal(images, regions, 7, 7).sigmoid())


def looped_distance(config: MLRMConfig, sketch: Features, i: int, photo: Features, j: int) -> float:
    total = 0.0
    for level, region in product(range(len(config.levels)), range(config.regions)):
        lam = (sketch.level_weights[i, region, level] + photo.level_weights[j, region, level]).item() / 2
        rho = (sketch.region_weights[i, region] + photo.region_weights[j, region]).item() / 2
        vectors = sketch.levels[level][i, region].tolist(), photo.levels[level][j, region].tolist()
        total += lam * rho**config.region_weight_power * math.dist(*vectors)
    return total


def swapped_photos(model: MLRM, photo: Features, swapped_regions: list[int]) -> Features:
    """Each photo with one region of each level replaced by that of the photo before it, in a circle."""
    assert photo.unscaled_levels is not None
    assert photo.maps is not None
    levels = [level.clone() for level in photo.unscaled_levels]
    for level, region in enumerate(swapped_regions):
        for image in range(len(photo)):
            previous = image - 1 if image else len(photo) - 1
            levels[level][image, region] = photo.unscaled_levels[level][previous, region]
    return model.weigh(tuple(levels), photo.maps)


def looped_losses(model: MLRM, sketch: Features, photo: Features, swapped_regions: list[int]) -> dict[str, float]:
    config, images = model.config, range(len(sketch))
    swapped = swapped_photos(model, photo, swapped_regions)
    losses = dict.fromkeys(LOSSES, 0.0)

    negatives = [(i, j) for i, j in product(images, images) if i != j]
    for i, j in negatives:
        own = looped_distance(config, sketch, i, photo, i)
        other = looped_distance(config, sketch, i, photo, j)
        with_swap = looped_distance(config, sketch, i, swapped, j)
        losses["gtrp_in"] += max(0.0, own - other + config.margin) / len(negatives)
        losses["gtrp_rn"] += max(0.0, own - with_swap + config.beta * config.margin) / len(negatives)

    cells = list(product(images, range(config.regions)))
    for number, level in enumerate(config.levels):
        margin = config.margin * (1 + math.exp(-level))
        for (i, r), (j, s) in product(cells, cells):
            if (i, r) == (j, s):
                continue
            anchor = sketch.levels[number][i, r].tolist()
            own = math.dist(anchor, photo.levels[number][i, r].tolist())
            other = math.dist(anchor, photo.levels[number][j, s].tolist())
            name, factor = ("ltrp_rn", config.alpha) if i == j else ("ltrp_in", 1.0)
            share = max(0.0, own - other + factor * margin) / (len(cells) * (len(cells) - 1))
            losses[name] += share

    overlap = looped_lama_overlap if config.overlap_penalty == "lama" else looped_cama_overlap
    assert sketch.maps is not None
    assert photo.maps is not None
    losses["overlap_sketch"], losses["overlap_photo"] = overlap(sketch.maps), overlap(photo.maps)
    return losses


def looped_lama_overlap(maps: Tensor) -> float:
    regions = maps.shape[1]
    total = 0.0
    for image, r in product(maps.tolist(), range(regions)):
        for y, x in product(range(maps.shape[2]), range(maps.shape[3])):
            total += image[r][y][x] * max(image[s][y][x] for s in range(regions) if s != r)
    return total / (regions * (regions - 1) * len(maps))


def looped_cama_overlap(maps: Tensor) -> float:
    regions = maps.shape[1]
    total = 0.0
    for image in maps.tolist():
        for y, x in product(range(maps.shape[2]), range(maps.shape[3])):
            total += math.prod(image[r][y][x] for r in range(regions))
    return total / (regions * len(maps))


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"region_weight_power": 2, "level_softmax": "regions"},
        {"margin": 0.05, "alpha": 0.7, "beta": 2.0},
        {"l2norm": True, "margin": 1.0, "alpha": 0.5},
        {"overlap_penalty": "cama", "regions": 2},
        {"levels": (0, 3), "regions": 4},
        {"regions": 2, "levels": (2,)},
    ],
    ids=lambda overrides: " ".join(f"{key}={value}" for key, value in overrides.items()) or "default",
)
def test_losses_are_what_the_specification_says(overrides: dict[str, Any]) -> None:
    given = model(**overrides)
    sketch, photo = drawn(given, 1), drawn(given, 2)
    regions = [(2 * level + 1) % given.config.regions for level in range(len(given.config.levels))]
    expected = looped_losses(given, sketch, photo, regions)
    losses = mlrm_losses(sketch, photo, given, swapped_regions=regions)
    assert set(losses) == {*LOSSES, "total"}
    for name in LOSSES:
        assert losses[name].item() == pytest.approx(expected[name], rel=1e-10), name
    assert losses["total"].item() == pytest.approx(sum(expected.values()), rel=1e-10)
    assert min(expected[name] for name in LOSSES) > 0


def test_hinges_of_pairs_far_better_than_the_negatives_are_zero() -> None:
    given = model()
    photo = drawn(given, 1)
    far = Features(
        tuple(
            level + 100 * torch.arange(PAIRS * 3).view(PAIRS, 3, 1) / math.sqrt(level.shape[2])
            for level in photo.levels
        ),
        photo.region_weights,
        photo.level_weights,
        photo.maps,
    )
    losses = mlrm_losses(far, far, given, swapped_regions=[0, 0, 0])
    assert [losses[name].item() for name in LOSSES[:4]] == [0, 0, 0, 0]


def test_the_swap_takes_unscaled_features_for_the_tokens() -> None:
    """With l2norm the weights of swapped photos come from vectors of their own lengths, not of length 1."""
    given = model(l2norm=True)
    sketch, photo = drawn(given, 1), drawn(given, 2)
    assert photo.unscaled_levels is not None
    stretched = replace(photo, unscaled_levels=tuple(5 * level for level in photo.unscaled_levels))
    losses, other = (mlrm_losses(sketch, features, given, swapped_regions=[0, 1, 2]) for features in (photo, stretched))
    assert {name for name in LOSSES if losses[name] != other[name]} == {"gtrp_rn"}


def test_features_without_unscaled_levels_are_swapped_as_they_are() -> None:
    given = model()
    sketch, photo = drawn(given, 1), drawn(given, 2)
    losses = mlrm_losses(sketch, photo, given, swapped_regions=[0, 1, 2])
    stored = mlrm_losses(sketch, replace(photo, unscaled_levels=None), given, swapped_regions=[0, 1, 2])
    assert stored == losses


def test_the_swapped_regions_are_drawn_from_the_generator() -> None:
    given = model()
    sketch, photo = drawn(given, 1), drawn(given, 2)

    def region_negative(seed: int) -> float:
        generator = torch.Generator().manual_seed(seed)
        return mlrm_losses(sketch, photo, given, generator=generator)["gtrp_rn"].item()

    drawn_losses = [region_negative(seed) for seed in range(12)]
    assert drawn_losses == [region_negative(seed) for seed in range(12)]
    assert len(set(drawn_losses)) > 3
    by_region = {
        mlrm_losses(sketch, photo, given, swapped_regions=list(regions))["gtrp_rn"].item()
        for regions in product(range(3), repeat=3)
    }
    assert set(drawn_losses) <= by_region


def test_gradients_of_the_losses_are_finite_where_sketch_and_photo_are_equal() -> None:
    given = model()
    photo = drawn(given, 1)
    levels = tuple(level.clone().requires_grad_() for level in photo.levels)
    sketch = replace(photo, levels=levels)
    mlrm_losses(sketch, photo, given)["total"].backward()
    assert all(level.grad is not None and level.grad.isfinite().all() for level in levels)


# The penalties


@pytest.mark.parametrize("regions", [2, 3, 5])
def test_overlap_penalties_are_what_the_specification_says(regions: int) -> None:
    maps = torch.rand(2, regions, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(regions))
    assert lama_overlap(maps).item() == pytest.approx(looped_lama_overlap(maps), rel=1e-12)
    assert cama_overlap(maps).item() == pytest.approx(looped_cama_overlap(maps), rel=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_bands_are_equal_and_cover_every_row_once_from_the_top(count: int) -> None:
    shares = bands(count, 8)
    torch.testing.assert_close(shares.sum(0), torch.ones(8))
    torch.testing.assert_close(shares.sum(1), torch.full((count,), 8 / count))
    middles = (shares @ torch.arange(8.0)).tolist()
    assert middles == sorted(middles)


@pytest.mark.parametrize("regions", [1, 2, 3])
def test_the_mismatch_goes_from_0_for_bands_to_1_for_maps_elsewhere(regions: int) -> None:
    maps = bands(regions, 7).double()[None, :, :, None].expand(2, -1, -1, 8)
    assert band_mismatch(0.5 * maps).item() == pytest.approx(0, abs=1e-12)
    assert band_mismatch((maps == 0).double()).item() == pytest.approx(1)


def test_regions_that_share_no_cell_do_not_overlap() -> None:
    maps = torch.zeros(1, 3, 7, 7)
    for region in range(3):
        maps[0, region, 2 * region : 2 * region + 2] = 1
    assert lama_overlap(maps) == cama_overlap(maps) == 0
    maps[0, 1, 0, 0] = 1  # shared by two of three
    assert lama_overlap(maps) > 0
    assert cama_overlap(maps) == 0


def test_one_region_overlaps_with_nothing() -> None:
    maps = torch.rand(2, 1, 7, 7, requires_grad=True)
    assert lama_overlap(maps) == 0
    given = model(regions=1)
    losses = mlrm_losses(drawn(given, 1), drawn(given, 2), given)
    assert losses["overlap_sketch"] == losses["ltrp_rn"] == 0
    assert losses["total"].isfinite()


# What is refused


@pytest.mark.parametrize(("sketches", "photos"), [(3, 2), (2, 3), (1, 1), (0, 0)])
def test_unequal_or_single_pairs_are_refused(sketches: int, photos: int) -> None:
    given = model()
    sketch, photo = drawn(given, 1)[:sketches], drawn(given, 2)[:photos]
    message = f"{sketches} sketches and {photos} photos; expected the same number, at least 2"
    with pytest.raises(ValueError, match=message):
        mlrm_losses(sketch, photo, given)


def test_features_without_maps_are_refused() -> None:
    given = model()
    sketch, photo = drawn(given, 1), drawn(given, 2)
    with pytest.raises(ValueError, match="carry no region maps"):
        mlrm_losses(sketch, replace(photo, maps=None), given)
