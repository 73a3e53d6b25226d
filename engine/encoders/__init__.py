"""Encoders turn images into features; all behind one protocol, so that search doesn't know which one ran."""

from pathlib import Path
from typing import Literal, Protocol

from torch import Tensor

from mlrm.features import Features


class Encoder(Protocol):
    """A trained model, ready to encode."""

    name: str
    """How to load the same weights again, for messages: an absolute path, or `SHIPPED_NAME`."""
    file: Path
    """What it runs, or where that is two files the one for photos."""
    dtype: str
    """What the file says it computes in: fp32, fp16, bf16 or int8."""
    fingerprint: str
    """Identifies the weights; a gallery takes features of one fingerprint."""
    image_size: int
    """Side in pixels of the images it takes."""
    region_weight_power: int
    """p of the distance it was trained for."""

    def encode(self, images: Tensor, domain: Literal["sketch", "photo"]) -> Features:
        """RGB images, uint8 [B, 3, size, size] on any device -> features, float32, where they were computed.

        On a GPU they may still be in the making when this returns: what uses them on the same stream waits by itself.
        Safe from any thread.
        """
