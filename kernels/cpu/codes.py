"""A vector as integers and the norm of what that loses: x = scale * codes + residual, |residual| <= error."""

import numpy as np
from numpy.typing import NDArray

from kernels.bounds import FLOAT32_ROUNDOFF
from kernels.cpu.jit import part
from kernels.cpu.rows import load

LEVELS = 127
"""8-bit codes are -127 to 127."""
MAGNITUDE = np.int32(2**31 - 1)
"""All bits of a float32 but its sign."""
BLOCK = 128
"""Squares that are added up in float32; their sums are added in float64."""
SMALLEST = 2.0**-120
"""Scales are at least this, or 0: safe where denormals are flushed."""
UNDERFLOW = 2.0**-126
"""A square in float32 loses less than this below its normal range."""
ROUNDED = 4 * FLOAT32_ROUNDOFF
"""How far float32 arithmetic may move a residual, in units of |x|: see `encode`."""
GROWN = 1 + 192 * FLOAT32_ROUNDOFF


@part
def encode(
    stored: NDArray[np.generic],
    address: int,
    centre: NDArray[np.float32],
    values: NDArray[np.float32],
    codes: NDArray[np.int8],
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Write the codes of the vector at `address`, measured from `centre` float32 [C], into `codes` int8 [C].

    values: float32 [C], for what is being worked on. Returns float32 (scale, |x|^2, |x|, error).

    With u float32's unit roundoff: the difference from the centre is off by u |x|, code * scale by 2 u |x| and the
    residual by u of itself, so it lacks at most 3 u |x| (`ROUNDED` is 4) and u of itself. Up to `BLOCK` squares add up
    to within 129 u, so |x|^2 is within 132 u, norms within 66 u. `GROWN` covers in the error its own 67 u, the 66 u of
    |x|, by which it is multiplied, and 2^-20, 16 u, for what a float32 bound does with both.
    """
    channels = len(codes)
    # The bits of non-negative numbers are ordered as they are, and vector units find the largest of integers.
    bits, top = values.view(np.int32), np.zeros(1, np.int32)
    for c in range(channels):
        values[c] = load(stored, address, c) - centre[c]
    for c in range(channels):
        top[0] = max(top[0], np.int32(bits[c] & MAGNITUDE))
    scale = np.float32(top.view(np.float32)[0] / np.float32(LEVELS))
    # A scale that isn't a normal number leaves codes 0 and all of x in the residual.
    usable = scale >= SMALLEST and scale < np.inf
    step = scale if usable else np.float32(0)
    inverse = np.float32(1) / scale if usable else np.float32(0)
    square = lost = channels * UNDERFLOW
    for start in range(0, channels, BLOCK):
        # Of its own slices: an index that might be negative keeps vector units out.
        part_values, part_codes = values[start : start + BLOCK], codes[start : start + BLOCK]
        of_values = of_residuals = np.float32(0)
        for c in range(len(part_values)):
            x = part_values[c]
            code = np.rint(x * inverse)
            part_codes[c] = np.int8(code)
            residual = x - code * step
            of_values += x * x
            of_residuals += residual * residual
        square += np.float64(of_values)
        lost += np.float64(of_residuals)
    norm = np.sqrt(square)
    error = (np.sqrt(lost) + ROUNDED * norm) * GROWN
    return step, np.float32(square), np.float32(norm), np.float32(error)
