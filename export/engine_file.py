"""An ONNX file -> an engine file and its sidecar; both are left alone where they are up to date."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx

from engine.encoders.exported import ExportMetadata
from engine.encoders.parity_file import file_hash, read_report
from export.images import Progress, pairs_name
from export.onnx_file import (
    OnnxOptions,
    check,
    describe,
    domains,
    file_for,
    load_model,
    write_onnx,
)
from export.parity import Parity
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
) -> tuple[list[Path], dict[str, Parity] | None]:
    """The ONNX files of a checkpoint, written and compared unless they are there already, and the new reports.

    Raises as `write_onnx` and `check` do.
    """
    model = load_model(checkpoint, options.image_size)
    files = [file_for(out, domain) for domain in domains(model)]
    wanted = [describe(model, domain, options) for domain in domains(model)]
    images = pairs_name(options.data, "test", options.pairs) if parity else None
    if not rebuild and all(_is_ready(file, one, images) for file, one in zip(files, wanted, strict=True)):
        return files, None
    write_onnx(model, out, options, progress)
    return files, check(model, files, options, progress) if parity else None


def _is_ready(file: Path, wanted: ExportMetadata, images: str | None) -> bool:
    """Whether the file is the wanted one and, if that is asked, ranked right on the images of that name."""
    try:
        if read_metadata(file) != wanted:
            return False
    except CheckpointError:
        return False
    report = read_parity(file)
    return images is None or (report.get("passed") is True and report.get("images") == images)


def read_parity(file: Path) -> dict[str, Any]:
    """The report of this very ONNX file, without single outputs and other backends; empty where there is none."""
    report = read_report(file)
    if report.get("sha256") != file_hash(file):
        return {}
    return {name: value for name, value in report.items() if name not in ("outputs", "backends")}


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
        progress=progress,
    )
    seconds = time.perf_counter() - started
    parity = read_parity(file) or None
    write_engine(engine, built, key, onnx=file, model=metadata.to_properties(), parity=parity, seconds=seconds)
    return engine, seconds
