"""Triton kernels for NVIDIA GPUs: an implementation of `kernels.dispatch.Implementation`.

Triton is imported with the first operation that is used; `why_not` needs none.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from kernels.gpu.availability import why_not

if TYPE_CHECKING:
    from kernels.gpu.matrix import lower_bounds, pair_distance
    from kernels.gpu.nearest import smallest_bounds
    from kernels.gpu.pool import region_pool
    from kernels.gpu.rescore import bounds_of_pairs, rescore_pairs
    from kernels.gpu.short_screen import hold_codes, screen_codes

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

_HOME = {
    "bounds_of_pairs": "kernels.gpu.rescore",
    "hold_codes": "kernels.gpu.short_screen",
    "lower_bounds": "kernels.gpu.matrix",
    "pair_distance": "kernels.gpu.matrix",
    "region_pool": "kernels.gpu.pool",
    "rescore_pairs": "kernels.gpu.rescore",
    "screen_codes": "kernels.gpu.short_screen",
    "smallest_bounds": "kernels.gpu.nearest",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
