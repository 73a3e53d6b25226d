"""Search photos by sketch: `Retriever(gallery="my.gallery").search("sketch.png")`.

Names are imported on first use, so that the torch-free parts (errors, gallery, catalogue) load without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.explain import Explanation
    from engine.retriever import Retriever
    from engine.types import AddReport, Match, SearchResult, Skipped

__all__ = ["AddReport", "Explanation", "Match", "Retriever", "SearchResult", "Skipped"]

_HOME = {
    "AddReport": "engine.types",
    "Explanation": "engine.explain",
    "Match": "engine.types",
    "Retriever": "engine.retriever",
    "SearchResult": "engine.types",
    "Skipped": "engine.types",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'engine' has no attribute {name!r}")
