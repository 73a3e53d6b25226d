"""Our implementations: the kernels over a gallery in memory, and the engine over one on disk."""

import tempfile
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from benches.cases import Rows
from benches.providers.base import Searcher
from benches.searches import Search
from engine import Retriever
from engine.ingest import SEGMENT_PHOTOS
from kernels import GalleryBlock, ImplementationError, distance_topk
from kernels.cpu import products
from kernels.cpu.nearest import SERVED
from kernels.cpu.packed import packed
from kernels.dispatch import pick_for
from mlrm.features import Features


class Kernels(Searcher):
    """`distance_topk` of one implementation; what it derives from the rows is kept, and counted as its memory."""

    def __init__(self, gallery: Rows, impl: str) -> None:
        self._block, self._impl = GalleryBlock.of(gallery), impl

    def search(self, query: Rows, top_k: int) -> Tensor:
        """Exact. As the first sketches find the rows, however many came before: see `Packed`.

        Only sketches that pay for codes in one search have them made, and find them later.
        """
        self._block.cache.pop(SERVED, None)
        return distance_topk(query, self._block, top_k, impl=self._impl)[1]


class Packed(Kernels):
    """As the CPU's kernels search once enough sketches came before: with 8-bit codes of the rows."""

    def __init__(self, gallery: Rows) -> None:
        super().__init__(gallery, "cpu")
        packed(self._block)


class Engine(Searcher):
    """`Retriever.search_features` over segments on disk, of the size that indexing photos makes."""

    def __init__(self, gallery: Rows) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bench-gallery-")
        self._device = gallery.region_weights.device
        for start in range(0, len(gallery), SEGMENT_PHOTOS):
            rows = gallery[start : start + SEGMENT_PHOTOS]
            ids = [f"{start + number:09}" for number in range(len(rows))]  # in the order of the rows: ties go by id
            self._retriever.add_features(_features(rows), ids)

    @cached_property
    def _retriever(self) -> Retriever:
        return Retriever(gallery=Path(self._folder.name) / "gallery", device=str(self._device))

    def search(self, query: Rows, top_k: int) -> Tensor:
        """Exact, with everything a user gets."""
        results = self._retriever.search_features(_features(query), top_k)
        return torch.tensor([[int(match.id) for match in result] for result in results])

    def close(self) -> None:
        """Remove the gallery."""
        self._folder.cleanup()


def _features(rows: Rows) -> Features:
    return Features(rows.levels, rows.region_weights, rows.level_weights)


def why_not(impl: str, device: torch.device) -> str | None:
    """What the implementation says."""
    try:
        pick_for(impl, device)
    except ImplementationError as error:
        return str(error)
    return None


def why_not_packed(device: torch.device) -> str | None:
    """Codes are for processors with a product for them."""
    return why_not("cpu", device) or (
        None if products.fastest() else "this processor has neither VNNI nor AVX2, so rows get no codes"
    )


def kernel_needs(search: Search) -> int:
    """At most another copy of the rows."""
    return search.stored_bytes


def engine_needs(search: Search) -> int:
    """The mapped files, which the system may drop, and a segment on its way there."""
    return search.stored_bytes
