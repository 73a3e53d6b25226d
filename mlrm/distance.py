"""The distance of `Features`, by whichever kernel runs here (spec section 5)."""

from typing import Literal, overload

from torch import Tensor

import kernels
from kernels import reference
from mlrm.features import Features


@overload
def pair_distance(
    query: Features, gallery: Features, region_weight_power: int = 1, terms: Literal[False] = False
) -> Tensor: ...
@overload
def pair_distance(
    query: Features, gallery: Features, region_weight_power: int = 1, *, terms: Literal[True]
) -> tuple[Tensor, Tensor]: ...
def pair_distance(
    query: Features, gallery: Features, region_weight_power: int = 1, terms: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """Distances of Q sketches to G photos, [Q, G], float32 (float64 from float64); smaller is nearer. Differentiable.

    region_weight_power: 1 as in the paper, 2 as in the released program (`config.region_weight_power`).
    terms: also return the weighted contributions [Q, G, R, L], which sum to the distance: both by the eager twin.
    Raises `ValueError` for sides of different regions, levels or channels.
    """
    if terms:
        return reference.pair_distance(query, gallery, region_weight_power, terms)
    return kernels.pair_distance(query, gallery, region_weight_power=region_weight_power)
