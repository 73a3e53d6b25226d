"""`python -m export.to_onnx`: the command from end to end, and what it refuses before the work."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.encoders.onnx_encoder import OnnxEncoder
from export import engine_file, onnx_file
from export.onnx_file import load_model
from export.to_onnx import main, model_options, next_steps
from export.to_trt import main as to_trt
from mlrm import MLRM, MLRMConfig
from mlrm.checkpoint import load, load_shipped, save
from tests.export.conftest import untrained
from tests.golden import authors_state_dict

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The message of the command where it ends with an error."""

    def message(*arguments: Any, **options: Any) -> str:
        with pytest.raises(SystemExit) as ended:
            main(*arguments, **options)
        assert ended.value.code == 1
        return capsys.readouterr().err

    return message


def test_the_command_writes_a_checked_model_and_says_what_to_do_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(dtype="fp16", max_batch=3, pairs=6)
    shown = capsys.readouterr()
    file = tmp_path / "mlrm_lite0.fp16.onnx"
    report = json.loads((tmp_path / f"{file.name}.parity.json").read_text())
    assert report["passed"]
    assert {output["batch"] for output in report["outputs"]} == {1, 2, 3}
    assert report["ranking"]["original_accuracy"]["sketches"] == 6
    assert "6 drawn pairs" in shown.out
    assert "level_3" in shown.out
    assert f"{file.name}: " in shown.err
    for _, command in next_steps(Path(file.name), f"--model {file.name}"):
        assert f"{command}\n" in shown.err
    encoder = OnnxEncoder(file, torch.device("cpu"))
    assert encoder.fingerprint == load_shipped().fingerprint()
    assert (encoder.metadata.dtype, encoder.metadata.max_batch) == ("fp16", 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.name, f"{file.name}.parity.json"]


@pytest.mark.parametrize("module", ["export.to_onnx", "export.to_trt"])
def test_help_ends_with_an_example(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"python -m {module}" in done.stdout


def test_the_authors_form_is_refused_with_the_reason_and_the_way_out(tmp_path: Path, fails: Callable[..., str]) -> None:
    config = MLRMConfig.authors(trunk="efficientnet_lite0", image_size=224, token_dim=16)
    save(MLRM(config), tmp_path / "authors.pt")
    message = fails(tmp_path / "authors.pt", out=tmp_path / "m.onnx")
    assert "attention_over='batch'" in message
    assert "python -m mlrm.convert" in message
    assert not (tmp_path / "m.onnx").exists()


@pytest.fixture(scope="module")
def pickle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as the authors' program writes it."""
    file = tmp_path_factory.mktemp("authors") / "theirs.pkl"
    torch.save({"model": authors_state_dict(), "epochs": 12, "steps": 3400, "args": {}}, file)
    return file


@pytest.mark.parametrize("command", [main, to_trt], ids=["to_onnx", "to_trt"])
def test_the_authors_pickle_is_exported_in_the_papers_form(
    command: Callable[..., None], pickle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WrittenError(Exception):
        pass

    def written(model: MLRM, *arguments: object) -> None:
        raise WrittenError(model.config.attention_over, model.fingerprint())

    for module in (onnx_file, engine_file):
        monkeypatch.setattr(module, "write_onnx", written)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WrittenError) as caught:
        command(pickle, preset="paper")
    assert caught.value.args == ("tokens", load(pickle, preset="paper").fingerprint())


def test_the_authors_pickle_without_its_option_is_refused_with_it(pickle: Path, fails: Callable[..., str]) -> None:
    assert "add --preset paper" in fails(pickle, out=Path("m.onnx"))
    assert "expected paper, the only form that can be exported" in fails(pickle, preset="authors")
    assert "preset='paper' is for the authors' .pkl" in fails(preset="paper", out=Path("m.onnx"))


def test_without_a_comparison_the_lines_to_copy_name_a_backend() -> None:
    for dtype, backend in (("fp32", "onnx"), ("bf16", "openvino")):
        assert model_options(Path("m.onnx"), dtype, is_compared=False) == f"--model m.onnx --backend {backend}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parity": False, "pairs": 3}, "leave them out with --no-parity"),
        ({"dtype": "fp8"}, "dtype is 'fp8'; expected one of fp32, fp16, bf16, int8"),
        ({"input_dtype": "int8"}, "input_dtype is 'int8'; expected one of uint8, float32"),
        ({"opset": 11}, "opset is 11; expected 18 to"),
        ({"out": Path("m.trt")}, "--out m.trt ends in '.trt'; expected .onnx"),
        ({"out": Path("nowhere/m.onnx")}, "there is no folder nowhere"),
        ({"checkpoint": Path("missing.pt")}, "no checkpoint at missing.pt"),
        ({"image_size": 250}, "image_size is 250; expected a multiple of 32"),
    ],
)
def test_options_that_cannot_be_met_are_refused(
    options: dict[str, Any],
    message: str,
    fails: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails(**options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("dtype", "package"), [("fp32", "onnxscript"), ("int8", "onnxruntime")])
def test_missing_packages_are_named_with_the_command_that_installs_them(
    dtype: str, package: str, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    assert f"pip install {package}" in fails(dtype=dtype)


def test_another_image_size_is_another_model(tmp_path: Path) -> None:
    checkpoint = untrained(tmp_path / "m.safetensors", trunk="efficientnet_lite0")
    model, larger = load_model(checkpoint, None), load_model(checkpoint, 288)
    assert larger.config.image_size == 288
    assert larger.fingerprint() != model.fingerprint()
    assert larger.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in larger.state_dict().items())
