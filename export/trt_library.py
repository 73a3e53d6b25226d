"""Which TensorRT builds, and for which GPUs: TensorRT for this machine's, TensorRT for RTX for any it knows."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from engine.encoders.engine_sidecar import PACKAGES, RUNTIMES
from export.command import by_rtx, by_tensorrt
from export.errors import ExportError
from export.gpu import Gpu, find_gpu

MODULES = {runtime: module for module, runtime in RUNTIMES.items()}
USUAL_RTX = ("8.6", "8.9", "12.0")
"""What TensorRT for RTX builds for unless told: GeForce RTX 30, 40 and 50."""
FIRST_TENSORRT = 10
"""The first major version with strongly typed networks as they are built here."""


def import_library(runtime: str | None, command: str = "python -m export.to_trt") -> ModuleType | None:
    """The library of a runtime, by default TensorRT's; None where the default isn't installed.

    command: the whole of it as typed, for messages. Raises `ExportError` for an unknown runtime, one that was asked for
    and isn't installed, and a TensorRT too old.
    """
    if runtime is not None and runtime not in MODULES:
        raise ExportError(f"runtime is {runtime!r}; expected one of {', '.join(MODULES)}")
    name = MODULES[runtime or "tensorrt"]
    try:
        library = importlib.import_module(name)
    except ImportError as error:
        if runtime is None:
            return None
        raise ExportError(f"{name} can't be imported ({error}): pip install {PACKAGES[name]} && {command}") from error
    if not is_rtx(library):
        require_version(library.__version__, command)
    return library


def require_version(version: str, command: str) -> None:
    """Raise `ExportError` for a TensorRT too old; command: as `import_library` has it."""
    if int(version.split(".")[0]) < FIRST_TENSORRT:
        raise ExportError(
            f"TensorRT {version} is too old; expected {FIRST_TENSORRT} or newer: pip install -U tensorrt && {command}"
        )


def require_timing_cache(library: ModuleType | None, file: Path) -> None:
    """Raise `ExportError` where a library (None: TensorRT, not installed) has no timing cache, or not in that file."""
    if library is not None and is_rtx(library):
        raise ExportError(f"{called(library)} times nothing while it builds: leave out --timing-cache")
    if file.is_dir() or not file.parent.is_dir():
        raise ExportError(f"--timing-cache is {file}; expected a file, in a folder that is there")


def is_rtx(library: ModuleType) -> bool:
    """Whether a library is TensorRT for RTX."""
    return library.__name__ == MODULES["tensorrt-rtx"]


def called(library: ModuleType) -> str:
    """A library's name and version, for messages."""
    return f"{'TensorRT for RTX' if is_rtx(library) else 'TensorRT'} {library.__version__}"


def parse_capabilities(text: str | None) -> list[str]:
    """The capabilities of "8.6,8.9"; raises `ExportError` for anything else."""
    names = [name.strip() for name in text.split(",")] if text else []
    if malformed := [name for name in names if not re.fullmatch(r"\d+\.\d", name)]:
        raise ExportError(f"compute capability {malformed[0]!r}; expected numbers like 8.9, separated by commas")
    return names


def targets(
    library: ModuleType, asked: Sequence[str], command: str, timing_cache: Path | None = None
) -> tuple[str, ...]:
    """The compute capabilities to build for ("8.6"), in the order asked; by default all the usual ones, or the GPU's.

    command: what the user typed but for the runtime, the capabilities and the timing cache, which is TensorRT's alone;
    with it for messages. Raises `ExportError` for what can't be built here.
    """
    if is_rtx(library):
        return rtx_targets(called(library), supported_capabilities(library), asked, command, timing_cache)
    return own_target(called(library), find_gpu(), asked, command, timing_cache)


def own_target(
    library: str, gpu: Gpu | str, asked: Sequence[str], command: str, timing_cache: Path | None = None
) -> tuple[str, ...]:
    """The capability of this machine's GPU, the only one TensorRT (called `library`) builds for; see `targets`."""
    rtx = by_rtx(command, asked)
    if not isinstance(gpu, Gpu):
        elsewhere = "" if rtx is None else f", or build without one: {_installing('tensorrt_rtx', rtx)}"
        raise ExportError(
            f"{library} builds for the GPU it runs on, and {gpu}. Run this on the machine that has the GPU{elsewhere}"
        )
    if any(name != gpu.capability for name in asked):
        other = "" if rtx is None else f". Or for {', '.join(asked)}: {_installing('tensorrt_rtx', rtx)}"
        raise ExportError(
            f"{library} builds for the GPU it runs on, {gpu.name} of capability {gpu.capability}, not for "
            f"{', '.join(asked)}: {by_tensorrt(command, (), timing_cache)}{other}"
        )
    return (gpu.capability,)


def rtx_targets(
    library: str, known: Sequence[str], asked: Sequence[str], command: str, timing_cache: Path | None = None
) -> tuple[str, ...]:
    """The capabilities asked for, by default the usual ones, if TensorRT for RTX has them (`known`); see `targets`."""
    chosen = tuple(dict.fromkeys(asked or USUAL_RTX))
    if missing := [name for name in chosen if name not in known]:
        raise ExportError(
            f"{library} has no compute capability {', '.join(missing)}; it has {', '.join(known)}. For other GPUs, "
            "data centre ones like H100 (9.0) among them, build with TensorRT on the machine that has the GPU: "
            f"{_installing('tensorrt', by_tensorrt(command, missing, timing_cache))}"
        )
    return chosen


def no_tensorrt(onnx: Path, asked: Sequence[str], command: str, timing_cache: Path | None) -> ExportError:
    """The error for a machine without TensorRT, where no runtime was named; see `targets`.

    onnx: the file that was written all the same.
    """
    ways = f"On the machine with the GPU: {_installing('tensorrt', by_tensorrt(command, asked, timing_cache))}"
    if rtx := by_rtx(command, asked):
        ways += f". Or, on any machine, for GeForce RTX: {_installing('tensorrt_rtx', rtx)}"
    return ExportError(f"TensorRT isn't installed, so there is no engine; {onnx} can be used. {ways}")


def supported_capabilities(library: ModuleType) -> tuple[str, ...]:
    """What TensorRT for RTX can be told to build for, ascending."""
    numbers = sorted(int(name[2:]) for name in library.ComputeCapability.__members__ if name.startswith("SM"))
    return tuple(f"{number // 10}.{number % 10}" for number in numbers)


def _installing(module: str, command: str) -> str:
    return f"pip install {PACKAGES[module]} && {command}"
