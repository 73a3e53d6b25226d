"""Which encoder a model's file needs."""

import os
from pathlib import Path

import torch

from engine.encoders import Encoder
from engine.encoders.torch_encoder import TorchEncoder
from mlrm.errors import ConfigError


def open_encoder(model: str | os.PathLike[str] | None, device: torch.device) -> Encoder:
    """ONNX Runtime's for an `.onnx` file of `export.to_onnx`, PyTorch's for a checkpoint; None is the shipped one.

    Raises `CheckpointError` for a file that can't be read and `ConfigError` for one that can't be run here.
    """
    if model is None or Path(model).suffix != ".onnx":
        return TorchEncoder(model, device)
    try:
        from engine.encoders.onnx_encoder import OnnxEncoder
    except ImportError as error:
        raise ConfigError(f'{model} needs ONNX Runtime ({error}): pip install "mlrm-engine[onnx]"') from error
    return OnnxEncoder(model, device)
