"""Time on a GPU: by CUDA events, with a cold L2 cache."""

from functools import cache

import torch
from torch import Tensor

FLUSHED_BYTES = 256 << 20
"""More than any L2 cache; writing it also keeps the GPU busy while the first launches are queued."""


class CudaTimer:
    """A timer for pytest-benchmark, which calls it before and after a round and takes the difference, in seconds.

    The first of two calls evicts the L2 cache and records an event; the second records another and waits for it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._begin: torch.cuda.Event | None = None
        self._elapsed = 0.0

    def read(self) -> float:
        """Seconds of all rounds so far."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        stream = torch.cuda.current_stream(self._device)
        if self._begin is None:
            _flushed(self._device).zero_()
            event.record(stream)
            self._begin = event
        else:
            event.record(stream)
            event.synchronize()
            self._elapsed += self._begin.elapsed_time(event) / 1e3
            self._begin = None
        return self._elapsed


@cache
def _flushed(device: torch.device) -> Tensor:
    return torch.empty(FLUSHED_BYTES, dtype=torch.uint8, device=device)
