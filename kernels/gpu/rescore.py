"""The canonical distance of chosen pairs in one launch a block: the bits of `kernels.reference.canonical_distance`.

A program takes a pair (many, under the interpreter). For all regions of a level at once it keeps LANES sums of squared
differences in float64, lane j of channels j, j + LANES, ..., as the definition has them, and folds the upper half onto
the lower until one is left. Bits are equal because every operation is: differences, squares and additions are IEEE
float64 operations of their own (no fused multiply-add: `enable_fp_fusion=False`), in the definition's order, and so are
the root (`sqrt.rn.f64`) and the weighted terms. What `tl.sum` adds here is two numbers, or one and zeros: there is but
one order.

Bytes: a row from memory (20.7 KB in float16 with 10,368 values), its query from the cache. Two conversions and three
float64 operations a value: bound by memory where a GPU has float64 units, and on one without them still small, as
nearly all rows were settled by their bounds.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,assignment,misc"
# Kernels are Triton's language, which has no types of Python's.

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.gpu.availability import current, interpreted
from kernels.gpu.operands import as_stored
from kernels.reference import LANES, RegionFeatures

WARPS = 2
"""Of a program: four sums a thread with three regions, so that many programs share a multiprocessor's memory queue."""

INTERPRETED_PAIRS = 64
"""Of a program under Triton's interpreter, which takes its time a program and not a value."""


