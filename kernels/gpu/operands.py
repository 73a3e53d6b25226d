"""What kernels are given: the sides of a comparison and where results go, as named tuples of tensors.

Triton takes a named tuple as an argument, so a kernel says `gallery.levels[l]` too.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.reference import RegionFeatures


class Side(NamedTuple):
    """N images, every tensor contiguous."""

    levels: tuple[Tensor, ...]  # L x [N, R, C_l], float32, float16 or bfloat16
    region_weights: Tensor  # [N, R], float32; for `kernels.gpu.rescore` as they are stored
    level_weights: Tensor  # [N, R, L], likewise


class Matrix(NamedTuple):
    """Results as a matrix."""

    out: Tensor  # [Q, rows of the launch], float32


class Appended(NamedTuple):
    """Results below a limit as a list for each query, in no particular order.

    `counts` says how many there were, also where that is more than fit.
    """

    keys: Tensor  # [Q, capacity], int64: `the module nearest`
    capacity: int
    counts: Tensor  # [Q], int32
    limits: Tensor  # [Q], float32: what is not below is left out
    live: Tensor  # [N], bool


def side_of(features: RegionFeatures) -> Side:
    """The features as kernels take them; copied only where they aren't contiguous, or the weights not float32.

    Made once of a block, for as long as the block is there.
    """
    if isinstance(features, GalleryBlock):
        return features.derived("triton.side", lambda: _in_float32(as_stored(features)))
    return _in_float32(as_stored(features))


def as_stored(features: RegionFeatures) -> Side:
    """The features with the weights in the type they have; copied only where they aren't contiguous. Once, likewise."""
    if isinstance(features, GalleryBlock):
        return features.derived("triton.as_stored", lambda: _contiguous(features))
    return _contiguous(features)


def _contiguous(features: RegionFeatures) -> Side:
    return Side(
        tuple(level.contiguous() for level in features.levels),
        features.region_weights.contiguous(),
        features.level_weights.contiguous(),
    )


def _in_float32(side: Side) -> Side:
    return Side(side.levels, _weights(side.region_weights), _weights(side.level_weights))


def _weights(weights: Tensor) -> Tensor:
    """Float32, contiguous. A float64 weight is never rounded up, so that a lower bound stays one."""
    if weights.dtype == torch.float64:
        weights = weights * (1 - 2.0**-23)
    return weights.float().contiguous()
