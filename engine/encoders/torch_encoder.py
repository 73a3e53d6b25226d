"""The encoder that runs the PyTorch reference itself."""

import os
from typing import Literal

import torch
from torch import Tensor

from mlrm.checkpoint import SHIPPED, load
from mlrm.features import Features


class TorchEncoder:
    """A checkpoint run by PyTorch in float32; see `Encoder` for the attributes.

    Raises `CheckpointError` for a checkpoint that can't be read and `ConfigError` for one whose features depend on
    the batch (the authors' form).
    """

    def __init__(self, checkpoint: str | os.PathLike[str] | None, device: torch.device) -> None:
        self.name = "shipped" if checkpoint is None else os.fspath(checkpoint)
        model = load(SHIPPED if checkpoint is None else checkpoint)
        model.config.require_image_features()
        self.fingerprint = model.fingerprint()
        self.image_size = model.config.image_size
        self.region_weight_power = model.config.region_weight_power
        self._device = device
        # Channels last is what both cuDNN and oneDNN convolve fastest.
        self._model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, images: Tensor, domain: Literal["sketch", "photo"]) -> Features:
        """See `Encoder.encode`."""
        with torch.inference_mode():
            images = images.to(self._device).contiguous(memory_format=torch.channels_last)
            features: Features = self._model(images, domain)
            return features.to("cpu")
