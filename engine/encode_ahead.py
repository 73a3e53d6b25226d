"""Batches of photos encoded by a thread of its own, while others are decoded and committed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from engine.sources import Photo
from mlrm.features import Features

BATCHES_AHEAD = 4
"""Batches in the encoder's hands before one is taken back: the work that goes on during a commit."""


@dataclass(frozen=True)
class Batch:
    """Photos, their features in the same order, and whether they are the last of their segment."""

    photos: list[Photo]
    features: Future[Features]
    closes: bool


class EncodeAhead:
    """A queue of batches through `encode`, in order; a context manager that leaves no thread behind."""

    def __init__(self, encode: Callable[[list[Photo]], Features]) -> None:
        self._encode = encode
        self._thread = ThreadPoolExecutor(1)
        self._batches: deque[Batch] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def __len__(self) -> int:
        return len(self._batches)

    def put(self, photos: list[Photo], closes: bool) -> None:
        """Have photos encoded."""
        self._batches.append(Batch(photos, self._thread.submit(self._encode, photos), closes))

    def take(self) -> Batch:
        """The oldest batch; its `features.result()` waits for the encoder, and raises what it raised."""
        return self._batches.popleft()
