"""What consecutive rows share: one gallery and one provider's copy of it at a time."""

from dataclasses import dataclass

import torch
from torch import Tensor

from benches.cases import Rows, draw_large
from benches.memory import PeakMemory, free_bytes
from benches.oracle import oracle
from benches.providers import Provider, Searcher
from benches.searches import QUERIES, TOP_KS, Search

CHECKED_QUERIES = 64
"""Queries whose answer is compared: the oracle of all 1000 would take longer than the benches."""


@dataclass(frozen=True)
class Inputs:
    """A gallery (float16) and the most queries it is searched for (float32), on one device.

    nearest: the oracle's rows for the first queries, int64 [CHECKED_QUERIES, the largest top_k].
    free_bytes: memory that a provider may take.
    """

    gallery: Rows
    query: Rows
    nearest: Tensor
    free_bytes: int


@dataclass(frozen=True)
class Ready:
    """A provider's searcher, and the count of its memory that began before it was made."""

    searcher: Searcher
    memory: PeakMemory


class Stage:
    """Keeps the inputs and the searcher of the row before, and drops them when the next row needs others."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._gallery: tuple[str, int] | None = None
        self._inputs: Inputs | None = None
        self._provider = ""
        self._ready: Ready | None = None

    def inputs(self, search: Search) -> Inputs:
        """The inputs of a search."""
        if self._inputs is None or self._gallery != (search.trunk, search.photos):
            self.clear()
            gallery = draw_large(search.photos, search.channels, torch.float16, seed=0).to(self.device)
            query = draw_large(max(QUERIES), search.channels, torch.float32, seed=1).to(self.device)
            nearest = oracle(query[:CHECKED_QUERIES], gallery, max(TOP_KS))
            self._inputs = Inputs(gallery, query, nearest, free_bytes(self.device))
            self._gallery = (search.trunk, search.photos)
        return self._inputs

    def ready(self, provider: Provider, inputs: Inputs) -> Ready:
        """The provider's searcher of the present gallery."""
        if self._ready is None or self._provider != provider.name:
            self._drop_searcher()
            memory = PeakMemory(self.device)
            self._ready, self._provider = Ready(provider.prepare(inputs.gallery), memory), provider.name
        return self._ready

    def clear(self) -> None:
        """Drop everything."""
        self._drop_searcher()
        self._inputs = self._gallery = None

    def _drop_searcher(self) -> None:
        if self._ready is not None:
            self._ready.searcher.close()
        self._ready = None
