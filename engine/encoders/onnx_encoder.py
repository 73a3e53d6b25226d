"""The encoder that runs an exported model with ONNX Runtime, on the provider that was asked for and no other."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from engine.encoders.exported import INPUT, ExportedEncoder, Graph
from mlrm.errors import CheckpointError, ConfigError

CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
"""Else a GPU would round the inputs of float32 products to 11 bits, and try every algorithm of every convolution for
each batch size that comes."""
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxEncoder(ExportedEncoder):
    """An ONNX file written by `export.to_onnx`; see `Encoder` for the attributes.

    device: cpu or cuda. threads: of the CPU, for one call; default: ONNX Runtime's, one a core.
    Raises `CheckpointError` as `ExportedEncoder` does, also for a file that ONNX Runtime can't read, and `ConfigError`
    where the device's provider can't be had: ONNX Runtime alone would take the CPU in its place.
    """

    def __init__(self, path: str | os.PathLike[str], device: torch.device, threads: int | None = None) -> None:
        self._provider = PROVIDERS[device.type]
        self._provider_options = {} if device.type == "cpu" else CUDA_OPTIONS | {"device_id": str(device.index or 0)}
        self._threads = threads
        require_available(self._provider)
        if device.type == "cuda":
            with contextlib.redirect_stdout(sys.stderr):
                onnxruntime.preload_dlls()  # finds the libraries of "onnxruntime-gpu[cuda,cudnn]"; it prints
        super().__init__(Path(path))

    def open(self, path: Path) -> Graph:
        """See `ExportedEncoder.open`."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; what matters of its warnings is checked below
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        try:
            # Without fallback: ONNX Runtime's own prints to stdout, and then runs on the CPU.
            session = onnxruntime.InferenceSession(
                path, options, [(self._provider, self._provider_options)], enable_fallback=0
            )
        except Exception as error:  # its exceptions have no common base of their own
            raise CheckpointError(
                f"{path.name} can't be run by ONNX Runtime {onnxruntime.__version__}: {error}"
            ) from error
        require_same(self._provider, session.get_providers())
        return _Session(session)


class _Session:
    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self.properties: dict[str, str] = session.get_modelmeta().custom_metadata_map

    def run(self, images: Tensor) -> Sequence[Tensor]:
        return [torch.from_numpy(output) for output in self._session.run(None, {INPUT: images.numpy()})]


def require_available(provider: str) -> None:
    """Raise `ConfigError` unless the installed ONNX Runtime was built with `provider`."""
    if provider not in (found := onnxruntime.get_available_providers()):
        raise ConfigError(
            f"ONNX Runtime {onnxruntime.__version__} here has no {provider}, only {', '.join(found)}; use device cpu, "
            "or install the other build: pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
        )


def require_same(asked: str, got: Sequence[str]) -> None:
    """Raise `ConfigError` unless a session runs on the provider asked for: first of those it `got`."""
    if not got or got[0] != asked:
        raise ConfigError(
            f"ONNX Runtime {onnxruntime.__version__} was asked for {asked} and gave {', '.join(got) or 'none'}: CUDA's "
            "or cuDNN's libraries are missing or of another version. Install them, "
            'pip install "onnxruntime-gpu[cuda,cudnn]", or use device cpu'
        )
