"""`python -m export.to_trt`: a checkpoint becomes a TensorRT engine, by way of an ONNX file that ranks like it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from export.applicable import require_applicable
from export.command import typed
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
    require_writable,
)
from mlrm.cli import errors_shown, run

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
    from export import engine_steps as steps
    from export.report import show_compared, show_next
    from export.trt_library import no_tensorrt, parse_capabilities

    require_applicable(given)
    out = out or default_out(source, dtype or "fp32", ".engine")
    require_writable(out, ".engine")
    # Before the work: what can't be had here is an error now, not after the export.
    library, engine_options = steps.find_builder(given, command, bare)
    onnx_options = steps.onnx_options(given)
    files, compared = steps.onnx_files(
        source, original, out, onnx_options, parity=parity, rebuild=rebuild, command=command
    )
    show_compared(compared, files)
    if library is None:
        raise no_tensorrt(files[0], parse_capabilities(compute_capability), bare, timing_cache)
    engines = steps.build_engines(library, files, out, engine_options)
    if parity:
        steps.compare_engines(engines, source, original, onnx_options, command)
    show_next(next_steps(engines[0], model_options(files[0], onnx_options.dtype, is_compared=compared.passed)))


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
