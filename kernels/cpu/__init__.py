"""The operations on a plain processor, compiled by numba: the memory's speed for few queries, fast products for many.

The first call for a type of storage compiles: about 10 s of one core for few queries and 4 s for many. Where a folder
can be written (beside the modules, or the user's cache), later processes find the result and start in 0.3 s.
"""

import platform

import torch

from kernels.cpu.direct import lower_bounds, pair_distance
from kernels.cpu.direct_pairs import bounds_of_pairs
from kernels.cpu.nearest import smallest_bounds
from kernels.cpu.rescore import rescore_pairs
from kernels.cpu.short import hold_codes, screen_codes
from kernels.cpu.tile import host_features
from kernels.reference import region_pool

__all__ = [
    "bounds_of_pairs",
    "hold_codes",
    "lower_bounds",
    "pair_distance",
    "region_pool",
    "rescore_pairs",
    "screen_codes",
    "smallest_bounds",
    "why_not",
]


def why_not(device: torch.device) -> str | None:
    """Why tensors of `device` can't be computed on here, or None."""
    if device.type != "cpu":
        return "its tensors aren't in the processor's memory; move them there"
    if platform.machine().lower() in ("x86_64", "amd64") and not host_features().get("f16c"):
        return "this processor can't convert float16 (x86 before 2012); use impl='reference'"
    return None
