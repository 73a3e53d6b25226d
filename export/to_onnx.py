"""`python -m export.to_onnx`: a checkpoint becomes an ONNX file that ranks like it."""

from __future__ import annotations

import importlib.util
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from export.errors import ExportError
from mlrm.cli import errors_shown, progress_bar, run, say

if TYPE_CHECKING:
    from export.onnx_file import Dtype, InputDtype, Preset

EXAMPLE = "Example: python -m export.to_onnx runs/first/best.pt --dtype fp16 --out shoes.onnx"

CheckpointArgument = Annotated[
    Path | None,
    typer.Argument(help=".pt, .safetensors or, with --preset paper, the authors' .pkl; default: the shipped."),
]
OutOption = Annotated[Path | None, typer.Option(help="File to write; default: named after the checkpoint, here.")]
DtypeOption = Annotated[str, typer.Option(help="What the trunk computes in: fp32, fp16, bf16 or int8.")]
MaxBatchOption = Annotated[int, typer.Option(help="Largest batch; parity is checked at it.", min=1)]
ImageSizeOption = Annotated[int | None, typer.Option(help="Side of the images in pixels; default: the model's.")]
InputOption = Annotated[str, typer.Option("--input", help="Type of the images: uint8 in 0..255, float32 in 0..1.")]
DataOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of pairs: its test split for parity, its training split for int8's ranges; default: drawn ones.",
        exists=True,
        file_okay=False,
    ),
]
PairsOption = Annotated[int | None, typer.Option(help="How many pairs at most, for either; default: 64.", min=1)]
ParityOption = Annotated[bool, typer.Option("--parity/--no-parity", help="Compare with the original.")]
PresetOption = Annotated[
    str | None, typer.Option(help="For the authors' .pkl: paper, the form of it that can be exported.")
]
OpsetOption = Annotated[int | None, typer.Option(help="ONNX opset; default: 20, for bf16 22.")]


def require_packages(dtype: str) -> None:
    """Raise `ExportError` unless the packages that write ONNX of this type are there."""
    needed = ["onnx", "onnxscript"] + ["onnxruntime"] * (dtype == "int8")
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise ExportError(f"writing ONNX ({dtype}) takes {' and '.join(missing)}: pip install {' '.join(missing)}")


def default_out(checkpoint: Path | None, dtype: str, suffix: str) -> Path:
    """`shoes.onnx` for `runs/shoes.pt`, `shoes.fp16.onnx` in half precision; in the current folder."""
    from mlrm.checkpoint import SHIPPED

    stem = (checkpoint or SHIPPED).stem
    return Path(f"{stem}{'' if dtype == 'fp32' else f'.{dtype}'}{suffix}")


def require_writable(out: Path, suffix: str) -> None:
    """Raise `ExportError`, before the work, for a name that can't be written or says another format."""
    if out.suffix != suffix:
        raise ExportError(f"--out {out} ends in {out.suffix or 'nothing'!r}; expected {suffix}")
    if not out.parent.is_dir():
        raise ExportError(f"--out {out}: there is no folder {out.parent}; make it, or give another path")


def require_use(data: Path | None, pairs: int | None, *, parity: bool, dtype: str) -> None:
    """Raise `ExportError` for --data or --pairs where no image is looked at."""
    if not parity and dtype != "int8" and (data is not None or pairs is not None):
        raise ExportError(
            "--data and --pairs choose the images to compare on and to find int8's ranges on: leave them out with "
            "--no-parity"
        )


@errors_shown
def main(
    checkpoint: CheckpointArgument = None,
    out: OutOption = None,
    dtype: DtypeOption = "fp32",
    opset: OpsetOption = None,
    max_batch: MaxBatchOption = 64,
    image_size: ImageSizeOption = None,
    input_dtype: InputOption = "uint8",
    data: DataOption = None,
    pairs: PairsOption = None,
    preset: PresetOption = None,
    parity: ParityOption = True,
) -> None:
    """Export a checkpoint to ONNX: images in, features out, any batch; then compare it with the original.

    Exits with 1 where it differs by more than its precision may; the file's name then ends in .failed.
    """
    require_packages(dtype)
    from export.onnx_file import PAIRS, OnnxOptions, check, load_model, settle, write_onnx
    from export.report import show_file, show_next, show_parity

    require_use(data, pairs, parity=parity, dtype=dtype)
    options = OnnxOptions(
        dtype=cast("Dtype", dtype),
        opset=opset,
        max_batch=max_batch,
        image_size=image_size,
        input_dtype=cast("InputDtype", input_dtype),
        data=data,
        pairs=pairs or PAIRS,
        preset=cast("Preset | None", preset),
    )
    out = out or default_out(checkpoint, dtype, ".onnx")
    require_writable(out, ".onnx")
    model = load_model(checkpoint, image_size, options.preset)
    started = time.perf_counter()
    with progress_bar() as progress:
        files = write_onnx(model, out, options, progress)
        seconds = time.perf_counter() - started
        reports = check(model, files, options, progress) if parity else {}
    for file in files:
        show_file(file)
    say(f"exported in {seconds:.1f} s")
    if reports:
        show_parity(reports)
        settle(reports, files)
    show_next(next_steps(files[0], model_options(files[0], dtype, is_compared=bool(reports))))


def model_options(file: Path, dtype: str, *, is_compared: bool) -> str:
    """The options of `python -m engine` that take an ONNX file; without a comparison, backend "auto" refuses it."""
    from export.onnx_file import first_backend

    return f"--model {shlex.quote(str(file))}" + ("" if is_compared else f" --backend {first_backend(dtype)}")


def next_steps(file: Path, options: str) -> list[tuple[str, str]]:
    """Commands to copy, for an ONNX file and what `model_options` gave of it: (purpose, command)."""
    return [
        ("index", f"python -m engine index PHOTOS --gallery my.gallery {options}"),
        ("search", f"python -m engine search SKETCH --gallery my.gallery {options}"),
        ("benchmark", f"python -m engine benchmark --model {shlex.quote(str(file))} --backend all"),
    ]


if __name__ == "__main__":
    run(main, EXAMPLE)
