"""What can run a model: the backends by name, which files each takes, and how it opens one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from engine.encoders import Encoder
from mlrm.errors import ConfigError

Model = str | os.PathLike[str] | None
ONNX, ENGINE, CHECKPOINT = ".onnx", ".engine", "a checkpoint"


@dataclass(frozen=True)
class Backend:
    """A runtime and what it computes in.

    takes: `ONNX`, `ENGINE` or `CHECKPOINT`. devices: types of device it runs on. package, extra: what it comes with.
    open: raises `CheckpointError` for a file that can't be read, `ConfigError` for what can't run here, `ImportError`
    where the package is missing.
    """

    name: str
    takes: str
    devices: tuple[str, ...]
    package: str
    extra: str
    open: Callable[[Model, torch.device], Encoder]

    def installed(self) -> str | None:
        """The version of its package, or of the one for GPUs in its place; None where neither is there."""
        for name in (self.package, f"{self.package}-gpu"):
            try:
                return version(name)
            except PackageNotFoundError:
                continue
        return None

    def runtime(self, device: torch.device) -> str:
        """What parity is checked by and holds for: backend, version and type of device, "onnx 1.31.1, CPU"."""
        return f"{self.name} {self.installed()}, {device.type.upper()}"

    def opened(self, model: Model, device: torch.device) -> Encoder:
        """`open`, with a missing package as a `ConfigError` that says how to install it."""
        if device.type not in self.devices:
            other = "the .onnx file that the engine was built from" if self.takes == ENGINE else "another backend"
            raise ConfigError(
                f"backend {self.name!r} runs on {' and '.join(self.devices)}, and the device is {device}; give "
                f"device={self.devices[0]!r}, or {other}"
            )
        try:
            return self.open(model, device)
        except ImportError as error:
            raise ConfigError(
                f'backend {self.name!r} needs {self.package} ({error}): pip install "mlrm-engine[{self.extra}]"'
            ) from error


def file_kind(model: Model) -> str:
    """`ONNX`, `ENGINE` or `CHECKPOINT`, by the file's ending; the shipped model (None) is a checkpoint."""
    suffix = "" if model is None else Path(model).suffix
    return suffix if suffix in (ONNX, ENGINE) else CHECKPOINT


def _torch(model: Model, device: torch.device) -> Encoder:
    from engine.encoders.torch_encoder import TorchEncoder

    return TorchEncoder(model, device)


def _compiled(model: Model, device: torch.device) -> Encoder:
    from engine.encoders.compiled_encoder import CompiledEncoder

    return CompiledEncoder(model, device)


def _onnx(model: Model, device: torch.device) -> Encoder:
    from engine.encoders.onnx_encoder import OnnxEncoder

    assert model is not None
    return OnnxEncoder(model, device)


def _openvino(precision: str, model: Model, device: torch.device) -> Encoder:
    from engine.encoders.openvino_encoder import OpenVinoEncoder

    assert model is not None
    return OpenVinoEncoder(model, "bf16" if precision == "bf16" else "f32")


def _tensorrt(model: Model, device: torch.device) -> Encoder:
    from engine.encoders.tensorrt_encoder import TensorRtEncoder

    assert model is not None
    return TensorRtEncoder(model, device)


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("torch", CHECKPOINT, ("cpu", "cuda"), "torch", "", _torch),
        Backend("torch-compile", CHECKPOINT, ("cpu", "cuda"), "torch", "", _compiled),
        Backend("onnx", ONNX, ("cpu", "cuda"), "onnxruntime", "onnx", _onnx),
        Backend("openvino", ONNX, ("cpu",), "openvino", "openvino", partial(_openvino, "f32")),
        Backend("openvino-bf16", ONNX, ("cpu",), "openvino", "openvino", partial(_openvino, "bf16")),
        Backend("tensorrt", ENGINE, ("cuda",), "tensorrt", "trt", _tensorrt),
    )
}
"""Of those that take the same file, the plainest first: a checkpoint's first is the reference itself."""
