"""A command said again, as it was typed."""

import shlex
from pathlib import Path

import pytest
import typer.main

from export.command import by_rtx, by_tensorrt, typed
from export.to_trt import main

PROGRAM = "python -m export.to_trt"
LINES = [
    "",
    "runs/best.pt --out 'my engines/m.engine' --dtype fp16",
    "m.onnx --min-batch 2 --opt-batch 8 --max-batch 16 --workspace 1.5 --original best.pt --rebuild",
    "--opset 20 --image-size 288 --input float32 --pairs 3 --no-parity",
    "a.pkl --preset paper --runtime tensorrt-rtx --compute-capability 8.6,8.9 --timing-cache t.cache",
]


def read(line: str) -> dict[str, object]:
    """The values that the command gets of a line."""
    app = typer.Typer()
    app.command()(main)
    return dict(typer.main.get_command(app).make_context("to_trt", shlex.split(line)).params)


@pytest.mark.parametrize("line", LINES)
def test_what_is_said_again_means_what_was_typed(line: str) -> None:
    values = read(line)
    again = typed("export.to_trt", main, values)
    assert again.startswith(PROGRAM)
    assert read(again.removeprefix(PROGRAM)) == values
    assert len(shlex.split(again)) == len(shlex.split(f"{PROGRAM} {line}"))  # and no default besides


def test_parameters_can_be_left_out() -> None:
    values = read("m.onnx --runtime tensorrt --max-batch 4")
    assert typed("export.to_trt", main, values, without=("runtime",)) == f"{PROGRAM} m.onnx --max-batch 4"
    assert values["source"] == Path("m.onnx")


def test_a_runtime_is_named_only_with_capabilities_it_can_build_for() -> None:
    assert by_tensorrt("c", ["9.0"]) == "c --runtime tensorrt --compute-capability 9.0"
    assert by_tensorrt("c", ["8.6", "8.9"]) == "c --runtime tensorrt"
    assert by_rtx("c", ["8.6", "8.9"]) == "c --runtime tensorrt-rtx --compute-capability 8.6,8.9"
    assert by_rtx("c", ["8.6", "9.0"]) is None
