"""How long an encoder takes for batches of one size."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median, quantiles

import torch

from engine.encoders import Encoder

WARM_UP, FEWEST = 2, 5


@dataclass(frozen=True)
class Timing:
    """Of one batch size, in milliseconds: the median call, and what nine in ten calls took at most."""

    batch: int
    median: float
    ninety: float
    calls: int

    @property
    def images_a_second(self) -> float:
        """By the median."""
        return 1e3 * self.batch / self.median


def time_encoder(encoder: Encoder, batch: int, seconds: float) -> Timing:
    """Encode noise as sketches, uint8 [batch, 3, size, size] on the CPU, again and again for that long.

    The features are brought to the CPU, so that the clock sees all that a GPU does. At least `FEWEST` calls are timed,
    after `WARM_UP`.
    """
    size = encoder.image_size
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, generator=generator)
    for _ in range(WARM_UP):
        encoder.encode(images, "sketch").to("cpu")
    times: list[float] = []
    while len(times) < FEWEST or sum(times) < 1e3 * seconds:
        started = time.perf_counter()
        encoder.encode(images, "sketch").to("cpu")
        times.append(1e3 * (time.perf_counter() - started))
    return Timing(batch, median(times), quantiles(times, n=10, method="inclusive")[-1], len(times))
