"""Which TensorRT builds, and for which GPUs: TensorRT for this machine's, TensorRT for RTX for any it knows."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Literal

from export.errors import ExportError
from export.gpu import Gpu, find_gpu

Runtime = Literal["tensorrt", "tensorrt-rtx"]
MODULES: dict[str, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
PACKAGES: dict[str, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt-rtx-cu13"}
RTX_CAPABILITIES = ("8.6", "8.9", "12.0")
"""What TensorRT for RTX builds for unless told: GeForce RTX 30, 40 and 50."""
FIRST_TENSORRT = 10
"""The first major version with strongly typed networks as they are built here."""


def import_library(runtime: str | None) -> ModuleType | None:
    """The library of a runtime, by default TensorRT's; None where the default isn't installed.

    Raises `ExportError` for an unknown runtime, one that was asked for and isn't installed, and a TensorRT too old.
    """
    if runtime is not None and runtime not in MODULES:
        raise ExportError(f"runtime is {runtime!r}; expected one of {', '.join(MODULES)}")
    name = runtime or "tensorrt"
    try:
        library = importlib.import_module(MODULES[name])
    except ImportError as error:
        if runtime is None:
            return None
        raise ExportError(f"{MODULES[name]} can't be imported ({error}): pip install {PACKAGES[name]}") from error
    if name == "tensorrt" and int(library.__version__.split(".")[0]) < FIRST_TENSORRT:
        raise ExportError(
            f"TensorRT {library.__version__} is too old; expected {FIRST_TENSORRT} or newer: pip install -U tensorrt"
        )
    return library


def is_rtx(library: ModuleType) -> bool:
    """Whether a library is TensorRT for RTX."""
    return library.__name__ == MODULES["tensorrt-rtx"]


def called(library: ModuleType) -> str:
    """A library's name and version, for messages."""
    return f"{'TensorRT for RTX' if is_rtx(library) else 'TensorRT'} {library.__version__}"


def targets(library: ModuleType, asked: Sequence[str], command: str) -> tuple[str, ...]:
    """The compute capabilities to build for ("8.6"), in the order asked; by default all the usual ones, or the GPU's.

    command: what the user typed up to the runtime, for messages. Raises `ExportError` for what can't be built here.
    """
    if malformed := [name for name in asked if not re.fullmatch(r"\d+\.\d", name)]:
        raise ExportError(f"compute capability {malformed[0]!r}; expected numbers like 8.9, separated by commas")
    if is_rtx(library):
        return rtx_targets(called(library), supported_capabilities(library), asked, command)
    return own_target(called(library), find_gpu(), asked, command)


def own_target(library: str, gpu: Gpu | str, asked: Sequence[str], command: str) -> tuple[str, ...]:
    """The capability of this machine's GPU, the only one TensorRT (called `library`) builds for; see `targets`."""
    if not isinstance(gpu, Gpu):
        raise ExportError(
            f"{library} builds for the GPU it runs on, and {gpu}. Run this on the machine that has the GPU, or build "
            f"without one: {command} --runtime tensorrt-rtx --compute-capability {','.join(asked) or '8.9'}"
        )
    if any(name != gpu.capability for name in asked):
        raise ExportError(
            f"{library} builds for the GPU it runs on, {gpu.name} of capability {gpu.capability}, not for "
            f"{', '.join(asked)}: leave out --compute-capability, or {command} --runtime tensorrt-rtx "
            f"--compute-capability {','.join(asked)}"
        )
    return (gpu.capability,)


def rtx_targets(library: str, known: Sequence[str], asked: Sequence[str], command: str) -> tuple[str, ...]:
    """The capabilities asked for, by default the usual ones, if TensorRT for RTX has them (`known`); see `targets`."""
    chosen = tuple(dict.fromkeys(asked or RTX_CAPABILITIES))
    if missing := [name for name in chosen if name not in known]:
        raise ExportError(
            f"{library} has no compute capability {', '.join(missing)}; it has {', '.join(known)}. For other GPUs, "
            "data centre ones like H100 (9.0) among them, build with TensorRT on the machine that has the GPU: "
            f"pip install tensorrt && {command} --runtime tensorrt"
        )
    return chosen


def supported_capabilities(library: ModuleType) -> tuple[str, ...]:
    """What TensorRT for RTX can be told to build for, ascending."""
    numbers = sorted(int(name[2:]) for name in library.ComputeCapability.__members__ if name.startswith("SM"))
    return tuple(f"{number // 10}.{number % 10}" for number in numbers)
