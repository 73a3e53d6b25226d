"""The encoder that runs a checkpoint compiled by PyTorch: fused loops on a CPU, CUDA graphs on a GPU."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from engine.encoders.torch_encoder import TorchEncoder, float32_convolutions
from engine.encoders.transfer import on_device
from kernels.gpu.availability import why_no_launcher
from mlrm.errors import ConfigError
from mlrm.features import Features

BATCHES = (1, 4, 8, 16, 64)
"""What is compiled, each when it is first needed: other batches are cut and filled up to these."""
RECOMPILATIONS = 64
"""PyTorch's own limit, 8, counts every model and batch of the process, and beyond it runs uncompiled without a word."""
_WARM_UP = 3


class CompiledEncoder(TorchEncoder):
    """`TorchEncoder`'s weights through `torch.compile`, in float32; see `Encoder` for the attributes.

    The first call with each batch of `BATCHES` compiles: tens of seconds. On a GPU each is captured as a CUDA graph,
    which launches all its kernels at once. Raises as `TorchEncoder` does, and `ConfigError` where there is no compiler.
    """

    def __init__(self, checkpoint: str | os.PathLike[str] | None, device: torch.device) -> None:
        require_compiler(device)
        super().__init__(checkpoint, device)
        self._compiled: Any = torch.compile(self._model, dynamic=False)
        self._shared = self._model.config.shared_networks
        self._graphs: dict[tuple[int, str], _Captured] = {}
        self._one_at_a_time = threading.Lock()  # graphs have one input each, and compiling takes no second thread

    def encode(self, images: Tensor, domain: Literal["sketch", "photo"]) -> Features:
        """See `Encoder.encode`."""
        domain = "photo" if self._shared else domain  # the same network: compiled and captured once
        parts = []
        for part in torch.split(on_device(images, self._device), BATCHES[-1]):
            batch = next(size for size in BATCHES if size >= len(part))
            filled = torch.cat([part, part[:1].expand(batch - len(part), -1, -1, -1)])
            with (
                self._one_at_a_time,
                torch.inference_mode(),
                float32_convolutions(self._device),
                torch._dynamo.config.patch(recompile_limit=RECOMPILATIONS),
            ):
                parts.append(self._run(filled, domain)[: len(part)])
        return Features.cat(parts)

    def _run(self, images: Tensor, domain: Literal["sketch", "photo"]) -> Features:
        if self._device.type == "cpu":
            features: Features = self._compiled(images.contiguous(memory_format=torch.channels_last), domain)
            return features
        if (len(images), domain) not in self._graphs:
            self._graphs[len(images), domain] = _Captured(self._compiled, images, domain)
        return self._graphs[len(images), domain].replay(images)


class _Captured:
    """One batch size's CUDA graph, with the memory of its input and outputs."""

    def __init__(self, model: Callable[[Tensor, str], Features], images: Tensor, domain: str) -> None:
        self._images = images.contiguous(memory_format=torch.channels_last)
        stream = torch.cuda.Stream(images.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(images.device))
        with torch.cuda.stream(stream):  # compiles, and lets libraries choose their algorithms, before the capture
            for _ in range(_WARM_UP):
                model(self._images, domain)
        torch.cuda.current_stream(images.device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        # On this device and stream: by default it is the current device's, where nothing of another one is captured.
        # "thread_local": what other threads allocate meanwhile doesn't break it.
        with (
            torch.cuda.device(images.device),
            torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"),
        ):
            self._features = model(self._images, domain)

    def replay(self, images: Tensor) -> Features:
        """The outputs of other images, copied out of the graph's memory, which the next call overwrites."""
        self._images.copy_(images)
        self._graph.replay()
        return self._features.map(torch.clone)


def require_compiler(device: torch.device) -> None:
    """Raise `ConfigError` where `torch.compile` finds no compiler: of C++ for a CPU; of C for a GPU, for Triton."""
    if device.type == "cuda" and (missing := why_no_launcher()):
        raise ConfigError(f"backend 'torch-compile' can't run on a GPU here: {missing}, or use backend 'torch'")
    if device.type == "cpu" and not any(map(shutil.which, [os.environ.get("CXX") or "g++", "clang++"])):
        raise ConfigError(
            "backend 'torch-compile' needs a C++ compiler on a CPU and found none: install g++, or use backend 'torch'"
        )
