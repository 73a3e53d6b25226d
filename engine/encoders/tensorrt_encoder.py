"""The encoder that runs an engine of `export.to_trt` with TensorRT or TensorRT for RTX."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from engine.encoders.engine_sidecar import PACKAGES, Sidecar
from engine.encoders.exported import INPUT, ExportedEncoder, Graph
from mlrm.errors import CheckpointError, ConfigError


class TensorRtEncoder(ExportedEncoder):
    """An engine and its sidecar, `m.engine` and `m.engine.json`; see `Encoder` for the attributes.

    Nothing is loaded that was built by another version, for another GPU, or isn't the sidecar's file: `ConfigError` and
    `CheckpointError` name the command that builds it again. Images and features are torch's own memory on the GPU: the
    engine reads and writes there, and nothing goes by way of the host.
    """

    written_by = "export.to_trt"

    def __init__(self, path: str | os.PathLike[str], device: torch.device) -> None:
        self.device = device
        super().__init__(Path(path))

    def open(self, path: Path) -> Graph:
        """See `ExportedEncoder.open`."""
        sidecar = Sidecar.read(path)
        library = import_runtime(sidecar)
        if not torch.cuda.is_available():
            raise ConfigError(
                f"{path.name} needs an NVIDIA GPU and a CUDA build of torch, and torch {torch.__version__} sees no "
                f"GPU; use the ONNX file it was built from, {sidecar.onnx}"
            )
        major, minor = torch.cuda.get_device_capability(self.device)
        name = torch.cuda.get_device_name(self.device)
        capability = f"{major}.{minor}"
        sidecar.require_fit(library.__version__, capability, name)
        return _Engine(library, sidecar, capability, self.device)


def import_runtime(sidecar: Sidecar) -> ModuleType:
    """The library that built the engine; raises `ConfigError` where it isn't installed."""
    try:
        return importlib.import_module(sidecar.library)
    except ImportError as error:
        raise ConfigError(
            f"{sidecar.engine.name} was built by {sidecar.library} {sidecar.version}, which can't be imported "
            f"({error}): pip install {PACKAGES[sidecar.library]}=={sidecar.version}"
        ) from error


class _Engine:
    def __init__(self, library: ModuleType, sidecar: Sidecar, capability: str, device: torch.device) -> None:
        self.properties = sidecar.model
        self._least, tuned, self._most = sidecar.batches
        self._device = device
        self._log = library.Logger(library.Logger.ERROR)  # kept: the runtime doesn't own it
        self._runtime = library.Runtime(self._log)
        with torch.cuda.device(device):
            engine: Any = self._runtime.deserialize_cuda_engine(sidecar.engine.read_bytes())
            if engine is None:
                raise CheckpointError(
                    f"{sidecar.engine.name} can't be loaded by {sidecar.library} {sidecar.version}; its log above says "
                    f"why. Build it again: {sidecar.rebuild_command(capability)}"
                )
            self._engine = engine
            self._context = engine.create_execution_context()
            if self._context is None:
                most = max(self._least, self._most // 2)
                smaller = replace(sidecar, batches=(self._least, min(tuned, most), most))
                raise ConfigError(
                    f"{sidecar.engine.name}: there isn't enough free memory on {device} for batches of up to "
                    f"{self._most}; free some, or build it for smaller ones: {smaller.rebuild_command(capability)}"
                )
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        self._outputs = [name for name in names if engine.get_tensor_mode(name) == library.TensorIOMode.OUTPUT]
        self._one_at_a_time = threading.Lock()  # a context runs one call at a time
        self._stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def run(self, images: Tensor) -> Sequence[Tensor]:
        parts = [self._run(part) for part in torch.split(images, self._most)]
        return [torch.cat(outputs) for outputs in zip(*parts, strict=True)]

    def _run(self, images: Tensor) -> list[Tensor]:
        """At most as many images as the profile takes; fewer than it takes are filled up."""
        count = len(images)
        missing = max(0, self._least - count)
        filled = torch.cat([images, images[:1].expand(missing, -1, -1, -1)]).contiguous()
        caller = torch.cuda.current_stream(self._device)
        with self._one_at_a_time, torch.cuda.stream(self._stream):
            self._stream.wait_stream(caller)  # the images may still be on their way
            filled.record_stream(self._stream)  # its memory is not to be given away before this stream has read it
            self._context.set_input_shape(INPUT, tuple(filled.shape))
            self._context.set_tensor_address(INPUT, filled.data_ptr())
            outputs = []
            for name in self._outputs:
                output = torch.empty(tuple(self._context.get_tensor_shape(name)), device=self._device)
                self._context.set_tensor_address(name, output.data_ptr())
                output.record_stream(caller)
                outputs.append(output)
            if not self._context.execute_async_v3(self._stream.cuda_stream):
                raise ConfigError("TensorRT could not run the engine; its log above says why")
            caller.wait_stream(self._stream)
        return [output[:count] for output in outputs]
