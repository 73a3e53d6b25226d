"""Queries for the matrix-product form: measured from the block's centre, rounded to the rows' type, errors counted."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from kernels.blocks import GalleryBlock
from kernels.bounds import dot_error
from kernels.gpu.operands import side_of
from kernels.reference import RegionFeatures

SMALLEST_UNIT, LARGEST_UNIT = 2.0**-100, 2.0**126
"""A vector's unit and twice its negative are normal float32 numbers."""


class CentredQuery(NamedTuple):
    """Q queries for `product_kernel`, padded to P with zeros; all contiguous.

    A vector a of region r and level l is x' * unit away from the centre mu, except for `error`: unit[r, l] is a power
    of two that keeps x' clear of float16's subnormal numbers. What isn't x' is float32, queries side by side.
    """

    levels: tuple[Tensor, ...]  # L x [P, R, C_l], x' in the type of the rows
    region_weights: Tensor  # [R, P]
    level_weights: Tensor  # [R, L, P]
    base: Tensor  # [R, L, P], |unit x'|^2 + 2 unit x'.mu, less its slack
    reach: Tensor  # [R, L, P], what the product x'.b may be off, times 2 unit, for |b| = 1
    error: Tensor  # [R, L, P], at least |a - mu - unit x'|
    factor: Tensor  # [R, L], -2 unit
    centre_norm: Tensor  # [R, L], at least |mu|


def centred(query: RegionFeatures, block: GalleryBlock, multiple: int) -> CentredQuery:
    """The queries as `product_kernel` compares them to the rows of `block`, padded to a multiple of `multiple`."""
    side = side_of(query)
    parts = [
        _level(own.double(), centre.double(), rows.dtype)
        for own, centre, rows in zip(side.levels, block.centre, block.levels, strict=True)
    ]
    # All levels at once from here on: each operation is a launch, and they are small.
    unit, norm, product, lost, own_norm = (torch.stack(column, -1) for column in list(zip(*parts, strict=True))[1:])
    centre_norm, centre_norm_above, off, vanished = block.derived("gpu.of_levels", lambda: _of_levels(block))
    squares = norm.square()
    base = squares + 2 * product
    # Slack for: the rounding of base + |b - mu|^2; float64; products below float32's normal range; |b - mu|^2 there.
    base = base - 2.0**-22 * base.abs() - 2.0**-40 * (squares + 2 * norm * centre_norm)
    base = base - vanished * unit - 2.0**-120
    reach = norm * off + 2.0**-110
    error = (lost + 2.0**-50 * (own_norm + centre_norm)) * (1 + 2.0**-40)
    base, reach, error = _rounded_down(torch.stack((base, -reach, -error)))
    padding = -len(base) % multiple

    def lined_up(values: Tensor) -> Tensor:
        """[Q, ...] as [..., P]."""
        return pad(values.movedim(0, -1), (0, padding)).contiguous()

    return CentredQuery(
        tuple(pad(part[0], (0, 0, 0, 0, 0, padding)) for part in parts),
        lined_up(side.region_weights),
        lined_up(side.level_weights),
        lined_up(base),
        lined_up(-reach),
        lined_up(-error),
        (-2 * unit).float().contiguous(),
        centre_norm_above,
    )


def _level(own: Tensor, centre: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(x', unit, |unit x'|, unit x'.mu, |a - mu - unit x'|, |a|) of one level: all but x' in float64, unit [R].

    own: [Q, R, C], centre: [R, C], float64. float64's own errors are below 2^-40 of what they are errors of.
    """
    limit = torch.finfo(dtype).max
    offset = own - centre
    exponent = torch.frexp(offset.abs().amax((0, 2))).exponent - 1
    unit = torch.ldexp(torch.ones_like(offset[0, :, 0]), exponent).clamp(SMALLEST_UNIT, LARGEST_UNIT)
    rounded = (offset / unit[..., None]).clamp(-limit, limit).to(dtype)
    kept = rounded.double() * unit[..., None]
    return rounded, unit, kept.norm(dim=2), (kept * centre).sum(2), (kept - offset).norm(dim=2), own.norm(dim=2)


def _of_levels(block: GalleryBlock) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """|mu| [R, L] in float64, and in float32 not below it; [L], twice what a product of unit vectors may be off, and
    what may vanish in one.
    """
    levels = [(level.shape[2], level.dtype) for level in block.levels]
    off = [2 * dot_error(channels, dtype) * (1 + 2.0**-20) for channels, dtype in levels]
    vanished = [channels * 2.0**-121 for channels, _ in levels]
    rates = torch.tensor([off, vanished], dtype=torch.float64).to(block.device)
    norm = torch.stack([centre.double().norm(dim=1) for centre in block.centre], -1)
    # The rest covers a |b - mu|^2 below float32's normal range.
    above = -_rounded_down(-(norm * (1 + 2.0**-40) + 2.0**-60))
    return norm, above, rates[0], rates[1]


def _rounded_down(values: Tensor) -> Tensor:
    """Float32, not above `values`."""
    nearest = values.float()
    return torch.where(nearest.double() > values, nearest.nextafter(torch.full_like(nearest, -math.inf)), nearest)
