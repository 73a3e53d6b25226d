"""The eager twins of every kernel, and the one canonical float64 distance: the specification and the tests' oracle.

D(q, g) = sum over r, l of w[r, l] * || q[r, l] - g[r, l] ||_2, with
w[r, l] = (level_q[r, l] + level_g[r, l]) / 2 * ((region_q[r] + region_g[r]) / 2) ** p     (paper, section 3.4).

Imports no Triton and nothing of ours.
"""

from typing import Protocol

import torch
from torch import Tensor


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


def check_pair(query: RegionFeatures, gallery: RegionFeatures, region_weight_power: int) -> None:
    """Raise `ValueError` unless the two sides have the same regions, levels and channels, and p is 1 or 2."""
    if region_weight_power not in (1, 2):
        raise ValueError(f"region_weight_power is {region_weight_power!r}; expected 1 (paper) or 2 (released program)")
    shapes = [
        (side.region_weights.shape[1:], side.level_weights.shape[1:], [level.shape[1:] for level in side.levels])
        for side in (query, gallery)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(f"query and gallery differ in regions, levels or channels: {shapes[0]} and {shapes[1]}")
    regions, levels = query.level_weights.shape[1:]
    if shapes[0][0] != (regions,) or len(query.levels) != levels or any(c[0] != regions for c in shapes[0][2]):
        raise ValueError(
            f"inconsistent features: region weights [N, {shapes[0][0]}], level weights [N, R, L] = {shapes[0][1]}, "
            f"levels {shapes[0][2]}; expected [N, R], [N, R, L] and L tensors [N, R, C_l]"
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
    """Sum float64 [..., C] over C by folding the upper half onto the lower: an order fixed by C alone.

    Elementwise additions only, so every device, batch and chunk gives the same bits. Overwrites `values`.
    """
    width = values.shape[-1]
    while width > 1:
        half = (width + 1) // 2
        values[..., : width - half] += values[..., half:width]
        width = half
    return values[..., 0]


def canonical_terms(query: RegionFeatures, gallery: RegionFeatures, region_weight_power: int = 1) -> Tensor:
    """The weighted contributions w[r, l] || q[r, l] - g[r, l] || of the canonical distance, float64 [Q, G, R, L].

    Bit-identical for any batch, chunk and device. Inputs of any floating type are exact in float64. Memory: Q x G x
    the largest C_l x 8 bytes. Not differentiable. Raises `ValueError` for sides that don't match.
    """
    check_pair(query, gallery, region_weight_power)
    terms = pair_weights(_Float64(query), _Float64(gallery), region_weight_power)
    for region in range(terms.shape[2]):
        for level in range(terms.shape[3]):
            difference = query.levels[level][:, None, region].double() - gallery.levels[level][None, :, region].double()
            terms[:, :, region, level] *= sum_channels(difference.mul_(difference)).sqrt()
    return terms


def canonical_distance(query: RegionFeatures, gallery: RegionFeatures, region_weight_power: int = 1) -> Tensor:
    """The distance that defines the ranking, float64 [Q, G]: `canonical_terms`, added region by region."""
    terms = canonical_terms(query, gallery, region_weight_power).flatten(2)
    total = torch.zeros_like(terms[..., 0])
    for index in range(terms.shape[2]):
        total += terms[..., index]
    return total


class _Float64:
    """The weights of features, in float64."""

    def __init__(self, features: RegionFeatures) -> None:
        self.levels = features.levels
        self.region_weights = features.region_weights.double()
        self.level_weights = features.level_weights.double()
