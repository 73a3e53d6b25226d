"""`python -m export.to_trt`: a checkpoint becomes a TensorRT engine, by way of an ONNX file that ranks like it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from export.errors import ExportError
from export.to_onnx import (
    DataOption,
    ImageSizeOption,
    InputOption,
    OpsetOption,
    PairsOption,
    ParityOption,
    default_out,
    require_packages,
    require_writable,
)
from mlrm.cli import errors_shown, progress_bar, run

if TYPE_CHECKING:
    from export.onnx_file import Dtype, InputDtype

EXAMPLE = (
    "Example: python -m export.to_trt runs/first/best.pt --dtype fp16 --runtime tensorrt-rtx "
    "--compute-capability 8.6,8.9,12.0"
)


@errors_shown
def main(
    source: Annotated[
        Path | None,
        typer.Argument(help=".pt, .safetensors, .pkl, or an .onnx of export.to_onnx; default: the shipped."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Engine to write; default: named after the source, here.")] = None,
    dtype: Annotated[str | None, typer.Option(help="fp32, fp16, bf16 or int8; default: fp32, or the .onnx's.")] = None,
    min_batch: Annotated[int, typer.Option(help="Smallest batch.", min=1)] = 1,
    opt_batch: Annotated[int, typer.Option(help="The batch it is tuned for.", min=1)] = 8,
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
    input_dtype: InputOption = "uint8",
    data: DataOption = None,
    pairs: PairsOption = 64,
    parity: ParityOption = True,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build again what is up to date.")] = False,
) -> None:
    """Build a TensorRT engine; the ONNX file it is built from lies beside it, compared with the original.

    With --runtime tensorrt-rtx no GPU is needed. What is up to date is left alone, by the engine's .json.
    """
    require_packages(dtype or "fp32")
    from export.engine_file import EngineOptions, build, prepare_onnx, read_metadata
    from export.onnx_file import OnnxOptions, settle
    from export.report import show_file, show_next, show_parity
    from export.trt_builder import Profile
    from export.trt_library import import_library, targets

    command = f"python -m export.to_trt{f' {shlex.quote(str(source))}' if source else ''}"
    profile = Profile(min_batch, opt_batch, max_batch)
    from_onnx = source is not None and source.suffix == ".onnx"
    if from_onnx and (dtype or image_size or opset or data):
        raise ExportError(
            "--dtype, --image-size, --opset and --data are decided in an .onnx: leave them out, or give the checkpoint"
        )
    out = out or default_out(source, dtype or "fp32", ".engine")
    require_writable(out, ".engine")
    if timing_cache is not None and (timing_cache.is_dir() or not timing_cache.parent.is_dir()):
        raise ExportError(f"--timing-cache is {timing_cache}; expected a file, in a folder that is there")
    library = import_library(runtime)
    asked = [name.strip() for name in compute_capability.split(",")] if compute_capability else []
    # Before the work: a capability that can't be had is an error now, not after the export.
    capabilities = targets(library, asked, command) if library is not None else ()
    with progress_bar() as progress:
        if from_onnx:
            assert source is not None
            files, report = [source], None
        else:
            options = OnnxOptions(
                dtype=cast("Dtype", dtype or "fp32"),
                opset=opset,
                max_batch=max_batch,
                image_size=image_size,
                input_dtype=cast("InputDtype", input_dtype),
                data=data,
                pairs=pairs,
            )
            files, report = prepare_onnx(
                source, out.with_suffix(".onnx"), options, parity=parity, rebuild=rebuild, progress=progress
            )
    if report is not None:
        show_parity(report)
        settle(report, files)
    if library is None:
        raise ExportError(_no_tensorrt(files[0], command))
    engine_options = EngineOptions(capabilities, profile, workspace, timing_cache, rebuild)
    with progress_bar() as progress:
        built = [build(library, file, out, engine_options, progress) for file in files]
    for file in files:
        show_file(file)
    for engine, seconds in built:
        show_file(engine, "up to date" if seconds is None else f"built in {seconds:.1f} s")
    show_next(next_steps(files[0], built[0][0], read_metadata(files[0]).config.image_size))


def _no_tensorrt(onnx: Path, command: str) -> str:
    return (
        f"TensorRT isn't installed, so there is no engine; {onnx} is written and can be used. Either, on the machine "
        f"with the GPU: pip install tensorrt && {command}. Or, on any machine, for GeForce RTX: pip install "
        f"tensorrt-rtx-cu13 && {command} --runtime tensorrt-rtx"
    )


def next_steps(onnx: Path, engine: Path, size: int) -> list[tuple[str, str]]:
    """Commands to copy, for an engine and the ONNX file it was built from: (purpose, command)."""
    return [
        ("search", f"python -m engine search SKETCH --gallery my.gallery --model {shlex.quote(str(engine))}"),
        ("without a GPU", f"python -m engine search SKETCH --gallery my.gallery --model {shlex.quote(str(onnx))}"),
        ("benchmark", f"trtexec --loadEngine={shlex.quote(str(engine))} --shapes=image:1x3x{size}x{size}"),
    ]


if __name__ == "__main__":
    run(main, EXAMPLE)
