"""A checkpoint or an ONNX file -> an engine file and its sidecar; what is up to date is left alone."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import cast

import onnx

from engine.encoders.exported import ExportMetadata, halves
from engine.encoders.parity_file import report_path
from export.compared import Compared, stored, summary
from export.errors import ExportError
from export.images import Progress, pairs_name
from export.onnx_file import Dtype, OnnxOptions, check, describe, domains, file_for, load_model, write_onnx
from export.sidecar import EngineKey, is_current, sha256, write_engine
from export.trt_builder import Profile, build_engine
from mlrm.errors import CheckpointError


@dataclass(frozen=True)
class EngineOptions:
    """How engines are built; see `export.trt_builder.build_engine`. rebuild: even where one is up to date."""

    capabilities: tuple[str, ...]
    profile: Profile
    workspace: float | None = None
    timing_cache: Path | None = None
    rebuild: bool = False
    command: str = "python -m export.to_trt"
    """What was typed but for runtime and capabilities, for messages."""


def read_metadata(file: Path) -> ExportMetadata:
    """What an ONNX file says of itself; raises `CheckpointError` for one that `export.to_onnx` didn't write."""
    if not file.is_file():
        raise CheckpointError(f"no model at {file}; expected a file that python -m export.to_onnx wrote")
    try:
        proto = onnx.load_model(file)
    except Exception as error:  # protobuf's own error types are no part of onnx's interface
        raise CheckpointError(f"{file.name} is no ONNX file: {error}") from error
    return ExportMetadata.from_properties({entry.key: entry.value for entry in proto.metadata_props}, file.name)


def prepare_onnx(
    checkpoint: Path | None, out: Path, options: OnnxOptions, *, parity: bool, rebuild: bool, progress: Progress
) -> tuple[list[Path], Compared]:
    """The ONNX files of a checkpoint, written and compared unless they are there already, and the comparison.

    Raises as `write_onnx` and `check` do.
    """
    model = load_model(checkpoint, options.image_size, options.preset)
    files = [file_for(out, domain) for domain in domains(model)]
    wanted = [describe(model, domain, options) for domain in domains(model)]
    known = stored(files, pairs_name(options.data, "test", options.pairs)) if parity else Compared()
    is_ready = all(map(_is, files, wanted)) and (known.passed or not parity)
    if is_ready and not rebuild:
        return files, known
    write_onnx(model, out, options, progress)
    return files, Compared(check(model, files, options, progress), is_new=True) if parity else Compared()


def _is(file: Path, wanted: ExportMetadata) -> bool:
    try:
        return read_metadata(file) == wanted
    except CheckpointError:
        return False


def options_of(metadata: ExportMetadata, options: OnnxOptions) -> OnnxOptions:
    """The options that a given file was exported with; of `options` what its comparison is free to choose."""
    return replace(
        options,
        dtype=cast("Dtype", metadata.dtype),
        opset=metadata.opset,
        max_batch=metadata.max_batch,
        image_size=metadata.config.image_size,
        input_dtype=metadata.input_dtype,
    )


def given_onnx(
    file: Path,
    original: Path | None,
    options: OnnxOptions,
    *,
    parity: bool,
    rebuild: bool,
    command: str,
    progress: Progress,
) -> tuple[list[Path], Compared]:
    """An `.onnx` of `export.to_onnx`, or both of separate networks, and its comparison: stored, or with the original.

    original: the checkpoint it was exported from. options: of `options_of`. command: as typed, for messages.
    Raises `CheckpointError` for a file of another origin, `ExportError` where nobody knows that it ranks right or for
    another original, and as `check` does.
    """
    files = halves(file)
    metadata, *_ = [read_metadata(one) for one in files]
    if not parity:
        return files, Compared()
    if original is None:
        known = stored(files)
        if not known.passed:
            found = "failed its comparison" if known.reports else "has no report beside it of its comparison"
            raise ExportError(
                f"{file} {found} with the original. Compare it with its checkpoint: {command} --original CHECKPOINT; "
                f"or build all the same: {command} --no-parity"
            )
        return files, known
    model = load_model(original, options.image_size, options.preset)
    if (fingerprint := model.fingerprint()) != metadata.fingerprint:
        raise ExportError(
            f"{file} was exported from a model of fingerprint {metadata.fingerprint}, and {original} has "
            f"{fingerprint}: give the checkpoint it was exported from as --original"
        )
    known = Compared() if rebuild else stored(files, pairs_name(options.data, "test", options.pairs))
    return files, known if known.passed else Compared(check(model, files, options, progress), is_new=True)


def build(
    library: ModuleType, file: Path, out: Path, options: EngineOptions, progress: Progress
) -> tuple[Path, float | None]:
    """The engine of an ONNX file, named after `out`, and the seconds it took; None where it was up to date.

    Raises `ExportError` as `build_engine` does, `CheckpointError` as `read_metadata`.
    """
    metadata = read_metadata(file)
    engine = file_for(out, metadata.domain)
    content = file.read_bytes()
    key = EngineKey(
        sha256(content),
        library.__name__,
        library.__version__,
        options.capabilities,
        options.profile,
        options.workspace,
    )
    if not options.rebuild and is_current(engine, key):
        return engine, None
    started = time.perf_counter()
    built = build_engine(
        library,
        content,
        capabilities=options.capabilities,
        profile=options.profile,
        workspace=options.workspace,
        timing_cache=options.timing_cache,
        command=options.command,
        progress=progress,
    )
    seconds = time.perf_counter() - started
    report_path(engine).unlink(missing_ok=True)  # it is about the engine that this one replaces
    parity = summary(file) or None
    write_engine(engine, built, key, onnx=file, model=metadata.to_properties(), parity=parity, seconds=seconds)
    return engine, seconds
