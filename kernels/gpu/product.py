"""Lower bounds of the distance from matrix products on the tensor cores: for many queries.

With mu the block's mean row and x' the query's distance from it, rounded to the rows' type (`kernels.gpu.centred`):

    ||mu + x' - b||^2 = |x'|^2 + 2 x'.mu + |b - mu|^2 - 2 x'.b        the rows b stay as they are stored
    ||a - b||        >= ||mu + x' - b|| - ||a - mu - x'||              what rounding the query may have cost

and so a term's lower bound is w * max(0, sqrt(max(0, s - eta)) - e), with s the first line, eta what the arithmetic may
have added to it, and e the second line's last norm.

A program takes BG rows and BQ queries, 2 BG BQ floating-point operations a value pair, and keeps two tiles [BG, BQ] in
registers: the product of one (region, level), and the sum of the terms. The rows are the product's left side, so that
it has the 64 rows the tensor cores want where queries are few.
Bytes: a row once from memory (its programs are neighbours), BG + BQ vectors from the cache for BG BQ pairs.

eta is taken off in five places, where it costs least (u = 2^-24):
 - the product's own error, `dot` |x'| |b| (`bounds.dot_error`): |b| <= |b - mu| + |mu|, per row; 2 `dot` |x'|, per
   query, is `reach`. It is inflated by 2^-20 for the rounding of its own product.
 - |b - mu|^2, rounded (u), scaled and added (2 u): times 1 - 2^-22.
 - |x'|^2 + 2 x'.mu, `base`: rounded down beforehand, with all that is absolute.
 - s and s - eta, one rounding each (2 u of s, so u of the norm), the root (2 u), its product (u): times 1 - 2^-21.
 - weights, products and the sum, `bounds.weighted_sum_error`, with e's subtraction (u): the final scale.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,assignment,misc"
# Kernels are Triton's language, which has no types of Python's.

import triton
import triton.language as tl
from torch import Tensor

from kernels.bounds import FLOAT32_ROUNDOFF, weighted_sum_error
from kernels.gpu.availability import current, interpreted
from kernels.gpu.centred import CentredQuery
from kernels.gpu.epilogue import emit, scale_and_slack, weighted
from kernels.gpu.operands import Appended, Matrix, Side
from kernels.gpu.tiles import Tile


@triton.jit
def dot(
    gallery,  # to vectors of C values
    query,  # to vectors of C values
    o_g,  # [BG], numbers of vectors
    o_q,  # [BQ]
    C: tl.constexpr,
    BG: tl.constexpr,
    BQ: tl.constexpr,
    BC: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """Scalar products of gallery and query vectors, [BG, BQ]."""
    b_dot = tl.zeros([BG, BQ], tl.float32)
    for i_channel in range(0, C, BC):
        o_c = i_channel + tl.arange(0, BC)
        p_gallery = gallery + o_g[:, None] * C + o_c[None, :]
        p_query = query + o_q[None, :] * C + o_c[:, None]
        if C % BC == 0:
            b_gallery, b_query = tl.load(p_gallery), tl.load(p_query)
        else:
            b_gallery = tl.load(p_gallery, mask=(o_c < C)[None, :], other=0.0)
            b_query = tl.load(p_query, mask=(o_c < C)[:, None], other=0.0)
        if WIDEN:
            b_gallery, b_query = b_gallery.to(tl.float32), b_query.to(tl.float32)
        b_dot = tl.dot(b_gallery, b_query, b_dot, input_precision="tf32x3")
    return b_dot


@triton.jit
def columns(b_tile, PARTS: tl.constexpr):
    """The tile cut into PARTS of neighbouring columns: a tuple."""
    if PARTS == 1:
        b_parts = (b_tile,)
    else:
        b_pair = tl.permute(tl.reshape(b_tile, [b_tile.shape[0], 2, b_tile.shape[1] // 2]), [0, 2, 1])
        b_left, b_right = tl.split(b_pair)
        b_parts = columns(b_left, PARTS // 2) + columns(b_right, PARTS // 2)
    return b_parts


@triton.jit
def terms(
    b_dot,  # [BG, BP]
    query,
    gallery,
    squares,
    i_row,
    o_g,  # [BG]
    o_q,  # [BP]
    padded,
    i_region,
    i_level,
    R: tl.constexpr,
    L: tl.constexpr,
    POWER: tl.constexpr,
):
    """Lower bounds of the weighted terms of one region and level, [BG, BP], from the scalar products."""
    o_term = i_row * (R * L) + (o_g * R + i_region) * L + i_level
    p_term = o_q + (i_region * L + i_level) * padded
    b_square = tl.load(squares + o_term)
    b_size = tl.sqrt(b_square) * (1 + 2.0**-20) + tl.load(query.centre_norm + i_region * L + i_level)
    b_s = tl.load(query.factor + i_region * L + i_level) * b_dot
    b_s += (b_square * (1 - 2.0**-22))[:, None] + tl.load(query.base + p_term)[None, :]
    b_s -= b_size[:, None] * tl.load(query.reach + p_term)[None, :]
    # A NaN, from overflow, becomes 0 in either maximum: a lower bound of any norm.
    b_norm = tl.sqrt(tl.maximum(b_s, 0.0)) * (1 - 2.0**-21)
    b_norm = tl.maximum(b_norm - tl.load(query.error + p_term)[None, :], 0.0)
    b_level_g = tl.load(gallery.level_weights + o_term)
    b_region_g = tl.load(gallery.region_weights + i_row * R + o_g * R + i_region)
    b_level = b_level_g[:, None] + tl.load(query.level_weights + p_term)[None, :]
    b_region = b_region_g[:, None] + tl.load(query.region_weights + o_q + i_region * padded)[None, :]
    return weighted(b_norm, b_region, b_level, POWER)


@triton.jit(do_not_specialize=["queries", "start", "stop"])
def product_kernel(
    query,  # CentredQuery
    gallery,  # Side
    squares,  # [N, R, L], |b - mu|^2
    sink,  # Matrix or Appended
    queries,
    start,
    stop,
    scale,
    slack,
    R: tl.constexpr,
    CHANNELS: tl.constexpr,  # C_l of the L levels
    POWER: tl.constexpr,
    BG: tl.constexpr,
    BQ: tl.constexpr,
    BC: tl.constexpr,
    BP: tl.constexpr,  # columns of a tile that are finished at a time
    APPEND: tl.constexpr,
    WIDEN: tl.constexpr,  # for the interpreter, which multiplies bfloat16's bit patterns
):
    """Lower bounds of all queries' distances to the rows of a launch, into the sink."""
    L: tl.constexpr = len(CHANNELS)
    query_tiles = tl.cdiv(queries, BQ)
    # Neighbouring programs share gallery rows: these come from memory once, and then from the cache.
    i_query = (tl.program_id(0) % query_tiles).to(tl.int64) * BQ
    i_row = start + (tl.program_id(0) // query_tiles).to(tl.int64) * BG
    # Rows behind the end repeat the last one, and queries are padded: the loop needs no masks.
    o_g = tl.minimum(tl.arange(0, BG), stop - 1 - i_row).to(tl.int32)
    padded = query_tiles * BQ

    # What follows a product goes a few columns at a time: its vectors over the queries don't fit the registers at once.
    PARTS: tl.constexpr = BQ // BP
    b_totals = columns(tl.zeros([BG, BQ], tl.float32), PARTS)
    for i_level in tl.static_range(L):
        for i_region in range(R):
            b_dot = dot(
                gallery.levels[i_level] + i_row * (R * CHANNELS[i_level]),
                query.levels[i_level] + i_query * (R * CHANNELS[i_level]),
                o_g * R + i_region,
                tl.arange(0, BQ) * R + i_region,
                CHANNELS[i_level],
                BG,
                BQ,
                BC,
                WIDEN,
            )
            b_dots = columns(b_dot, PARTS)
            b_sums = ()
            for i in tl.static_range(PARTS):
                o_q = i_query + i * BP + tl.arange(0, BP)
                b_terms = terms(
                    b_dots[i], query, gallery, squares, i_row, o_g, o_q, padded, i_region, i_level, R, L, POWER
                )
                b_sums += (b_totals[i] + b_terms,)
            b_totals = b_sums
    for i in tl.static_range(PARTS):
        o_q = i_query + i * BP + tl.arange(0, BP)
        emit(b_totals[i], sink, o_q, i_row, queries, start, stop, scale, slack, BG, True, APPEND)


def columns_at_a_time(queries: int) -> int:
    """BP for a tile of so many queries: a quarter, which is what its registers have room for."""
    return max(queries // 4, 8)


def launch(
    query: CentredQuery,
    gallery: Side,
    squares: Tensor,
    queries: int,
    sink: Matrix | Appended,
    rows: range,
    region_weight_power: int,
    underflow: float,
    tile: Tile,
) -> None:
    """Put lower bounds of the distances of all queries to gallery `rows` into the sink.

    query: padded to a whole number of `tile.queries`; queries: without the padding. squares:
    `GalleryBlock.square_from_centre`. underflow: `bounds.underflow_error` of the two sides.
    """
    regions, levels, _ = query.base.shape
    relative = 1.01 * FLOAT32_ROUNDOFF * (1 + weighted_sum_error(regions * levels))
    scale, slack = scale_and_slack(relative, underflow, region_weight_power)
    grid = (triton.cdiv(queries, tile.queries) * triton.cdiv(len(rows), tile.rows),)
    with current(squares.device):
        product_kernel[grid](
            query,
            gallery,
            squares,
            sink,
            queries,
            rows.start,
            rows.stop,
            scale,
            slack,
            R=regions,
            CHANNELS=tuple(level.shape[2] for level in gallery.levels),
            POWER=region_weight_power,
            BG=tile.rows,
            BQ=tile.queries,
            BC=tile.channels,
            BP=columns_at_a_time(tile.queries),
            APPEND=isinstance(sink, Appended),
            WIDEN=interpreted(),
            num_warps=tile.warps,
            num_stages=tile.stages,
            enable_fp_fusion=True,
        )
