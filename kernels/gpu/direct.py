"""The distance from differences in float32: for few queries, and wherever near neighbours must not cancel.

    D(q, g) = sum over r, l of w[r, l] * sqrt(sum over c of (q[r, l, c] - g[r, l, c])^2)

A program takes BG gallery rows and BQ queries. It reads each row once (20.7 KB in float16 with 10,368 values), each
query's values from the cache, and keeps everything else in registers: the squares [BG, BQ, BC] of one (region, level)
with BC channels side by side, so that lanes are added up once a term and not once a step. Two instructions a value and
query: bound by memory up to about 4 queries, by arithmetic above.
Error: `bounds.direct_error`, for any order of summation, plus `bounds.underflow_error`.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,assignment,misc"
# Kernels are Triton's language, which has no types of Python's.

import triton
import triton.language as tl

from kernels.bounds import direct_error
from kernels.gpu.availability import current
from kernels.gpu.epilogue import emit, scale_and_slack, weighted
from kernels.gpu.operands import Appended, Matrix, Side
from kernels.gpu.tiles import Tile


@triton.jit
def norms_of_differences(
    gallery,  # to vectors of C values
    query,  # to BQ vectors of C values, one every `query_stride` values
    o_g,  # [BG], numbers of vectors
    query_stride,
    last_query,
    C: tl.constexpr,
    BG: tl.constexpr,
    BQ: tl.constexpr,
    BC: tl.constexpr,
):
    """Euclidean distances of gallery and query vectors: a tuple of BQ vectors [BG]."""
    b_squares = ()
    for _ in tl.static_range(BQ):
        b_squares += (tl.zeros([BG, BC], tl.float32),)
    for i_channel in range(0, C, BC):
        o_c = i_channel + tl.arange(0, BC)
        p_gallery = gallery + o_g[:, None] * C + o_c[None, :]
        if C % BC == 0:
            b_gallery = tl.load(p_gallery).to(tl.float32)
        else:
            b_gallery = tl.load(p_gallery, mask=(o_c < C)[None, :], other=0.0).to(tl.float32)
        b_sums = ()
        for i in tl.static_range(BQ):
            p_query = query + tl.minimum(i, last_query) * query_stride + o_c
            if C % BC == 0:
                b_query = tl.load(p_query).to(tl.float32)
            else:
                b_query = tl.load(p_query, mask=o_c < C, other=0.0).to(tl.float32)
            b_difference = b_gallery - b_query[None, :]
            b_sums += (b_squares[i] + b_difference * b_difference,)
        b_squares = b_sums
    b_norms = ()
    for i in tl.static_range(BQ):
        b_norms += (tl.sqrt_rn(tl.sum(b_squares[i], 1)),)
    return b_norms


@triton.jit(do_not_specialize=["queries", "start", "stop"])
def direct_kernel(
    query,  # Side
    gallery,  # Side
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
    BOUND: tl.constexpr,
    APPEND: tl.constexpr,
):
    """Distances, or (BOUND) lower bounds of them, of all queries to the rows of a launch, into the sink."""
    L: tl.constexpr = len(CHANNELS)
    query_tiles = tl.cdiv(queries, BQ)
    # Neighbouring programs share gallery rows: these come from memory once, and then from the cache.
    i_query = (tl.program_id(0) % query_tiles).to(tl.int64) * BQ
    i_row = start + (tl.program_id(0) // query_tiles).to(tl.int64) * BG
    # Rows and queries behind the end repeat the last one, so that the loop needs no mask for them.
    o_g = tl.minimum(tl.arange(0, BG), stop - 1 - i_row).to(tl.int32)
    last_query = queries - 1 - i_query

    b_totals = ()
    for _ in tl.static_range(BQ):
        b_totals += (tl.zeros([BG], tl.float32),)
    for i_level in tl.static_range(L):
        for i_region in range(R):
            b_norms = norms_of_differences(
                gallery.levels[i_level] + i_row * (R * CHANNELS[i_level]),
                query.levels[i_level] + i_query * (R * CHANNELS[i_level]) + i_region * CHANNELS[i_level],
                o_g * R + i_region,
                R * CHANNELS[i_level],
                last_query,
                CHANNELS[i_level],
                BG,
                BQ,
                BC,
            )
            b_region = tl.load(gallery.region_weights + i_row * R + o_g * R + i_region)
            b_level = tl.load(gallery.level_weights + i_row * (R * L) + (o_g * R + i_region) * L + i_level)
            b_sums = ()
            for i in tl.static_range(BQ):
                o_q = i_query + tl.minimum(i, last_query)
                region_q = tl.load(query.region_weights + o_q * R + i_region)
                level_q = tl.load(query.level_weights + (o_q * R + i_region) * L + i_level)
                b_sums += (b_totals[i] + weighted(b_norms[i], b_region + region_q, b_level + level_q, POWER),)
            b_totals = b_sums
    for i in tl.static_range(BQ):
        o_q = i_query + i + tl.zeros([1], tl.int64)
        emit(b_totals[i][:, None], sink, o_q, i_row, queries, start, stop, scale, slack, BG, BOUND, APPEND)


def launch(
    query: Side,
    gallery: Side,
    sink: Matrix | Appended,
    rows: range,
    region_weight_power: int,
    underflow: float | None,
    tile: Tile,
) -> None:
    """Put distances of all queries to gallery `rows` into the sink, or lower bounds of them.

    underflow: `bounds.underflow_error` of the two sides for lower bounds, None for distances.
    """
    queries, regions = query.region_weights.shape
    channels = tuple(level.shape[2] for level in query.levels)
    scale, slack = scale_and_slack(direct_error(channels, regions), underflow, region_weight_power)
    grid = (triton.cdiv(queries, tile.queries) * triton.cdiv(len(rows), tile.rows),)
    with current(query.region_weights.device):
        direct_kernel[grid](
            query,
            gallery,
            sink,
            queries,
            rows.start,
            rows.stop,
            scale,
            slack,
            R=regions,
            CHANNELS=channels,
            POWER=region_weight_power,
            BG=tile.rows,
            BQ=tile.queries,
            BC=tile.channels,
            BOUND=underflow is not None,
            APPEND=isinstance(sink, Appended),
            num_warps=tile.warps,
            num_stages=tile.stages,
            enable_fp_fusion=True,
        )
