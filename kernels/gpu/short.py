"""Lower bounds and estimates from short codes, threshold and compaction in one pass: `kernels.short.bounds` in float32.

A program takes BG photos and BQ sketches. For each (region, level) the tensor cores multiply the photos' int8 codes
with both limbs of the sketches' 16-bit integers, exact in int32; norms, errors and weights make of that a term of the
lower bound and of the estimate. Photos within a sketch's limit are appended to its list; nothing else is written.
Bytes: a photo's codes, 6 for each term and 2 for each weight, from memory once: its programs are neighbours.

The slack is the CPU's, which `kernels.short.operands` lists: every float32 number here has as many roundings as there,
or fewer (multiplications and additions may be fused), and roots are off by two units at most (PTX: sqrt.approx), as is
assumed there. `Sketches.factor` has room for the roundings of the last line.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,assignment,misc"
# Kernels are Triton's language, which has no types of Python's.

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.availability import current
from kernels.gpu.short_codes import ALIGNMENT, STEP, Photos, Sketches
from kernels.gpu.tiles import Tile
from kernels.short import codes, operands

BASE, TWICE, OWN_ERROR, OWN_CUT = map(tl.constexpr, range(4))
LOOSE, SHRINK, LEVEL_WEIGHT, UNIT = map(tl.constexpr, range(4, 8))
assert (operands.BASE, operands.TWICE, operands.OWN_ERROR, operands.OWN_CUT) == (0, 1, 2, 3)
assert (operands.LOOSE, operands.SHRINK, operands.LEVEL_WEIGHT, operands.UNIT) == (4, 5, 6, 7)
SQUARE, ERROR, CUT = tl.constexpr(codes.SQUARE), tl.constexpr(codes.ERROR), tl.constexpr(codes.CUT)
SQUARE_KEPT, ROOT_KEPT = tl.constexpr(float(operands.SQUARE_KEPT)), tl.constexpr(float(operands.ROOT_KEPT))
CUT_LOOSE = tl.constexpr(float(operands.CUT_LOOSE))

TILES = (Tile(1, 128, STEP, 4, 3), Tile(16, 128, STEP, 8, 3))
"""For one sketch, and for many. The tensor cores take 16 columns at least: the limbs of one sketch and 14 of zeros, or
one limb of 16 sketches. A program has 4 KB a step under way, and few registers, so that a multiprocessor holds many."""
COLUMNS = tl.constexpr(16)


class Found(NamedTuple):
    """Lists of photos, one for each sketch, in no particular order.

    `counts` says how many were within the limit, also where that is more than fit.
    """

    keys: Tensor  # [Q, capacity], int64: the lower bound's bits above the row's
    estimates: Tensor  # [Q, capacity], float32
    capacity: int
    counts: Tensor  # [Q], int32
    limits: Tensor  # [Q], float32
    live: Tensor  # [N], bool


@triton.jit
def products_of_one(p_codes, p_limbs, steps, other, BG: tl.constexpr, BK: tl.constexpr):
    """Integer products of BG photos with one sketch: int32 [BG]."""
    o_column = tl.arange(0, COLUMNS)
    b_dot = tl.zeros([BG, COLUMNS], tl.int32)
    for i_step in range(0, steps):
        o_k = i_step * BK + tl.arange(0, BK)
        b_codes = tl.load(p_codes[:, None] + o_k[None, :])
        p_limb = p_limbs + o_column[None, :] * other + o_k[:, None]
        b_limbs = tl.load(p_limb, mask=(o_column < 2)[None, :], other=0)
        b_dot = tl.dot(b_codes, b_limbs, b_dot, out_dtype=tl.int32)
    b_scale = tl.where(o_column == 0, 256, tl.where(o_column == 1, 1, 0))
    return tl.sum(b_dot * b_scale[None, :], 1)


@triton.jit
def products_of_many(p_codes, p_limbs, steps, width, other, BG: tl.constexpr, BQ: tl.constexpr, BK: tl.constexpr):
    """Integer products of BG photos with BQ sketches: int32 [BG, BQ]."""
    b_high, b_low = tl.zeros([BG, BQ], tl.int32), tl.zeros([BG, BQ], tl.int32)
    for i_step in range(0, steps):
        o_k = i_step * BK + tl.arange(0, BK)
        b_codes = tl.load(p_codes[:, None] + o_k[None, :])
        p_limb = p_limbs + tl.arange(0, BQ)[None, :] * width + o_k[:, None]
        b_high = tl.dot(b_codes, tl.load(p_limb), b_high, out_dtype=tl.int32)
        b_low = tl.dot(b_codes, tl.load(p_limb + other), b_low, out_dtype=tl.int32)
    return (b_high << 8) + b_low


@triton.jit
def at_least_0(b_values):
    """The values where they are above 0, else 0; 0 for what is not a number."""
    return tl.where(b_values > 0, b_values, 0.0)


@triton.jit(do_not_specialize=["queries", "padded", "rows", "lines", "spans", "apart"])
def screen_kernel(
    sketches,  # Sketches
    photos,  # Photos
    found,  # Found
    queries,  # Q
    padded,  # P
    rows,  # N
    lines,  # 16 bytes each, of a row of codes
    spans,  # BK each, of a sketch's coordinates
    apart,  # a program's tile is this many tiles behind the one before: 1 for all photos
    slack,
    TERMS: tl.constexpr,
    LEVELS: tl.constexpr,
    POWER: tl.constexpr,
    BG: tl.constexpr,
    BQ: tl.constexpr,
    BK: tl.constexpr,
    APPEND: tl.constexpr,  # what is within the limit; else all of the launch, in its order, infinity for dead rows
):
    """Screen tiles of photos against all sketches, into the lists."""
    query_tiles = padded // BQ
    i_tile = (tl.program_id(0) // query_tiles).to(tl.int64)
    i_row = i_tile * apart * BG
    o_q = (tl.program_id(0) % query_tiles) * BQ + tl.arange(0, BQ)
    # Rows behind the end repeat the last one: the loop needs no mask for them.
    o_g = tl.minimum(tl.arange(0, BG), rows - 1 - i_row).to(tl.int32)
    p_codes = photos.codes + (i_row + o_g) * (lines * 16)
    width = spans * BK
    p_limbs = sketches.limbs + (tl.program_id(0) % query_tiles) * (BQ * width)

    b_lower, b_guess = tl.zeros([BG, BQ], tl.float32), tl.zeros([BG, BQ], tl.float32)
    for i_term in range(TERMS):
        steps = tl.load(photos.steps + i_term)
        p_term_codes = p_codes + tl.multiple_of(tl.load(photos.first + i_term), 16)
        if BQ == 1:
            b_product = products_of_one(p_term_codes, p_limbs, steps, padded * width, BG, BK)[:, None]
        else:
            b_product = products_of_many(p_term_codes, p_limbs, steps, width, padded * width, BG, BQ, BK)
        p_limbs += steps * BK

        p_own = sketches.terms + i_term * (8 * padded) + o_q
        p_side = photos.sides + tl.cast(i_term * 3, tl.int64) * rows + i_row + o_g
        b_cut = tl.load(p_side + tl.cast(rows, tl.int64) * CUT).to(tl.float32)[:, None]
        b_square = tl.load(p_side + tl.cast(rows, tl.int64) * SQUARE).to(tl.float32)[:, None] * SQUARE_KEPT
        b_error = tl.load(p_side + tl.cast(rows, tl.int64) * ERROR).to(tl.float32)[:, None]
        b_own_cut = tl.load(p_own + OWN_CUT * padded)[None, :]

        b_apart = tl.load(p_own + BASE * padded)[None, :] + b_square
        b_apart = at_least_0(b_apart - tl.load(p_own + TWICE * padded)[None, :] * b_product.to(tl.float32))
        b_kept = tl.sqrt(b_apart) * ROOT_KEPT - (tl.load(p_own + OWN_ERROR * padded)[None, :] + b_error)
        b_kept = at_least_0(b_kept)
        b_off = tl.load(p_own + LOOSE * padded)[None, :] + CUT_LOOSE * b_cut
        b_left = at_least_0(tl.abs(b_own_cut - b_cut) - b_off)
        b_near = tl.sqrt(tl.load(p_own + SHRINK * padded)[None, :] * (b_kept * b_kept) + b_left * b_left)
        b_likely = tl.sqrt(b_apart + b_own_cut * b_own_cut + b_cut * b_cut)

        i_region = i_term // LEVELS
        p_weight = photos.weights + i_row + o_g
        b_region = tl.load(p_weight + tl.cast(i_region, tl.int64) * rows).to(tl.float32)[:, None]
        b_region = (b_region + tl.load(sketches.region_weights + i_region * padded + o_q)[None, :]) * 0.5
        b_level = tl.load(p_weight + tl.cast(TERMS // LEVELS + i_term, tl.int64) * rows).to(tl.float32)[:, None]
        b_level = (b_level + tl.load(p_own + LEVEL_WEIGHT * padded)[None, :]) * 0.5
        b_weight = b_level * b_region
        if POWER == 2:
            b_weight *= b_region
        b_weight *= tl.load(p_own + UNIT * padded)[None, :]
        b_lower += b_weight * b_near
        b_guess += b_weight * b_likely

    # What overflowed bounds nothing, and not a number is below no infinity.
    b_bound = at_least_0(b_lower * tl.load(sketches.factor + o_q)[None, :] - slack)
    b_bound = tl.where(b_lower < float("inf"), b_bound, 0.0)
    b_guess = tl.where(b_guess < float("inf"), b_guess, 0.0)
    o_row = i_row + tl.arange(0, BG)
    m_pair = (o_row < rows)[:, None] & (o_q < queries)[None, :]
    m_live = (tl.load(found.live + o_row, mask=o_row < rows, other=0) != 0)[:, None]
    if APPEND:
        b_limit = tl.load(found.limits + o_q, mask=o_q < queries, other=0.0)
        m_kept = m_pair & m_live & (b_bound <= b_limit[None, :])
        b_place = tl.atomic_add(
            tl.broadcast_to(found.counts + o_q[None, :], m_kept.shape), 1, mask=m_kept, sem="relaxed"
        )  # the lists are read after the kernel
        m_kept &= b_place < found.capacity
    else:
        b_bound, b_guess = tl.where(m_live, b_bound, float("inf")), tl.where(m_live, b_guess, float("inf"))
        b_place = tl.broadcast_to((i_tile * BG + tl.arange(0, BG))[:, None], m_pair.shape)
        m_kept = m_pair
    b_place = o_q[None, :].to(tl.int64) * found.capacity + b_place
    b_key = (b_bound.to(tl.int32, bitcast=True).to(tl.int64) << 32) | o_row[:, None]
    tl.store(found.keys + b_place, b_key, mask=m_kept)
    tl.store(found.estimates + b_place, b_guess, mask=m_kept)


def tile_for(queries: int) -> Tile:
    """The smallest tile that holds so many sketches, or the largest."""
    return TILES[0] if queries == 1 else TILES[1]


def launch(
    sketches: Sketches,
    photos: Photos,
    found: Found,
    queries: int,
    levels: int,
    region_weight_power: int,
    slack: float,
    apart: int,
    append: bool,
) -> None:
    """Screen every `apart`-th tile of photos against all sketches, padded for `tile_for(queries)`."""
    tile, (terms, _, padded) = tile_for(queries), sketches.terms.shape
    rows = photos.weights.shape[1]
    tiles = triton.cdiv(triton.cdiv(rows, tile.rows), apart)
    with current(photos.codes.device):
        screen_kernel[(tiles * (padded // tile.queries),)](
            sketches,
            photos,
            found,
            queries,
            padded,
            rows,
            (photos.codes.shape[0] - STEP) // (rows * ALIGNMENT),
            sketches.limbs.shape[2] // STEP,
            apart,
            slack,
            TERMS=terms,
            LEVELS=levels,
            POWER=region_weight_power,
            BG=tile.rows,
            BQ=tile.queries,
            BK=tile.channels,
            APPEND=append,
            num_warps=tile.warps,
            num_stages=tile.stages,
            enable_fp_fusion=True,
        )
