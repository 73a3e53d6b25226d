"""An `.onnx` given to `export.to_trt`: it passed its comparison, passes it now, or nobody asks; nothing is ignored."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.encoders.parity_file import file_hash, report_path
from export.compared import Compared, stored
from export.onnx_file import OnnxOptions, check, settle
from export.parity import Parity
from export.sidecar import sidecar_path
from export.to_trt import main
from mlrm.checkpoint import SHIPPED
from tests.export.conftest import Exported, no_progress, untrained

OPTIONS: dict[str, Any] = {"runtime": "tensorrt-rtx", "compute_capability": "8.6", "opt_batch": 2, "max_batch": 4}
pytestmark = pytest.mark.usefixtures("rtx")


@pytest.fixture(scope="module")
def reports(light: Exported) -> dict[str, Parity]:
    """What the shipped model's file is found to be, on three pairs."""
    return check(light.model, light.files, OnnxOptions(pairs=3, max_batch=4), no_progress)


@pytest.fixture
def file(light: Exported, tmp_path: Path) -> Path:
    """A copy of that file, without a report."""
    return Path(shutil.copy(light.file, tmp_path / "m.onnx"))


def test_a_file_that_passed_is_built_and_its_report_shown(
    file: Path, reports: dict[str, Parity], capsys: pytest.CaptureFixture[str]
) -> None:
    settle(reports, [file])
    main(file, out=file.with_suffix(".engine"), **OPTIONS)
    assert "3 drawn pairs" in capsys.readouterr().out
    sidecar = json.loads(sidecar_path(file.with_suffix(".engine")).read_text())
    assert sidecar["parity_of_onnx"]["ranking"]["top10"] == 1.0


def test_a_report_is_read_back_as_it_was_written(file: Path, reports: dict[str, Parity]) -> None:
    assert stored([file]) == Compared()
    settle(reports, [file])
    assert stored([file]) == Compared(reports)
    assert stored([file], "3 drawn pairs (test)").passed
    assert stored([file], "4 drawn pairs (test)") == Compared()
    text = report_path(file).read_text()
    for damaged in (text.replace('"ranking"', '"rank"'), text.replace(file_hash(file), "0" * 64), "[]", "{"):
        report_path(file).write_text(damaged)
        assert stored([file]) == Compared()


def test_a_file_of_unknown_worth_is_refused_with_both_ways_out(file: Path, refused: Callable[..., str]) -> None:
    out = file.with_suffix(".engine")
    message = refused(file, out=out, **OPTIONS)
    command = f"python -m export.to_trt {file} --out {out} --opt-batch 2 --max-batch 4 --runtime tensorrt-rtx"
    assert "m.onnx has no report beside it of its comparison with the original" in message
    for option in ("--original CHECKPOINT", "--no-parity"):
        assert f"{command} --compute-capability 8.6 {option}" in message
    assert not out.exists()


def test_a_file_that_failed_is_refused(file: Path, reports: dict[str, Parity], refused: Callable[..., str]) -> None:
    settle(reports, [file])
    report = json.loads(report_path(file).read_text())
    report["backends"]["onnx"]["failures"] = ["maps: too far"]
    report_path(file).write_text(json.dumps(report))
    assert "m.onnx failed its comparison with the original" in refused(file, out=file.with_suffix(".engine"), **OPTIONS)


def test_it_is_built_without_a_comparison_if_that_is_asked(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = file.with_suffix(".engine")
    main(file, out=out, parity=False, **OPTIONS)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"{file}: not compared with the original" in shown.err
    assert f"search SKETCH --gallery my.gallery --model {file} --backend onnx" in shown.err  # "auto" would refuse it
    assert json.loads(sidecar_path(out).read_text())["parity_of_onnx"] is None


def test_it_is_compared_with_the_original_that_is_given(
    file: Path, refused: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    other = untrained(file.with_name("other.safetensors"), trunk="efficientnet_lite0", image_size=256)
    out = file.with_suffix(".engine")
    assert "other.safetensors has " in refused(file, out=out, original=other, **OPTIONS)
    main(file, out=out, original=SHIPPED, pairs=2, **OPTIONS)
    assert "2 drawn pairs" in capsys.readouterr().out
    assert {output["batch"] for output in json.loads(report_path(file).read_text())["outputs"]} == {1, 2, 4}
    main(file, out=out, **OPTIONS)  # from now on it passed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "fp16", "input_dtype": "float32"}, "decided in an .onnx: --dtype, --input. Leave that out"),
        ({"opset": 20, "image_size": 256}, "decided in an .onnx: --image-size, --opset"),
        ({"data": Path(), "pairs": 3}, "of use to a comparison only: --data, --pairs. Give --original CHECKPOINT"),
        ({"parity": False, "pairs": 3}, "of use to a comparison only: --pairs"),
        ({"original": SHIPPED, "parity": False}, "--no-parity compares nothing: leave one out"),
    ],
)
def test_what_would_change_nothing_is_refused(
    file: Path, options: dict[str, Any], message: str, refused: Callable[..., str]
) -> None:
    assert message in refused(file, out=file.with_suffix(".engine"), **OPTIONS | options)


def test_a_checkpoint_has_no_other_original(tmp_path: Path, refused: Callable[..., str]) -> None:
    message = refused(None, out=tmp_path / "m.engine", original=SHIPPED, **OPTIONS)
    assert "a checkpoint is the original itself: leave it out" in message
    assert "leave them out with --no-parity" in refused(
        None, out=tmp_path / "m.engine", parity=False, pairs=3, **OPTIONS
    )
