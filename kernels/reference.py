"""The eager twins of every kernel, and the one canonical float64 distance: the specification and the tests' oracle.

D(q, g) = sum over r, l of w[r, l] * || q[r, l] - g[r, l] ||_2, with
w[r, l] = (level_q[r, l] + level_g[r, l]) / 2 * ((region_q[r] + region_g[r]) / 2) ** p     (paper, section 3.4).

Imports no Triton and nothing of ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

LANES = 64
"""Sums that the canonical distance keeps side by side over a vector's channels."""


class RegionFeatures(Protocol):
    """What the operations need of `mlrm.Features`: N images of R regions and L levels."""

    @property
    def levels(self) -> tuple[Tensor, ...]:
        """L tensors [N, R, C_l]."""

    @property
    def region_weights(self) -> Tensor:
        """[N, R]."""

    @property
    def level_weights(self) -> Tensor:
        """[N, R, L]."""


@dataclass(frozen=True)
class FeatureTensors:
    """`RegionFeatures` as they are, tensor by tensor."""

    levels: tuple[Tensor, ...]
    region_weights: Tensor
    level_weights: Tensor

    @classmethod
    def of(cls, features: RegionFeatures, function: Callable[[Tensor], Tensor]) -> "FeatureTensors":
        """What `function` makes of every tensor of some features: rows chosen, another type."""
        levels = tuple(function(level) for level in features.levels)
        return cls(levels, function(features.region_weights), function(features.level_weights))


def check_features(features: RegionFeatures, role: str) -> None:
    """Raise `ValueError` unless the shapes fit together: [N, R], [N, R, L] and L tensors [N, R, C_l]."""
    region, level = tuple(features.region_weights.shape), tuple(features.level_weights.shape)
    shapes = [tuple(one.shape) for one in features.levels]
    if (
        len(region) != 2
        or level != (*region, len(shapes))
        or not shapes
        or any(len(one) != 3 or one[:2] != region for one in shapes)
    ):
        raise ValueError(
            f"inconsistent {role} features: region weights {region}, level weights {level}, levels {shapes}; expected "
            "[N, R], [N, R, L] and L >= 1 tensors [N, R, C_l]"
        )


def check_pair(query: RegionFeatures, gallery: RegionFeatures, region_weight_power: int) -> None:
    """Raise `ValueError` unless the two sides have the same regions, levels and channels, and p is 1 or 2."""
    if region_weight_power not in (1, 2):
        raise ValueError(f"region_weight_power is {region_weight_power!r}; expected 1 (paper) or 2 (released program)")
    check_features(query, "query")
    check_features(gallery, "gallery")
    shapes = [[tuple(level.shape[1:]) for level in side.levels] for side in (query, gallery)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"query and gallery differ in regions, levels or channels: levels of [R, C_l] = {shapes[0]} and {shapes[1]}"
        )


def pair_weights(query: RegionFeatures, gallery: RegionFeatures, region_weight_power: int) -> Tensor:
    """w[q, g, r, l] of the formula above, [Q, G, R, L]."""
    level = (query.level_weights[:, None] + gallery.level_weights[None]) / 2
    region = (query.region_weights[:, None] + gallery.region_weights[None]) / 2
    return level * (region * region if region_weight_power == 2 else region)[..., None]


