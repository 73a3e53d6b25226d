"""`python -m export.to_trt`: a checkpoint becomes a TensorRT engine, by way of an ONNX file that ranks like it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeGuard, cast

import typer

from export.command import typed
from export.errors import ExportError
from export.to_onnx import (
    DataOption,
    ImageSizeOption,
    OpsetOption,
    PairsOption,
    ParityOption,
    PresetOption,
    default_out,
    model_options,
    require_packages,
    require_use,
    require_writable,
)
from mlrm.cli import errors_shown, progress_bar, run, say

if TYPE_CHECKING:
    from export.onnx_file import Dtype, InputDtype, Preset

EXAMPLE = (
    "Example: python -m export.to_trt runs/first/best.pt --dtype fp16 --runtime tensorrt-rtx "
    "--compute-capability 8.6,8.9,12.0"
)
DECIDED = {"dtype": "--dtype", "image_size": "--image-size", "opset": "--opset", "input_dtype": "--input"}
"""By parameter, what an .onnx has decided already."""
COMPARED = {"data": "--data", "pairs": "--pairs", "preset": "--preset"}
"""And what only a comparison with its original has a use for."""


@errors_shown
def main(
    source: Annotated[
        Path | None,
        typer.Argument(help=".pt, .safetensors, .pkl, or an .onnx of export.to_onnx; default: the shipped."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Engine to write; default: named after the source, here.")] = None,
    dtype: Annotated[str | None, typer.Option(help="fp32, fp16, bf16 or int8; default: fp32, or the .onnx's.")] = None,
    min_batch: Annotated[int, typer.Option(help="Smallest batch.", min=1)] = 1,
    opt_batch: Annotated[
        int | None, typer.Option(help="The batch it is tuned for; default: 8, or the nearest of those it takes.", min=1)
    ] = None,
    max_batch: Annotated[int, typer.Option(help="Largest batch.", min=1)] = 64,
    workspace: Annotated[float | None, typer.Option(help="GiB of GPU memory to work in; default: all.")] = None,
    runtime: Annotated[str | None, typer.Option(help="tensorrt or tensorrt-rtx; default: tensorrt.")] = None,
    compute_capability: Annotated[
        str | None, typer.Option(help="GPUs to build for, 8.6,8.9,12.0; tensorrt builds for this machine's only.")
    ] = None,
    timing_cache: Annotated[
        Path | None, typer.Option(help="TensorRT's; read if it exists, and written: faster next time.")
    ] = None,
    opset: OpsetOption = None,
    image_size: ImageSizeOption = None,
    input_dtype: Annotated[
        str | None, typer.Option("--input", help="Type of the images: uint8 in 0..255 (default), float32 in 0..1.")
    ] = None,
    data: DataOption = None,
    pairs: PairsOption = None,
    preset: PresetOption = None,
    original: Annotated[
        Path | None, typer.Option(help="The checkpoint that a given .onnx was exported from, to compare with.")
    ] = None,
    parity: ParityOption = True,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build again what is up to date.")] = False,
) -> None:
    """Build a TensorRT engine; the ONNX file it is built from lies beside it, compared with the original.

    The engine is compared too where a GPU that it was built for is present. With --runtime tensorrt-rtx no GPU is
    needed. What is up to date is left alone, by the engine's .json.
    """
    given = locals()
    command = typed("export.to_trt", main, given)
    bare = typed("export.to_trt", main, given, without=("runtime", "compute_capability", "timing_cache"))
    require_packages(dtype or "fp32")
    from export.engine_check import check_engines, own_capability, why_not_here
    from export.engine_file import EngineOptions, build, given_onnx, options_of, prepare_onnx, read_metadata
    from export.onnx_file import PAIRS, OnnxOptions, load_model
    from export.report import show_compared, show_file, show_next
    from export.trt_builder import Profile
    from export.trt_library import import_library, no_tensorrt, parse_capabilities, require_timing_cache, targets

    require_applicable(given)
    profile = Profile.of(min_batch, opt_batch, max_batch)
    out = out or default_out(source, dtype or "fp32", ".engine")
    require_writable(out, ".engine")
    library = import_library(runtime, command)
    asked = parse_capabilities(compute_capability)
    # Before the work: a capability that can't be had is an error now, not after the export.
    capabilities = targets(library, asked, bare, timing_cache) if library is not None else ()
    # And before the cache: another library is then the way out, and may have one.
    if timing_cache is not None:
        require_timing_cache(library, timing_cache)
    options = OnnxOptions(
        dtype=cast("Dtype", dtype or "fp32"),
        opset=opset,
        max_batch=max_batch,
        image_size=image_size,
        input_dtype=cast("InputDtype", input_dtype or "uint8"),
        data=data,
        pairs=pairs or PAIRS,
        preset=cast("Preset | None", preset),
    )
    with progress_bar() as progress:
        if is_onnx(source):
            options = options_of(read_metadata(source), options)
            files, compared = given_onnx(
                source, original, options, parity=parity, rebuild=rebuild, command=command, progress=progress
            )
        else:
            onnx = out.with_suffix(".onnx")
            files, compared = prepare_onnx(source, onnx, options, parity=parity, rebuild=rebuild, progress=progress)
    show_compared(compared, files)
    if library is None:
        raise no_tensorrt(files[0], asked, bare, timing_cache)
    engine_options = EngineOptions(capabilities, profile, workspace, timing_cache, rebuild, bare)
    with progress_bar() as progress:
        built = [build(library, file, out, engine_options, progress) for file in files]
    for file in files:
        show_file(file)
    for engine, seconds in built:
        show_file(engine, "up to date" if seconds is None else f"built in {seconds:.1f} s")
    engines = [engine for engine, _ in built]
    if parity:
        why_not = why_not_here(engines[0], own_capability())
        if why_not is None and is_onnx(source) and original is None:
            why_not = f"that takes the checkpoint: {command} --original CHECKPOINT"
        if why_not is not None:
            say(f"{engines[0]}: not compared itself, {why_not}")
        else:
            model = load_model(original if is_onnx(source) else source, options.image_size, options.preset)
            with progress_bar() as progress:
                compared_engine = check_engines(engines, model, options, progress)
            show_compared(compared_engine, engines)
    show_next(next_steps(engines[0], model_options(files[0], options.dtype, is_compared=compared.passed)))


def is_onnx(source: Path | None) -> TypeGuard[Path]:
    """Whether the source is an ONNX file, not a checkpoint."""
    return source is not None and source.suffix == ".onnx"


def require_applicable(given: Mapping[str, Any]) -> None:
    """Raise `ExportError` for an option that would change nothing; given: the values `main` got, by parameter."""
    original, parity = given["original"], given["parity"]
    if not is_onnx(given["source"]):
        if original is not None:
            raise ExportError("--original is for a given .onnx; a checkpoint is the original itself: leave it out")
        require_use(given["data"], given["pairs"], parity=parity, dtype=given["dtype"] or "fp32")
        return
    if decided := [option for name, option in DECIDED.items() if given[name] is not None]:
        raise ExportError(f"decided in an .onnx: {', '.join(decided)}. Leave that out, or give the checkpoint")
    if original is not None and not parity:
        raise ExportError("--original is what is compared with, and --no-parity compares nothing: leave one out")
    if original is None and (idle := [option for name, option in COMPARED.items() if given[name] is not None]):
        raise ExportError(f"of use to a comparison only: {', '.join(idle)}. Give --original CHECKPOINT too")


def next_steps(engine: Path, onnx_options: str) -> list[tuple[str, str]]:
    """Commands to copy: (purpose, command); onnx_options: what `model_options` gave of the file it was built from."""
    model = f"--model {shlex.quote(str(engine))}"
    return [
        ("index, on that GPU", f"python -m engine index PHOTOS --gallery my.gallery {model}"),
        ("search", f"python -m engine search SKETCH --gallery my.gallery {model}"),
        ("benchmark", f"python -m engine benchmark {model}"),
        ("search without a GPU", f"python -m engine search SKETCH --gallery my.gallery {onnx_options}"),
    ]


if __name__ == "__main__":
    run(main, EXAMPLE)
