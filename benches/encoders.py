"""The encoders that the benches time: the engine's backends on every type of file, and PyTorch's other ways."""

import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from engine.encoders import Encoder
from engine.encoders.compiled_encoder import CompiledEncoder
from engine.encoders.torch_encoder import TorchEncoder
from mlrm import MLRM, MLRMConfig
from mlrm.checkpoint import save
from mlrm.errors import ConfigError
from mlrm.features import Features

CALIBRATION_PAIRS = 16
SETTLING_IMAGES = 16


class Models:
    """Both trunks as checkpoints and as exported files, each made when it is first asked for and isn't in the folder.

    lite0 is the shipped model. DenseNet-169's trained weights can't be shipped, so its are random, with its BatchNorms'
    statistics measured on drawn images: without that, its features hardly depend on the image.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.checkpoint = cache(self._checkpoint)
        self.onnx = cache(self._onnx)
        self.engine = cache(self._engine)

    def _checkpoint(self, trunk: str) -> Path | None:
        if trunk == "lite0":
            return None
        path = self._folder / f"{trunk}.safetensors"
        if path.exists():
            return path
        from export.images import load_pairs

        torch.manual_seed(0)
        model = MLRM(MLRMConfig.paper())
        images = load_pairs(None, "train", model.config.image_size, SETTLING_IMAGES // 2, _unseen)
        with torch.inference_mode():
            model.train()(torch.cat([images.sketches, images.photos]))
        save(model.eval(), path)
        return path

    def _onnx(self, trunk: str, dtype: Literal["fp32", "fp16", "bf16", "int8"]) -> Path:
        path = self._folder / f"{trunk}.{dtype}.onnx"
        if path.exists():
            return path
        from export.onnx_file import OnnxOptions, load_model, write_onnx

        options = OnnxOptions(dtype=dtype, pairs=CALIBRATION_PAIRS)
        model = load_model(self.checkpoint(trunk), None)
        return write_onnx(model, path, options, _unseen)[0]

    def _engine(self, trunk: str, dtype: Literal["fp32", "fp16", "bf16", "int8"]) -> Path:
        from export.engine_file import EngineOptions, build
        from export.trt_builder import Profile
        from export.trt_library import import_library, targets

        library = import_library("tensorrt")
        assert library is not None
        options = EngineOptions(targets(library, [], "python -m export.to_trt"), Profile(1, 8, 64))
        return build(library, self.onnx(trunk, dtype), self._folder / f"{trunk}.{dtype}.engine", options, _unseen)[0]


class AutocastEncoder(TorchEncoder):
    """PyTorch eager with bfloat16 where autocast chooses it."""

    def encode(self, images: Tensor, domain: Literal["sketch", "photo"]) -> Features:
        with torch.autocast(self._device.type, torch.bfloat16):
            features = super().encode(images, domain)
        return features.map(lambda tensor: tensor.float())


Open = Callable[[Models, str, torch.device, int], Encoder]
"""Models, a trunk, a device and the CPU's threads -> an encoder."""


def _eager(kind: type[TorchEncoder], models: Models, trunk: str, device: torch.device, threads: int) -> Encoder:
    torch.set_num_threads(threads)
    return kind(models.checkpoint(trunk), device)


def _onnx(
    dtype: Literal["fp32", "fp16", "int8"], models: Models, trunk: str, device: torch.device, threads: int
) -> Encoder:
    from engine.encoders.onnx_encoder import OnnxEncoder

    return OnnxEncoder(models.onnx(trunk, dtype), device, threads)


def _openvino(
    dtype: Literal["fp32", "int8"],
    precision: Literal["f32", "bf16"],
    models: Models,
    trunk: str,
    device: torch.device,
    threads: int,
) -> Encoder:
    from engine.encoders.openvino_encoder import OpenVinoEncoder

    return OpenVinoEncoder(models.onnx(trunk, dtype), precision, threads)


def _tensorrt(
    dtype: Literal["fp32", "fp16", "bf16", "int8"], models: Models, trunk: str, device: torch.device, threads: int
) -> Encoder:
    from engine.encoders.tensorrt_encoder import TensorRtEncoder

    return TensorRtEncoder(models.engine(trunk, dtype), device)


OPEN: dict[str, Open] = {
    "torch": partial(_eager, TorchEncoder),
    "torch-bf16": partial(_eager, AutocastEncoder),
    "torch-compile": partial(_eager, CompiledEncoder),
    "onnx-fp32": partial(_onnx, "fp32"),
    "onnx-fp16": partial(_onnx, "fp16"),
    "onnx-int8": partial(_onnx, "int8"),
    "openvino-fp32": partial(_openvino, "fp32", "f32"),
    "openvino-bf16": partial(_openvino, "fp32", "bf16"),
    "openvino-int8": partial(_openvino, "int8", "f32"),
    "openvino-int8-bf16": partial(_openvino, "int8", "bf16"),
    "tensorrt-fp32": partial(_tensorrt, "fp32"),
    "tensorrt-fp16": partial(_tensorrt, "fp16"),
    "tensorrt-bf16": partial(_tensorrt, "bf16"),
    "tensorrt-int8": partial(_tensorrt, "int8"),
}
"""By name: runtime, type of the file, and where it differs what the rest is computed in."""


def open_way(name: str, models: Models, trunk: str, device: torch.device, threads: int) -> Encoder:
    """An encoder of `OPEN`; raises `ConfigError` where a package or a device is missing."""
    try:
        return OPEN[name](models, trunk, device, threads)
    except ImportError as error:
        raise ConfigError(f"not installed: {error}") from error


def cores() -> int:
    """Threads of a measurement on all cores."""
    return os.cpu_count() or 1


def _unseen(what: str, done: int, total: int) -> None:
    """Benches show no bars."""
