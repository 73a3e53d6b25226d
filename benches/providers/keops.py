"""KeOps: the formula written out, compiled, and reduced without a matrix of all pairs. Needs a C++ compiler."""

import os
import shutil
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from benches.cases import Rows
from benches.providers.base import Searcher
from benches.searches import Search


class KeOps(Searcher):
    """Keeps the gallery as float32, one contiguous tensor a region and level."""

    def __init__(self, gallery: Rows) -> None:
        self._lazy = import_module("pykeops.torch").LazyTensor
        self._regions = gallery.region_weights.shape[1]
        self._gallery = self._symbols(gallery, axis=0)

    def search(self, query: Rows, top_k: int) -> Tensor:
        """`argKmin` of the weighted sum of norms."""
        own = self._symbols(query, axis=1)
        total: Any = 0
        for (query_region, query_terms), (gallery_region, gallery_terms) in zip(own, self._gallery, strict=True):
            inner: Any = 0
            for (q, query_level), (g, gallery_level) in zip(query_terms, gallery_terms, strict=True):
                inner = ((q - g) ** 2).sum(-1).sqrt() * (query_level + gallery_level) + inner
            total = inner * (query_region + gallery_region) + total
        nearest: Tensor = total.argKmin(top_k, dim=1)
        return nearest

    def _symbols(self, rows: Rows, axis: int) -> list[tuple[Any, list[tuple[Any, Any]]]]:
        """For each region its weight, and for each level its vectors and weight; images run along the other axis."""

        def symbol(values: Tensor) -> Any:
            return self._lazy(values.float().reshape(len(rows), -1).contiguous().unsqueeze(axis))

        return [
            (
                symbol(rows.region_weights[:, region]),
                [
                    (symbol(level[:, region]), symbol(rows.level_weights[:, region, number]))
                    for number, level in enumerate(rows.levels)
                ],
            )
            for region in range(self._regions)
        ]


def why_not(device: torch.device) -> str | None:
    """KeOps isn't installed, or there is no compiler for what it generates."""
    if find_spec("pykeops") is None:
        return "pykeops isn't installed: pip install -e '.[bench]'"
    compilers = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    if not any(map(shutil.which, compilers)):
        return f"KeOps compiles C++ and found none of {', '.join(compilers)}: install one, or set CXX"
    return None


def needs(search: Search) -> int:
    """The float32 gallery."""
    return 4 * search.photos * search.values
