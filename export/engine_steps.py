"""The steps of `python -m export.to_trt`: a library that builds, the ONNX files, their engines, the engines compared.

given: everywhere the values that the command got, by parameter. command: the whole of it as typed, for messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from export.applicable import is_onnx
from export.compared import Compared
from export.engine_check import check_engines, own_capability, why_not_here
from export.engine_file import EngineOptions, build, given_onnx, options_of, prepare_onnx, read_metadata
from export.onnx_file import PAIRS, OnnxOptions, load_model
from export.report import show_compared, show_file
from export.trt_builder import Profile
from export.trt_library import import_library, parse_capabilities, require_timing_cache, targets
from mlrm.cli import progress_bar, say


def find_builder(given: Mapping[str, Any], command: str, bare: str) -> tuple[ModuleType | None, EngineOptions]:
    """The library of the runtime asked for, and what it is told; None where the default one isn't installed.

    bare: as `export.trt_library.targets` has its command. Raises `ExportError` for what can't be had here.
    """
    profile = Profile.of(given["min_batch"], given["opt_batch"], given["max_batch"])
    library = import_library(given["runtime"], command)
    asked, timing_cache = parse_capabilities(given["compute_capability"]), given["timing_cache"]
    capabilities = targets(library, asked, bare, timing_cache) if library is not None else ()
    # After the capabilities: where this library lacks one, another is the way out, and may have a timing cache.
    if timing_cache is not None:
        require_timing_cache(library, timing_cache)
    return library, EngineOptions(capabilities, profile, given["workspace"], timing_cache, given["rebuild"], bare)


def onnx_options(given: Mapping[str, Any]) -> OnnxOptions:
    """How the ONNX file is to be made and compared; of a given one, how it was made. Raises as `read_metadata` does."""
    options = OnnxOptions(
        dtype=given["dtype"] or "fp32",
        opset=given["opset"],
        max_batch=given["max_batch"],
        image_size=given["image_size"],
        input_dtype=given["input_dtype"] or "uint8",
        data=given["data"],
        pairs=given["pairs"] or PAIRS,
        preset=given["preset"],
    )
    source = given["source"]
    return options_of(read_metadata(source), options) if is_onnx(source) else options


def onnx_files(
    source: Path | None,
    original: Path | None,
    out: Path,
    options: OnnxOptions,
    *,
    parity: bool,
    rebuild: bool,
    command: str,
) -> tuple[list[Path], Compared]:
    """The files to build from, and their comparison: the one given, or those of a checkpoint, named after `out`.

    Raises as `given_onnx` and `prepare_onnx` do.
    """
    with progress_bar() as progress:
        if is_onnx(source):
            return given_onnx(
                source, original, options, parity=parity, rebuild=rebuild, command=command, progress=progress
            )
        onnx = out.with_suffix(".onnx")
        return prepare_onnx(source, onnx, options, parity=parity, rebuild=rebuild, progress=progress)


def build_engines(library: ModuleType, files: Sequence[Path], out: Path, options: EngineOptions) -> list[Path]:
    """Build what is not up to date and show all files; raises as `build` does."""
    with progress_bar() as progress:
        built = [build(library, file, out, options, progress) for file in files]
    for file in files:
        show_file(file)
    for engine, seconds in built:
        show_file(engine, "up to date" if seconds is None else f"built in {seconds:.1f} s")
    return [engine for engine, _ in built]


def compare_engines(
    engines: Sequence[Path], source: Path | None, original: Path | None, options: OnnxOptions, command: str
) -> None:
    """Compare engines with the checkpoint they are of, or say why that can't be done here.

    Raises as `check_engines` does, and `ParityError` where they fail.
    """
    why_not = why_not_here(engines[0], own_capability())
    if why_not is None and is_onnx(source) and original is None:
        why_not = f"that takes the checkpoint: {command} --original CHECKPOINT"
    if why_not is not None:
        say(f"{engines[0]}: not compared itself, {why_not}")
        return
    model = load_model(original if is_onnx(source) else source, options.image_size, options.preset)
    with progress_bar() as progress:
        compared = check_engines(engines, model, options, progress)
    show_compared(compared, engines)
