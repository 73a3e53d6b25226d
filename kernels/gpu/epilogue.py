"""What ends both forms of the distance kernel: the pair's weights, the rounding slack, and where the result goes."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,assignment,misc"
# Kernels are Triton's language, which has no types of Python's.

import triton
import triton.language as tl


@triton.jit
def weighted(b_norm, b_region, b_level, POWER: tl.constexpr):
    """A term w[r, l] * norm times 2^(1 + p), from the sums of the two sides' region and level weights."""
    b_term = b_norm * b_level * b_region
    if POWER == 2:
        b_term *= b_region
    return b_term


@triton.jit
def emit(
    b_total,  # [BG, BQ], sums of `weighted` terms
    sink,  # Matrix or Appended
    o_q,  # [BQ], queries of the tile, int64
    i_row,  # first gallery row of the tile, int64
    queries,  # Q
    start,  # first gallery row of the launch
    stop,  # behind its last
    scale,  # undoes `weighted`'s 2^(1 + p), and for bounds takes the relative slack off
    slack,  # absolute
    BG: tl.constexpr,
    BOUND: tl.constexpr,
    APPEND: tl.constexpr,
):
    """Turns sums into distances or (BOUND) lower bounds of them, and puts these into the sink."""
    o_g = i_row + tl.arange(0, BG)
    m_pair = (o_g < stop)[:, None] & (o_q < queries)[None, :]
    b_result = b_total * scale
    if BOUND:
        # Neither infinity nor NaN, what overflow leaves, passes the comparison.
        b_result = tl.where(b_total < float("inf"), tl.maximum(b_result - slack, 0.0), 0.0)
    if APPEND:
        b_limit = tl.load(sink.limits + o_q, mask=o_q < queries, other=0.0)
        b_live = tl.load(sink.live + o_g, mask=o_g < stop, other=0)
        m_near = m_pair & (b_result < b_limit[None, :]) & (b_live != 0)[:, None]
        p_count = tl.broadcast_to(sink.counts + o_q[None, :], m_near.shape)
        b_place = tl.atomic_add(p_count, 1, mask=m_near, sem="relaxed")  # the lists are read after the kernel
        b_key = (b_result.to(tl.int32, bitcast=True).to(tl.int64) << 32) | o_g[:, None]
        tl.store(sink.keys + o_q[None, :] * sink.capacity + b_place, b_key, mask=m_near & (b_place < sink.capacity))
    else:
        tl.store(sink.out + o_q[None, :] * (stop - start) + (o_g - start)[:, None], b_result, mask=m_pair)


def scale_and_slack(relative: float, underflow: float | None, region_weight_power: int) -> tuple[float, float]:
    """What `emit` takes off a result, which is within `relative` and `underflow` of the canonical distance.

    underflow: None for the distance itself, from which nothing is taken but `weighted`'s factor.
    2^-22 and 2^-20 are for `emit`'s own two roundings, and for these numbers' to float32.
    """
    unit = 2.0 ** -(1 + region_weight_power)
    if underflow is None:
        return unit, 0.0
    return unit * (1 - 2.0**-22) / (1 + relative), underflow * (1 + 2.0**-20)
