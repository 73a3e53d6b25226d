"""The retrieval operations of MLRM, each with an eager twin in `kernels.reference` that is its specification.

Names are imported on first use; Triton only when an operation runs on a GPU.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernels.blocks import GalleryBlock
    from kernels.dispatch import ImplementationError
    from kernels.ops import distance_topk, pair_distance, region_pool
    from kernels.rank import distance_rank

__all__ = ["GalleryBlock", "ImplementationError", "distance_rank", "distance_topk", "pair_distance", "region_pool"]

_HOME = {
    "GalleryBlock": "kernels.blocks",
    "ImplementationError": "kernels.dispatch",
    "distance_rank": "kernels.rank",
    "distance_topk": "kernels.ops",
    "pair_distance": "kernels.ops",
    "region_pool": "kernels.ops",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'kernels' has no attribute {name!r}")
