"""The encoder that runs an exported model with OpenVINO on the CPU."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import openvino
import torch
from torch import Tensor

from engine.encoders.exported import INPUT, ExportedEncoder, Graph
from mlrm.errors import CheckpointError, ConfigError

Precision = Literal["f32", "bf16", "f16"]


class OpenVinoEncoder(ExportedEncoder):
    """An ONNX file written by `export.to_onnx`; see `Encoder` for the attributes.

    precision: what the CPU computes in where the file leaves it open. OpenVINO's own default is bfloat16 on processors
    that have it, whatever the file says; here it has to be asked for. threads: for one call; default: all cores.
    Raises `CheckpointError` as `ExportedEncoder` does, also for a file that OpenVINO can't read, and `ConfigError` for
    a precision that this processor doesn't have: OpenVINO alone would take float32 in its place.
    """

    def __init__(self, path: str | os.PathLike[str], precision: Precision = "f32", threads: int | None = None) -> None:
        self._settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        if threads is not None:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        super().__init__(Path(path))

    def open(self, path: Path) -> Graph:
        """See `ExportedEncoder.open`."""
        core = openvino.Core()
        try:
            model = core.read_model(path)
            compiled = core.compile_model(model, "CPU", self._settings)
        except RuntimeError as error:
            raise CheckpointError(f"{path.name} can't be run by OpenVINO {openvino.__version__}: {error}") from error
        wanted = self._settings["INFERENCE_PRECISION_HINT"]
        require_precision(wanted, compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        # The frontend keeps an ONNX file's metadata under this name, and leaves it out where there is none.
        found: dict[str, Any] = dict(model.get_rt_info().items()).get("framework", {})
        return _Compiled(compiled, {key: str(value.value) for key, value in found.items()})


class _Compiled:
    def __init__(self, compiled: openvino.CompiledModel, properties: Mapping[str, str]) -> None:
        self._compiled = compiled
        self._local = threading.local()  # a request runs one call at a time
        self.properties = properties

    def run(self, images: Tensor) -> Sequence[Tensor]:
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        outputs = self._local.request.infer({INPUT: images.numpy()}, share_inputs=True)
        # Copied out of the request's buffers, which the thread's next call overwrites.
        return [torch.from_numpy(outputs[index].copy()) for index in range(len(self._compiled.outputs))]


def require_precision(asked: str, got: str) -> None:
    """Raise `ConfigError` unless a compiled model computes in the precision that was asked for."""
    if got != asked:
        raise ConfigError(
            f"OpenVINO {openvino.__version__} was asked for {asked} and computes in {got}: this processor has no fast "
            f"{asked}. Use f32 (backend 'openvino'), or backend 'onnx'"
        )