@triton.jit
def folded(b_lanes, WIDTH: tl.constexpr):
    """The sum over the second axis of [BV, WIDTH], upper half onto lower half until one column is left: [BV]."""
    if WIDTH == 1:
        b_sum = tl.reshape(b_lanes, [b_lanes.shape[0]])
    else:
        b_sum = folded(tl.sum(tl.reshape(b_lanes, [b_lanes.shape[0], 2, WIDTH // 2]), 1), WIDTH // 2)
    return b_sum


@triton.jit
def exactly(b_values):
    """Values of any floating type in float64."""
    if b_values.dtype == tl.bfloat16:
        # The upper half of a float32, taken as that: Triton's interpreter converts subnormal bfloat16 wrongly.
        b_bits = b_values.to(tl.uint16, bitcast=True).to(tl.uint32) << 16
        b_exact = b_bits.to(tl.float32, bitcast=True).to(tl.float64)
    else:
        b_exact = b_values.to(tl.float64)
    return b_exact


@triton.jit
def squared_norms(
    query,  # vectors of C values
    gallery,  # likewise
    o_query,  # [BV], numbers of vectors, int64
    o_gallery,  # [BV]
    m_vector,  # [BV], which of them there are
    C: tl.constexpr,
    BV: tl.constexpr,
    LANES: tl.constexpr,
):
    """Sums of the squared differences of pairs of vectors, float64 [BV]."""
    b_lanes = tl.zeros([BV, LANES], tl.float64)
    # Four steps' loads go out before the first is added.
    for i_channel in tl.range(0, C, LANES, loop_unroll_factor=4):
        o_c = i_channel + tl.arange(0, LANES)
        # Behind the last channel 0 is added, which changes no bit.
        m_value = m_vector[:, None] & (o_c < C)[None, :]
        b_query = tl.load(query + o_query[:, None] * C + o_c[None, :], mask=m_value, other=0.0)
        b_gallery = tl.load(gallery + o_gallery[:, None] * C + o_c[None, :], mask=m_value, other=0.0)
        b_difference = exactly(b_query) - exactly(b_gallery)
        b_lanes += b_difference * b_difference
    return folded(b_lanes, LANES)


@triton.jit(do_not_specialize=["pairs", "first", "count"])
def rescore_kernel(
    query,  # Side, weights as they are stored
    gallery,  # Side of one block, likewise
    owner,  # [P], queries, int64
    rows,  # [P], numbers over all blocks, int64
    out,  # [P], float64
    pairs,  # P
    first,  # the block's first number
    count,  # its rows
    R: tl.constexpr,
    CHANNELS: tl.constexpr,  # C_l of the L levels
    POWER: tl.constexpr,
    BP: tl.constexpr,
    BR: tl.constexpr,  # R, rounded up to a power of two
    LANES: tl.constexpr,
):
    """The canonical distances of those of BP pairs whose row is of this block."""
    L: tl.constexpr = len(CHANNELS)
    # BP BR vectors, region by region of each pair.
    o_vector = tl.arange(0, BP * BR)
    o_pair = tl.program_id(0).to(tl.int64) * BP + o_vector // BR
    o_r = o_vector % BR
    o_g = tl.load(rows + o_pair, mask=o_pair < pairs, other=-1) - first
    m_vector = (o_g >= 0) & (o_g < count) & (o_r < R) & (o_pair < pairs)
    if tl.max(m_vector.to(tl.int32)) > 0:
        o_q = tl.load(owner + o_pair, mask=m_vector, other=0) * R + o_r
        o_g = o_g * R + o_r
        b_region = exactly(tl.load(query.region_weights + o_q, mask=m_vector, other=0.0))
        b_region = (b_region + exactly(tl.load(gallery.region_weights + o_g, mask=m_vector, other=0.0))) * 0.5
        if POWER == 2:
            b_region *= b_region
        b_terms = ()
        for i_level in tl.static_range(L):
            b_squares = squared_norms(
                query.levels[i_level], gallery.levels[i_level], o_q, o_g, m_vector, CHANNELS[i_level], BP * BR, LANES
            )
            b_level = exactly(tl.load(query.level_weights + o_q * L + i_level, mask=m_vector, other=0.0))
            b_level += exactly(tl.load(gallery.level_weights + o_g * L + i_level, mask=m_vector, other=0.0))
            b_terms += (tl.reshape(b_level * 0.5 * b_region * tl.sqrt(b_squares), [BP, BR]),)
        b_total = tl.zeros([BP], tl.float64)
        for i_region in tl.static_range(R):
            m_region = (tl.arange(0, BR) == i_region)[None, :]
            for i_level in tl.static_range(L):
                b_total += tl.sum(tl.where(m_region, b_terms[i_level], 0.0), 1)
        o_out = tl.program_id(0).to(tl.int64) * BP + tl.arange(0, BP)
        o_row = tl.load(rows + o_out, mask=o_out < pairs, other=-1) - first
        tl.store(out + o_out, b_total, mask=(o_row >= 0) & (o_row < count))


def bounds_of_pairs(*pairs: object) -> None:
    """None: the caller rescores at once. By arithmetic a float64 distance takes less time than reading its row."""


def rescore_pairs(
    query: RegionFeatures, owner: Tensor, blocks: Sequence[GalleryBlock], rows: Tensor, region_weight_power: int = 1
) -> Tensor:
    """`canonical_distance` of P pairs, query `owner[i]` and row `rows[i]`, both int64 [P]: float64 [P], the same bits.

    rows are numbers over all blocks, one block after the other; NaN for one that no block holds. owner: 0 to Q - 1,
    not checked. The host waits for nothing.
    """
    distance = torch.full((len(rows),), torch.nan, dtype=torch.float64, device=rows.device)
    if not len(rows):
        return distance
    ours, owner, rows, first = as_stored(query), owner.contiguous(), rows.contiguous(), 0
    regions, channels = ours.region_weights.shape[1], tuple(level.shape[2] for level in ours.levels)
    pairs = INTERPRETED_PAIRS if interpreted() else 1
    with current(rows.device):
        for block in blocks:
            if len(block):
                rescore_kernel[(triton.cdiv(len(rows), pairs),)](
                    ours,
                    as_stored(block),
                    owner,
                    rows,
                    distance,
                    len(rows),
                    first,
                    len(block),
                    R=regions,
                    CHANNELS=channels,
                    POWER=region_weight_power,
                    BP=pairs,
                    BR=triton.next_power_of_2(regions),
                    LANES=LANES,
                    num_warps=WARPS,
                    enable_fp_fusion=False,
                )
            first += len(block)
    return distance
