"""MLRM, Multi-Level Region Matching: the PyTorch reference, its training and its evaluation.

Source: Ling, Xing, Li, Niu, "Multi-Level Region Matching for Fine-Grained Sketch-Based Image Retrieval", ACM MM 2022.

Names are imported on first use, so that the torch-free parts (errors, images) load without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlrm.config import MLRMConfig
    from mlrm.distance import pair_distance
    from mlrm.features import Features
    from mlrm.model import MLRM

__all__ = ["MLRM", "Features", "MLRMConfig", "pair_distance"]
__version__ = "0.1.0"

_HOME = {
    "MLRM": "mlrm.model",
    "MLRMConfig": "mlrm.config",
    "Features": "mlrm.features",
    "pair_distance": "mlrm.distance",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'mlrm' has no attribute {name!r}")
