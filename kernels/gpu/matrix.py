"""Whole matrices of distances, and of lower bounds of them; and which form of the kernel computes bounds."""

from collections.abc import Callable

import torch
from torch import Tensor

from kernels.blocks import GalleryBlock, slack_of_differences
from kernels.gpu import direct, product
from kernels.gpu.centred import centred
from kernels.gpu.operands import Appended, Matrix, side_of
from kernels.gpu.tiles import tuning_for
from kernels.reference import RegionFeatures

BoundsLauncher = Callable[[range, Matrix | Appended], None]
"""Puts the lower bounds of all queries and some gallery rows into a sink."""


def pair_distance(query: RegionFeatures, gallery: GalleryBlock, region_weight_power: int) -> Tensor:
    """Distances of all pairs, float32 [Q, N], from differences: within `bounds.direct_error` of the canonical ones.

    The direct form for any Q: the expanded square of the product form would lose near neighbours to cancellation.
    """
    queries, rows = len(query.region_weights), len(gallery)
    out = torch.empty((queries, rows), dtype=torch.float32, device=gallery.device)
    if out.numel():
        tile = tuning_for(gallery).direct_tile(queries)
        direct.launch(side_of(query), side_of(gallery), Matrix(out), range(rows), region_weight_power, None, tile)
    return out


def lower_bounds(query: RegionFeatures, block: GalleryBlock, region_weight_power: int) -> Tensor:
    """Float32 [Q, N], never above the canonical distance; 0 where the arithmetic overflowed."""
    queries, rows = len(query.region_weights), len(block)
    out = torch.empty((queries, rows), dtype=torch.float32, device=block.device)
    if out.numel():
        bounds_launcher(query, block, region_weight_power)(range(rows), Matrix(out))
    return out


def bounds_launcher(query: RegionFeatures, block: GalleryBlock, region_weight_power: int) -> BoundsLauncher:
    """The form for this many queries, with all prepared that doesn't depend on the rows of a launch.

    Direct for up to `Tuning.direct_queries` queries, which it compares at the cost of reading the rows, and with the
    smaller slack; matrix products above. Neither side is empty.
    """
    queries = len(query.region_weights)
    _, underflow = slack_of_differences(query, [block], region_weight_power)
    tuning, gallery = tuning_for(block), side_of(block)
    if queries <= tuning.direct_queries:
        side, tile = side_of(query), tuning.direct_tile(queries)

        def by_differences(rows: range, sink: Matrix | Appended) -> None:
            direct.launch(side, gallery, sink, rows, region_weight_power, underflow, tile)

        return by_differences
    tile = tuning.product_tile(queries)
    operand, squares = centred(query, block, tile.queries), block.square_from_centre

    def by_products(rows: range, sink: Matrix | Appended) -> None:
        product.launch(operand, gallery, squares, queries, sink, rows, region_weight_power, underflow, tile)

    return by_products
