"""FAISS flat: the nearest by one squared L2 distance over all values. Another formula, and a floor for reading them."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benches.cases import Rows
from benches.providers.base import Searcher
from benches.searches import Search

ADDED_ROWS = 4096


class FaissFlat(Searcher):
    """Keeps the rows as FAISS stores them: float16, the gallery's own bytes, or float32 (with matrix products)."""

    def __init__(self, gallery: Rows, *, half: bool) -> None:
        faiss: Any = import_module("faiss")
        faiss.omp_set_num_threads(torch.get_num_threads())
        values = sum(level[0].numel() for level in gallery.levels)
        self._index = (
            faiss.IndexScalarQuantizer(values, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_L2)
            if half
            else faiss.IndexFlatL2(values)
        )
        for start in range(0, len(gallery), ADDED_ROWS):
            self._index.add(_concatenated(gallery[start : start + ADDED_ROWS]))

    def search(self, query: Rows, top_k: int) -> Tensor:
        """The nearest of the concatenated values."""
        _, rows = self._index.search(_concatenated(query), top_k)
        return torch.from_numpy(rows)


def _concatenated(rows: Rows) -> NDArray[np.float32]:
    return torch.cat([level.flatten(1).float() for level in rows.levels], 1).numpy()


def why_not(device: torch.device) -> str | None:
    """FAISS isn't installed."""
    return None if find_spec("faiss") else "faiss isn't installed: pip install -e '.[bench]'"


def needs(half: bool, search: Search) -> int:
    """The index."""
    return (2 if half else 4) * search.photos * search.values
