"""ONNX -> a serialized engine. TensorRT and TensorRT for RTX go the same way: the library is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.encoders.engine_sidecar import PACKAGES
from engine.encoders.exported import INPUT
from export.command import by_rtx
from export.errors import ExportError
from export.images import Progress
from export.trt_library import called, is_rtx

GIB = 2**30
USUAL_BATCH = 8
"""What an engine is tuned for unless told."""
TOO_OLD = "driver version is insufficient"
"""What CUDA says of the driver; also where there is none."""


@dataclass(frozen=True)
class Profile:
    """The batches an engine takes; raises `ExportError` unless 1 <= min <= opt <= max."""

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max:
            raise ExportError(
                f"batches are min {self.min}, opt {self.opt}, max {self.max}; expected 1 <= min <= opt <= max"
            )

    @classmethod
    def of(cls, smallest: int, tuned_for: int | None, largest: int) -> Profile:
        """A profile tuned for a batch; None: for `USUAL_BATCH`, or what comes nearest to it within the others."""
        return cls(smallest, max(smallest, min(USUAL_BATCH, largest)) if tuned_for is None else tuned_for, largest)


@dataclass(frozen=True)
class Value:
    """An input or output of the parsed network; -1 is the batch."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def to_dict(self) -> dict[str, Any]:
        """For the sidecar."""
        return asdict(self)


@dataclass(frozen=True)
class BuiltEngine:
    """What the builder made; `inputs` and `outputs` are the parsed network's.

    profile: the smallest, usual and largest shape of the images, as the library's own profile has them.
    """

    plan: bytes
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    profile: tuple[tuple[int, ...], ...]


def build_engine(
    library: ModuleType,
    onnx: bytes,
    *,
    capabilities: Sequence[str],
    profile: Profile,
    workspace: float | None,
    timing_cache: Path | None,
    command: str,
    progress: Progress,
) -> BuiltEngine:
    """Build an engine of a self-contained ONNX file.

    library: the module `tensorrt` or `tensorrt_rtx`. capabilities: of `export.trt_library.targets`. workspace: in GiB,
    None for the library's own. timing_cache: TensorRT's, read if it exists, and written. command: as
    `export.trt_library.targets` has it. Raises `ExportError` with what the library logged.
    """
    log = _log(library)
    # TensorRT for RTX needs no driver: without one it logs of an old one after every other mistake.
    advice = "" if is_rtx(library) else driver_advice(capabilities, command)
    try:
        builder = library.Builder(log)
    except TypeError as error:  # what the bindings make of a null pointer
        raise ExportError(f"{called(library)} can't start: {log.told(advice)}") from error
    # Strongly typed: the graph's own types are the engine's. TensorRT 11 has no other kind of network.
    strongly = getattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if strongly is None else 1 << int(strongly))
    parser = library.OnnxParser(network, log)
    if not parser.parse(onnx):
        errors = "; ".join(_said(parser.get_error(index)) for index in range(parser.num_errors))
        raise ExportError(f"{called(library)} can't read this ONNX file: {errors or log.told()}")
    inputs = tuple(_value(network.get_input(index)) for index in range(network.num_inputs))
    outputs = tuple(_value(network.get_output(index)) for index in range(network.num_outputs))

    config = builder.create_builder_config()
    config.clear_flag(library.BuilderFlag.TF32)  # on by default: float32 would be rounded to 11 bits
    if workspace is not None:
        config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, int(workspace * GIB))
    if is_rtx(library):
        config.num_compute_capabilities = len(capabilities)
        for index, name in enumerate(capabilities):
            capability = library.ComputeCapability.__members__[f"SM{name.replace('.', '')}"]
            if not config.set_compute_capability(capability, index):
                raise ExportError(f"{called(library)} refuses compute capability {name}: {log.told()}")
    shape = inputs[0].shape[1:]
    batches = builder.create_optimization_profile()
    batches.set_shape(INPUT, *((batch, *shape) for batch in (profile.min, profile.opt, profile.max)))
    if config.add_optimization_profile(batches) < 0:
        raise ExportError(f"{called(library)} refuses batches of {profile.min} to {profile.max}: {log.told()}")
    config.progress_monitor = monitor = _monitor(library, progress)
    cache = _timing_cache(config, timing_cache)

    plan = builder.build_serialized_network(network, config)
    del monitor, parser  # neither is owned by what uses it
    if plan is None:
        raise ExportError(f"{called(library)} could not build: {log.told(advice)}")
    if timing_cache is not None and cache is not None:
        partial = timing_cache.with_name(timing_cache.name + ".partial")
        partial.write_bytes(cache.serialize())
        partial.replace(timing_cache)
    return BuiltEngine(bytes(plan), inputs, outputs, tuple(map(tuple, batches.get_shape(INPUT))))


def _said(error: Any) -> str:
    return f"{error.desc()} (node {error.node_name()!r}, {error.node_operator()})"


def _value(tensor: Any) -> Value:
    return Value(tensor.name, tuple(tensor.shape), tensor.dtype.name)


def _timing_cache(config: Any, file: Path | None) -> Any:
    if file is None:
        return None
    cache = config.create_timing_cache(file.read_bytes() if file.is_file() else b"")
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        raise ExportError(
            f"{file} is the timing cache of another version or GPU; delete it, or give another --timing-cache"
        )
    return cache


def driver_advice(capabilities: Sequence[str], command: str) -> str:
    """What to do about a driver too old for TensorRT; see `build_engine`."""
    rtx = by_rtx(command, capabilities)
    other = "" if rtx is None else f", or build without it: pip install {PACKAGES['tensorrt_rtx']} && {rtx}"
    return f"The NVIDIA driver is too old for this library's CUDA: update it{other}"


def _log(library: ModuleType) -> Any:
    class Log(library.ILogger):  # type: ignore[name-defined, misc]
        """Keeps the library's errors: its functions return None and say why only here."""

        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (library.ILogger.Severity.ERROR, library.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

        def told(self, driver_advice: str = "") -> str:
            """What it told, and the advice where a driver too old is among that."""
            told = "; ".join(self.errors) or "it gave no reason"
            return f"{told}. {driver_advice}" if driver_advice and TOO_OLD in told else told

    return Log()


def _monitor(library: ModuleType, progress: Progress) -> Any:
    class Monitor(library.IProgressMonitor):  # type: ignore[name-defined, misc]
        """Shows the phase that moved last."""

        def __init__(self) -> None:
            super().__init__()
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(f"build: {phase_name}", step + 1, self.steps[phase_name])
            return True

        def phase_finish(self, phase_name: str) -> None:
            del self.steps[phase_name]

    return Monitor()
