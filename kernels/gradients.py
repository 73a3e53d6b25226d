"""Gradients of the differentiable operations, in PyTorch: matrix products, nothing of size Q x G x C."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels.reference import RegionFeatures, at_least_float32

SideGradients = tuple[list[Tensor], Tensor, Tensor]
"""Of the levels, the region weights and the level weights of one side."""


def pair_distance(
    grad: Tensor, query: RegionFeatures, gallery: RegionFeatures, region_weight_power: int
) -> tuple[list[Tensor], Tensor, Tensor, list[Tensor], Tensor, Tensor]:
    """Gradients of sum(grad * D), grad [Q, G], with respect to every tensor of query and gallery, in their types.

    With n = |q - g| and M = grad * w / n (0 where n = 0): dq = rowsum(M) q - M g, and dg likewise from M transposed.
    """
    region_query, region_gallery = (at_least_float32(side.region_weights) for side in (query, gallery))
    level_query, level_gallery = (at_least_float32(side.level_weights) for side in (query, gallery))
    of_query: SideGradients = ([], torch.zeros_like(region_query), torch.zeros_like(level_query))
    of_gallery: SideGradients = ([], torch.zeros_like(region_gallery), torch.zeros_like(level_gallery))
    regions, levels = level_query.shape[1:]
    for number in range(levels):
        rows_query, rows_gallery = at_least_float32(query.levels[number]), at_least_float32(gallery.levels[number])
        # Differences don't change when both sides move, and small values cancel less in the products below.
        centre = rows_gallery.mean(0) if len(rows_gallery) else 0
        rows_query, rows_gallery = rows_query - centre, rows_gallery - centre
        to_query, to_gallery = torch.empty_like(rows_query), torch.empty_like(rows_gallery)
        for region in range(regions):
            q, g = rows_query[:, region].contiguous(), rows_gallery[:, region].contiguous()
            norm = torch.cdist(q, g, compute_mode="donot_use_mm_for_euclid_dist")
            share = (region_query[:, None, region] + region_gallery[None, :, region]) / 2
            level = (level_query[:, None, region, number] + level_gallery[None, :, region, number]) / 2
            power = share * share if region_weight_power == 2 else share
            by_level = grad * norm * power / 2
            by_region = grad * norm * level * (share if region_weight_power == 2 else 0.5)
            of_query[1][:, region] += by_region.sum(1)
            of_query[2][:, region, number] = by_level.sum(1)
            of_gallery[1][:, region] += by_region.sum(0)
            of_gallery[2][:, region, number] = by_level.sum(0)
            pull = torch.where(norm > 0, grad * level * power / norm, 0)
            to_query[:, region] = pull.sum(1, keepdim=True) * q - pull @ g
            to_gallery[:, region] = pull.sum(0)[:, None] * g - pull.T @ q
        of_query[0].append(to_query.to(query.levels[number].dtype))
        of_gallery[0].append(to_gallery.to(gallery.levels[number].dtype))
    return (
        of_query[0],
        of_query[1].to(query.region_weights.dtype),
        of_query[2].to(query.level_weights.dtype),
        of_gallery[0],
        of_gallery[1].to(gallery.region_weights.dtype),
        of_gallery[2].to(gallery.level_weights.dtype),
    )


def region_pool(grads: Sequence[Tensor], levels: Sequence[Tensor], maps: Tensor) -> tuple[list[Tensor], Tensor]:
    """Gradients of sum(grads[l] * pooled[l]), grads L x [B, R, C_l], with respect to the levels and the maps."""
    weights = at_least_float32(maps).flatten(2) / (maps.shape[2] * maps.shape[3])
    of_maps = torch.zeros_like(weights)
    of_levels = []
    for grad, level in zip(grads, levels, strict=True):
        of_levels.append((grad.transpose(1, 2) @ weights).view_as(level).to(level.dtype))
        of_maps += grad @ at_least_float32(level).flatten(2)
    return of_levels, (of_maps / (maps.shape[2] * maps.shape[3])).view_as(maps).to(maps.dtype)
