"""The exact rank of one gallery row for each query: what accuracy is made of."""

import torch
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.dispatch import pick
from kernels.reference import RegionFeatures, check_pair


def distance_rank(
    query: RegionFeatures, gallery: RegionFeatures, own: Tensor, *, region_weight_power: int = 1, impl: str = "auto"
) -> Tensor:
    """How many live rows are at most as far, by the canonical distance, as a row of each query's own; int64 [Q].

    1 for a row nearer than all others; a row at the same distance counts as nearer.
    query: features of Q images; gallery: of G, same device. own: int64 [Q], a live row for each query.
    Only rows whose lower bound doesn't exclude them are computed in float64.
    Raises `ValueError` for sides that don't match, `ImplementationError` for an `impl` that can't run here.
    """
    check_pair(query, gallery, region_weight_power)
    block = GalleryBlock.of(gallery)
    if not len(own):
        return own.clone()
    chosen = pick(impl, query, [block])
    everyone = torch.arange(len(own), device=own.device)
    limit = chosen.rescore_pairs(query, everyone, [block], own, region_weight_power)
    close = chosen.lower_bounds(query, block, region_weight_power).double() <= limit[:, None]
    if block.live is not None:
        close &= block.live
    owner, rows = close.nonzero(as_tuple=True)
    nearer = chosen.rescore_pairs(query, owner, [block], rows, region_weight_power) <= limit[owner]
    return torch.zeros_like(own).index_add_(0, owner, nearer.long())
