"""The options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

GalleryOption = Annotated[Path, typer.Option(help="The gallery's directory.")]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        help="A checkpoint, .onnx or .engine of export.to_onnx, export.to_trt; default: the trained one shipped."
    ),
]
BackendOption = Annotated[
    str,
    typer.Option(
        help="What runs the model: auto, or measure to time its choice again; torch, torch-compile; for .onnx: onnx, "
        "openvino, openvino-bf16; tensorrt."
    ),
]
MetadataOption = Annotated[
    Path | None, typer.Option(help="A .csv or .jsonl file of metadata, with a column id or path.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
