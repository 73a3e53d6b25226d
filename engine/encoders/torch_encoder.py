"""The encoder that runs the PyTorch reference itself."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from engine.encoders.transfer import on_device
from engine.model_check import SHIPPED_NAME
from mlrm.checkpoint import SHIPPED, load
from mlrm.features import Features


class TorchEncoder:
    """A checkpoint run by PyTorch in float32; see `Encoder` for the attributes.

    Raises `CheckpointError` for a checkpoint that can't be read and `ConfigError` for one whose features depend on
    the batch (the authors' form).
    """

    def __init__(self, checkpoint: str | os.PathLike[str] | None, device: torch.device) -> None:
        self.name = SHIPPED_NAME if checkpoint is None else str(Path(checkpoint).absolute())
        self.file, self.dtype = SHIPPED if checkpoint is None else Path(checkpoint).absolute(), "fp32"
        model = load(self.file)
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
            images = on_device(images, self._device).contiguous(memory_format=torch.channels_last)
            with float32_convolutions(self._device):
                features: Features = self._model(images, domain)
            return features


_precision_lock = threading.Lock()


@contextmanager
def float32_convolutions(device: torch.device) -> Iterator[None]:
    """Run what is launched inside in real float32; on a GPU, PyTorch rounds the inputs of convolutions to 11 bits.

    Those settings (of TensorFloat-32) belong to the process: the lock keeps one encoder from restoring them while
    another one computes, but a caller's own convolutions in another thread run in float32 meanwhile as well.
    """
    if device.type != "cuda":
        yield
        return
    settings = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    with _precision_lock:
        before = [setting.fp32_precision for setting in settings]
        try:
            for setting in settings:
                setting.fp32_precision = "ieee"
            yield
        finally:
            for setting, precision in zip(settings, before, strict=True):
                setting.fp32_precision = precision
