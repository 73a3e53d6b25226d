"""Options of `python -m export.to_trt` that would change nothing are refused, before the work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from export.errors import ExportError
from export.to_onnx import require_use

DECIDED = {"dtype": "--dtype", "image_size": "--image-size", "opset": "--opset", "input_dtype": "--input"}
"""By parameter, what an .onnx has decided already."""
COMPARED = {"data": "--data", "pairs": "--pairs", "preset": "--preset"}
"""And what only a comparison with its original has a use for."""


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
