"""The four triplet losses and both overlap penalties (spec section 6, Table 3 of the paper)."""

import math

import torch
from torch import Tensor

from mlrm.distance import pair_distance
from mlrm.features import Features
from mlrm.model import MLRM


def mlrm_losses(
    sketch: Features,
    photo: Features,
    model: MLRM,
    *,
    swapped_regions: list[int] | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """The named losses of B pairs: sketch i shows photo i.

    sketch, photo: `Features` of B >= 2 images each, as `model` returns them (with maps).
    model: gives the configuration (margins, power) and recomputes the weights of swapped photos.
    swapped_regions: the region that gtrp-rn swaps at each of the L levels; drawn from `generator` if not given.
    Returns scalars: gtrp_in, gtrp_rn, ltrp_in, ltrp_rn, overlap_sketch, overlap_photo and their sum, total.
    Raises `ValueError` for unequal or single pairs.
    """
    if len(sketch) != len(photo) or len(photo) < 2:
        raise ValueError(f"{len(sketch)} sketches and {len(photo)} photos; expected the same number, at least 2")
    if sketch.maps is None or photo.maps is None:
        raise ValueError("the features carry no region maps; expected those that the model returned")
    config = model.config
    if swapped_regions is None:
        swapped_regions = torch.randint(config.regions, (len(config.levels),), generator=generator).tolist()

    distance = pair_distance(sketch, photo, config.region_weight_power)
    swapped = _swap_regions(photo, model, swapped_regions)
    swapped_distance = pair_distance(sketch, swapped, config.region_weight_power)
    positive = distance.diagonal()[:, None]
    overlap = lama_overlap if config.overlap_penalty == "lama" else cama_overlap
    local_in, local_rn = _local_losses(sketch, photo, config.levels, config.margin, config.alpha)
    losses = {
        "gtrp_in": _off_diagonal_hinge(positive - distance + config.margin),
        "gtrp_rn": _off_diagonal_hinge(positive - swapped_distance + config.beta * config.margin),
        "ltrp_in": local_in,
        "ltrp_rn": local_rn,
        "overlap_sketch": overlap(sketch.maps),
        "overlap_photo": overlap(photo.maps),
    }
    return losses | {"total": torch.stack(list(losses.values())).sum()}


def _off_diagonal_hinge(values: Tensor) -> Tensor:
    off_diagonal = ~torch.eye(len(values), dtype=torch.bool, device=values.device)
    return values.relu()[off_diagonal].mean()


def _swap_regions(photo: Features, model: MLRM, regions: list[int]) -> Features:
    """Per level, one region's unscaled feature of every photo becomes the previous photo's, cyclically."""
    unscaled = photo.levels if photo.unscaled_levels is None else photo.unscaled_levels
    swapped = []
    for level, region in zip(unscaled, regions, strict=True):
        columns = list(level.unbind(1))
        columns[region] = columns[region].roll(1, 0)
        swapped.append(torch.stack(columns, 1))
    assert photo.maps is not None
    return model.weigh(tuple(swapped), photo.maps)


def _local_losses(
    sketch: Features, photo: Features, levels: tuple[int, ...], margin: float, alpha: float
) -> tuple[Tensor, Tensor]:
    """ltrp-in and ltrp-rn: two parts of one hinge, its mean over the (B R)^2 - B R off-diagonal entries."""
    batch, regions = photo.region_weights.shape
    size = batch * regions
    image = torch.arange(size, device=photo.region_weights.device) // regions
    same_photo = image[:, None] == image[None]
    off_diagonal = ~torch.eye(size, dtype=torch.bool, device=image.device)
    instance = region = sketch.levels[0].new_zeros(())
    for level, anchors, candidates in zip(levels, sketch.levels, photo.levels, strict=True):
        distance = torch.cdist(
            anchors.flatten(0, 1), candidates.flatten(0, 1), compute_mode="donot_use_mm_for_euclid_dist"
        )
        level_margin = margin * (1 + math.exp(-level))
        margins = torch.full_like(distance, level_margin).masked_fill(same_photo, alpha * level_margin)
        hinge = (distance.diagonal()[:, None] - distance + margins).relu() / (size * (size - 1))
        instance = instance + hinge[~same_photo].sum()
        region = region + hinge[same_photo & off_diagonal].sum()
    return instance, region


def bands(count: int, height: int) -> Tensor:
    """How much of each of `height` rows lies in each of `count` equal bands, from the top, [count, height] in 0..1."""
    edges = torch.arange(count + 1) * (height / count)
    top = torch.arange(height)[None]
    return (torch.minimum(top + 1, edges[1:, None]) - torch.maximum(top, edges[:-1, None])).clamp_min(0)


def band_mismatch(maps: Tensor) -> Tensor:
    """1 minus the mean cosine of maps [B, R, h, w] and R lying bands; ours, see `TrainOptions.separate_steps`."""
    rows = bands(maps.shape[1], maps.shape[2]).to(maps)
    targets = rows[:, :, None].expand(maps.shape[1:]).flatten(1)
    return 1 - torch.nn.functional.cosine_similarity(maps.flatten(2), targets[None], dim=2).mean()


def lama_overlap(maps: Tensor) -> Tensor:
    """LAMA's penalty of maps [B, R, h, w]: each region against the strongest other one, mean over the batch."""
    regions = maps.shape[1]
    if regions == 1:
        return maps.new_zeros(())
    own = torch.eye(regions, dtype=torch.bool, device=maps.device)[None, :, :, None, None]
    others = maps[:, None].expand(-1, regions, -1, -1, -1).masked_fill(own, -math.inf)
    return (maps * others.amax(2)).sum((1, 2, 3)).mean() / (regions * (regions - 1))


def cama_overlap(maps: Tensor) -> Tensor:
    """CAMA's penalty of maps [B, R, h, w]: the product over regions, mean over the batch."""
    return maps.prod(1).sum((1, 2)).mean() / maps.shape[1]
