"""What every way to search offers to the benches."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from benches.cases import Rows
from benches.searches import Search


class Agreement(StrEnum):
    """What the answer is held to."""

    EXACT = "exact"  # ids and their order equal the oracle's
    RECALL = "recall"  # the same distance in float arithmetic: some ids differ
    OTHER = "another formula"  # nothing to compare


class Searcher(ABC):
    """A gallery made ready by one provider."""

    @abstractmethod
    def search(self, query: Rows, top_k: int) -> Tensor:
        """Row numbers of the nearest photos, nearest first, int64 [Q, top_k], on any device.

        query: float32 features of Q sketches on the gallery's device.
        """

    def note(self, queries: int) -> str:
        """What a reader should know of a search with so many queries."""
        return ""

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Give back what is not memory."""


def _always(device: torch.device) -> str | None:
    return None


def _stored(search: Search) -> int:
    return search.stored_bytes


@dataclass(frozen=True)
class Provider:
    """A way to search.

    prepare: makes a gallery (float16 levels, on one device) ready; may copy it.
    devices: types of device it is meant for; why_not: why it can't run on one of them here, or None.
    needs: bytes it holds at its peak beside the gallery, roughly; it isn't tried where they aren't free.
    most_pairs: Q x G above which it would take minutes.
    """

    name: str
    prepare: Callable[[Rows], Searcher]
    agreement: Agreement = Agreement.RECALL
    devices: tuple[str, ...] = ("cpu", "cuda")
    why_not: Callable[[torch.device], str | None] = _always
    needs: Callable[[Search], int] = _stored
    most_pairs: int | None = None

    def obstacle(self, search: Search, device: torch.device, free_bytes: int) -> str | None:
        """Why this search isn't measured, or None."""
        if reason := self.why_not(device):
            return reason
        if self.most_pairs is not None and search.pairs > self.most_pairs:
            return f"{search.pairs:,} pairs would take minutes; tried up to {self.most_pairs:,}"
        if (needed := self.needs(search)) > free_bytes:
            return f"doesn't fit: needs about {needed / 1e9:.1f} GB of the {free_bytes / 1e9:.1f} GB it may use"
        return None