def pair_distance(
    query: RegionFeatures, gallery: RegionFeatures, region_weight_power: int = 1, terms: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """The Q x G matrix of distances; differentiable (with gradient 0 where two vectors are equal).

    query, gallery: features of Q and G images, float32 or float64 (computed and returned in that type).
    terms: also return the weighted contributions [Q, G, R, L], which sum to the distance.
    Returns [Q, G], or ([Q, G], [Q, G, R, L]). Raises `ValueError` for sides that don't match.
    """
    check_pair(query, gallery, region_weight_power)
    norms = []
    for query_level, gallery_level in zip(query.levels, gallery.levels, strict=True):
        by_region = (query_level.transpose(0, 1), gallery_level.transpose(0, 1))
        # Direct differences: the expanded square would cancel for near neighbours.
        norms.append(torch.cdist(*by_region, compute_mode="donot_use_mm_for_euclid_dist"))
    weighted = pair_weights(query, gallery, region_weight_power) * torch.stack(norms, -1).permute(1, 2, 0, 3)
    distance = weighted.sum((2, 3))
    return (distance, weighted) if terms else distance


def sum_channels(values: Tensor) -> Tensor:
    """Sum float64 [..., C] over C in an order fixed by C alone: in LANES sums, which are then folded into one.

    Sum j adds channels j, j + LANES, ... from the first on; the upper half of the sums is added to the lower until one
    is left. Elementwise additions only, so every device, batch and chunk gives the same bits, and vector units of any
    width do them without waiting for one another. Overwrites `values`.
    """
    channels = values.shape[-1]
    for start in range(LANES, channels, LANES):
        stop = min(start + LANES, channels)
        values[..., : stop - start] += values[..., start:stop]
    width = LANES
    while width > 1:
        width //= 2
        if channels > width:
            values[..., : min(width, channels - width)] += values[..., width : min(2 * width, channels)]
    return values[..., 0]


def square_root(values: Tensor) -> Tensor:
    """The correctly rounded root of float64 values, the same bits everywhere.

    That of NumPy on a CPU: PyTorch's comes from a vector library there, and is one unit off now and then.
    """
    return torch.from_numpy(np.sqrt(values.detach().numpy())) if values.device.type == "cpu" else values.sqrt()


def canonical_terms(query: RegionFeatures, gallery: RegionFeatures, region_weight_power: int = 1) -> Tensor:
    """The weighted contributions w[r, l] || q[r, l] - g[r, l] || of the canonical distance, float64 [Q, G, R, L].

    Bit-identical for any batch, chunk and device. Inputs of any floating type are exact in float64. Memory: Q x G x
    the largest C_l x 8 bytes. Not differentiable. Raises `ValueError` for sides that don't match.
    """
    check_pair(query, gallery, region_weight_power)
    in_float64 = [
        FeatureTensors((), side.region_weights.double(), side.level_weights.double()) for side in (query, gallery)
    ]
    terms = pair_weights(in_float64[0], in_float64[1], region_weight_power)
    for region in range(terms.shape[2]):
        for level in range(terms.shape[3]):
            difference = query.levels[level][:, None, region].double() - gallery.levels[level][None, :, region].double()
            terms[:, :, region, level] *= square_root(sum_channels(difference.mul_(difference)))
    return terms


def canonical_distance(query: RegionFeatures, gallery: RegionFeatures, region_weight_power: int = 1) -> Tensor:
    """The distance that defines the ranking, float64 [Q, G]: `canonical_terms`, added region by region."""
    terms = canonical_terms(query, gallery, region_weight_power).flatten(2)
    total = torch.zeros_like(terms[..., 0])
    for index in range(terms.shape[2]):
        total += terms[..., index]
    return total


def region_pool(levels: Sequence[Tensor], maps: Tensor) -> tuple[Tensor, ...]:
    """Mean over the grid of (map r * level l): the region vectors of all levels (spec section 3); differentiable.

    levels: L tensors [B, C_l, h, w] on one grid; maps: [B, R, h, w]. Computed in float32 at least.
    Returns L tensors [B, R, C_l]. Raises `ValueError` for levels of another batch or grid than the maps'.
    """
    check_pool(levels, maps)
    weights = at_least_float32(maps).flatten(2) / (maps.shape[2] * maps.shape[3])
    return tuple(weights @ at_least_float32(level).flatten(2).transpose(1, 2) for level in levels)


def check_pool(levels: Sequence[Tensor], maps: Tensor) -> None:
    """Raise `ValueError` unless all levels are [B, C_l, h, w] with the batch and grid of maps [B, R, h, w]."""
    shapes = [tuple(level.shape) for level in levels]
    if maps.ndim != 4 or any(len(s) != 4 or (s[0], s[2:]) != (maps.shape[0], tuple(maps.shape[2:])) for s in shapes):
        raise ValueError(f"maps {tuple(maps.shape)} and levels {shapes}; expected [B, R, h, w] and L x [B, C_l, h, w]")


def at_least_float32(tensor: Tensor) -> Tensor:
    """`tensor` itself, or as float32 if its type is narrower."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
