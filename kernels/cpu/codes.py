"""A vector as integers and the norm of what that loses: x = scale * codes + residual, |residual| <= error."""

import numpy as np
from numpy.typing import NDArray

from kernels.cpu.jit import part
from kernels.cpu.rows import load

LEVELS = 127
"""8-bit codes are -127 to 127."""
MAGNITUDE = np.int64(2**63 - 1)
"""All bits of a float64 but its sign."""
SMALLEST = 2.0**-120
"""Scales, norms and errors are at least this (or the scale is 0): safe where denormals are flushed."""


@part
def encode(
    stored: NDArray[np.generic], address: int, centre: NDArray[np.float32], codes: NDArray[np.int8]
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Write the codes of the vector at `address`, measured from `centre` float32 [C], into `codes` int8 [C].

    Returns float32 (scale, |x|^2, |x|, error), none but |x|^2 below float32's normal range. The error is rounded up: it
    covers its own float64 arithmetic, and 2^-20 more for what a float32 bound does with it and with |x|.
    """
    channels = len(codes)
    values = np.empty(channels, np.float64)
    # The bits of non-negative numbers are ordered as they are, and vector units find the largest of integers.
    bits, top = values.view(np.int64), np.zeros(1, np.int64)
    for c in range(channels):
        values[c] = np.float64(load(stored, address, c)) - np.float64(centre[c])
    for c in range(channels):
        top[0] = max(top[0], bits[c] & MAGNITUDE)
    largest = top.view(np.float64)[0]
    scale = np.float32(largest / LEVELS)
    # A scale that isn't a normal number leaves codes 0 and all of x in the residual.
    usable = scale >= SMALLEST and scale < np.inf
    inverse = 1 / np.float64(scale) if usable else 0.0
    step = np.float64(scale) if usable else 0.0
    square, lost = 0.0, 0.0
    for c in range(channels):
        x = values[c]
        code = np.rint(x * inverse)
        codes[c] = np.int8(code)
        residual = x - code * step
        square += x * x
        lost += residual * residual
    norm = np.sqrt(square)
    error = (np.sqrt(lost) + 2.0**-48 * norm) * (1 + 2.0**-20)
    return np.float32(step), np.float32(square), np.float32(max(norm, SMALLEST)), np.float32(max(error, SMALLEST))
