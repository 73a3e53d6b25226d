"""The encoders that the benches time: the engine's backends on every type of file, and PyTorch's other ways."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from benches.providers.tuned_torch import why_not
from engine.encoders import Encoder
from engine.encoders.compiled_encoder import CompiledEncoder
from engine.encoders.torch_encoder import TorchEncoder
from export.parity import looser
from mlrm import MLRM, MLRMConfig
from mlrm.checkpoint import save
from mlrm.errors import ConfigError
from mlrm.features import Features

CALIBRATION_PAIRS = 16
SETTLING_IMAGES = 16
Dtype = Literal["fp32", "fp16", "bf16", "int8"]
DTYPES: tuple[Dtype, ...] = ("fp32", "fp16", "bf16", "int8")


class Models:
    """Both trunks as checkpoints and as exported files, each made when it is first asked for.

    What the folder holds of these very weights, options and packages is used again; other files are replaced.
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
        path = self._folder / f"{trunk}-untrained.safetensors"
        if path.exists():
            return path
        from export.images import load_pairs

        torch.manual_seed(0)
        model = MLRM(MLRMConfig.paper())
        images = load_pairs(None, "train", model.config.image_size, SETTLING_IMAGES // 2, _unseen)
        with torch.inference_mode():
            model.train()(torch.cat([images.sketches, images.photos]))
        for name, value in model.named_buffers():
            if name.endswith("num_batches_tracked"):  # what tells a trained model: statistics are no training
                value.zero_()
        save(model.eval(), path)
        return path

    def _onnx(self, trunk: str, dtype: Dtype) -> Path:
        from export.engine_file import prepare_onnx
        from export.onnx_file import OnnxOptions

        options = OnnxOptions(dtype=dtype, pairs=CALIBRATION_PAIRS)
        out = self._folder / f"{trunk}.{dtype}.onnx"
        files, _ = prepare_onnx(self.checkpoint(trunk), out, options, parity=False, rebuild=False, progress=_unseen)
        return files[0]

    def _engine(self, trunk: str, dtype: Dtype) -> Path:
        from export.engine_file import EngineOptions, build
        from export.trt_builder import Profile
        from export.trt_library import import_library, targets

        library = import_library("tensorrt")
        assert library is not None
        options = EngineOptions(targets(library, [], "python -m export.to_trt"), Profile(1, 8, 64))
        return build(library, self.onnx(trunk, dtype), self._folder / f"{trunk}.{dtype}.engine", options, _unseen)[0]


class AutocastEncoder(TorchEncoder):
    """PyTorch eager, bfloat16 where autocast chooses it; raises `ConfigError` for a device that only emulates it."""

    def __init__(self, checkpoint: Path | None, device: torch.device) -> None:
        if reason := why_not(torch.bfloat16, device):
            raise ConfigError(reason)
        super().__init__(checkpoint, device)

    def encode(self, images: Tensor, domain: Literal["sketch", "photo"]) -> Features:
        with torch.autocast(self._device.type, torch.bfloat16):
            features = super().encode(images, domain)
        return features.map(lambda tensor: tensor.float())


Open = Callable[[Models, str, torch.device, int], Encoder]
"""Models, a trunk, a device and the CPU's threads -> an encoder."""


def _eager(kind: type[TorchEncoder], models: Models, trunk: str, device: torch.device, threads: int) -> Encoder:
    torch.set_num_threads(threads)
    return kind(models.checkpoint(trunk), device)


def _onnx(dtype: Dtype, models: Models, trunk: str, device: torch.device, threads: int) -> Encoder:
    from engine.encoders.onnx_encoder import OnnxEncoder

    return OnnxEncoder(models.onnx(trunk, dtype), device, threads)


def _openvino(
    dtype: Dtype, precision: Literal["f32", "bf16"], models: Models, trunk: str, device: torch.device, threads: int
) -> Encoder:
    from engine.encoders.openvino_encoder import OpenVinoEncoder

    return OpenVinoEncoder(models.onnx(trunk, dtype), precision, threads)


def _tensorrt(dtype: Dtype, models: Models, trunk: str, device: torch.device, threads: int) -> Encoder:
    from engine.encoders.tensorrt_encoder import TensorRtEncoder

    return TensorRtEncoder(models.engine(trunk, dtype), device)


@dataclass(frozen=True)
class Way:
    """How a model is run, and the precision whose tolerances in `export.parity` it has to keep."""

    open: Open
    judged_as: str


OPEN: dict[str, Way] = {
    "torch": Way(partial(_eager, TorchEncoder), "fp32"),
    "torch-bf16": Way(partial(_eager, AutocastEncoder), "bf16"),
    "torch-compile": Way(partial(_eager, CompiledEncoder), "fp32"),
    **{f"{dtype}-onnx": Way(partial(_onnx, dtype), dtype) for dtype in DTYPES if dtype != "bf16"},
    **{f"{dtype}-openvino": Way(partial(_openvino, dtype, "f32"), dtype) for dtype in DTYPES},
    "fp32-openvino-bf16": Way(partial(_openvino, "fp32", "bf16"), "bf16"),
    "int8-openvino-bf16": Way(partial(_openvino, "int8", "bf16"), looser("int8", "bf16")),
    **{f"{dtype}-tensorrt": Way(partial(_tensorrt, dtype), dtype) for dtype in DTYPES},
}
"""By name: the type of the exported file, and the backend as `engine.encoders.backends` calls it."""


def open_way(name: str, models: Models, trunk: str, device: torch.device, threads: int) -> Encoder:
    """An encoder of `OPEN`; raises `ConfigError` where a package or a device is missing."""
    try:
        return OPEN[name].open(models, trunk, device, threads)
    except ImportError as error:
        raise ConfigError(f"not installed: {error}") from error


def _unseen(what: str, done: int, total: int) -> None:
    """Benches show no bars."""
