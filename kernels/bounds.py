"""What rounding may do to a distance: the slack by which a fast pass's lower bounds stay below the canonical distance.

Notation: u is a format's unit roundoff, C the number of channels. Every bound holds for any order of summation, so for
any tiling, any number of lanes and any device.
"""

import math
from collections.abc import Sequence

import torch

FLOAT32_ROUNDOFF = 2.0**-24


def direct_error(channels: Sequence[int], regions: int) -> float:
    """Bound on |d32 - D| / D of a float32 pass over differences, where nothing under- or overflows.

    channels: C_l of the levels. A difference and its square cost 3 u of the square, C additions in any order C u, so a
    norm is within (3 + C) u / 2 + u (the root's own, two more where it isn't correctly rounded); its weight,
    the product and the sum are `weighted_sum_error`'s. All terms are >= 0, so relative errors
    don't grow in the sum. 1 % covers u^2.
    """
    return 1.01 * FLOAT32_ROUNDOFF * ((3 + max(channels)) / 2 + 3 + weighted_sum_error(regions * len(channels)))


def weighted_sum_error(terms: int) -> float:
    """What weights (8), products (1) and the sum of R L `terms` cost a distance, in units of the float32 roundoff.

    A weight is two means and up to two products: 5; up to 3 more where the weights were rounded from float64.
    """
    return 8 + 1 + terms


def underflow_error(channels: Sequence[int], regions: int, heaviest: float) -> float:
    """Bound on what squares and products below float32's normal range add to a distance.

    heaviest: at least max(1, level weight) * max(1, region weight) ** p, for all images (`heaviest_weight`).

    A square errs by at most 2^-126 (flushed to zero), C of them move a norm by less than sqrt(C) 2^-63, and that
    counts with a weight of at most `heaviest`. Each of the up to five steps to a weighted norm errs by 2^-126 more,
    times its other factors: weights of at most `heaviest`, and a norm below 2^64, or its square would overflow.
    2^-58 is more than five times 2^-62, and the rest covers what the relative error adds to all of this.
    """
    return regions * len(channels) * heaviest * (math.sqrt(max(channels)) / 2**63 + 1 / 2**58)


def heaviest_weight(sides: Sequence[tuple[float, float]], region_weight_power: int) -> float:
    """max(1, level weight) * max(1, region weight) ** p over the (region, level) maxima of some sides."""
    region = max(1.0, *(side[0] for side in sides))
    level = max(1.0, *(side[1] for side in sides))
    return level * region**region_weight_power


def dot_error(channels: int, dtype: torch.dtype) -> float:
    """Bound on |fl(x.y) - x.y| / (|x| |y|) of a matrix product with float32 accumulators, |.| the Euclidean norm.

    dtype: of both operands. Products of two float16 or bfloat16 are exact in float32. NVIDIA's tensor cores align a
    step's products and the accumulator at the largest and cut them off with 24 bits or more (Fasi, Higham, Mikaitis,
    Pranesh, "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science 7:e330, 2021): at most 2^-23 sum |x y|
    for each product and twice for each step of at least 2 products, so 2^-22 a product, more than twice what rounding
    to nearest in any order costs. float32 is taken as three tf32 products of the operands' upper and lower parts
    (tf32x3): three times the additions; the upper part is within 2^-11, the lower part, cut off, within 2^-21 of its
    operand, and the product of two lower parts left out is 2^-22: less than 2^-19 together.
    sum |x y| <= |x| |y|. 1 % covers second orders.
    """
    if dtype == torch.float32:
        return 1.01 * (3 * channels * 2.0**-22 + 2.0**-19)
    return 1.01 * channels * 2.0**-22
