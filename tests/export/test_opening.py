"""Which backend `Retriever(model="m.onnx")` takes, what it remembers, and what it refuses."""

import importlib.metadata
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from engine.cli import app
from engine.encoders import Encoder, backends, opening
from engine.encoders.opening import open_encoder
from engine.encoders.parity_file import compared_runtimes, file_hash, report_path
from engine.encoders.race import memory_file, race_key
from engine.errors import CheckpointError, ConfigError
from engine.retriever import Retriever
from export.images import ImagePairs
from export.onnx_file import OnnxOptions, check, settle
from tests.export.conftest import Exported, no_progress

CPU = torch.device("cpu")
ALL = {"onnx": 2.0, "openvino": 1.0, "openvino-bf16": 3.0}


@pytest.fixture(autouse=True)
def _own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine remembers is not the tests' to read or to write."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def _compared(light: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = Path(shutil.copy(light.file, tmp_path_factory.mktemp("compared") / "m.onnx"))
    settle(check(light.model, [file], OnnxOptions(pairs=2, max_batch=2), no_progress), [file])
    return file


@pytest.fixture
def model(_compared: Path, tmp_path: Path) -> Path:
    """The shipped model as ONNX with the report of a real check, in a folder of the test's own."""
    for file in (_compared, report_path(_compared)):
        shutil.copy(file, tmp_path)
    return tmp_path / "m.onnx"


def judged(model: Path, **passed: bool) -> None:
    """Change the report: these backends, as installed, were compared on the CPU and no others; they passed or not."""
    report = json.loads(report_path(model).read_text())
    names = {name.replace("_", "-"): verdict for name, verdict in passed.items()}
    report["backends"] = {name: {"passed": verdict, "runtime": runtime(name)} for name, verdict in names.items()}
    report_path(model).write_text(json.dumps(report))


def runtime(name: str) -> str:
    return backends.BACKENDS[name].runtime(CPU)


def recall(model: Path, milliseconds: dict[str, float]) -> None:
    """Remember a race of backends for this file, as if it had been run."""
    memory_file().parent.mkdir(parents=True, exist_ok=True)
    key = race_key(file_hash(model), [runtime(name) for name in milliseconds], CPU)
    memory_file().write_text(json.dumps({key: {"milliseconds": milliseconds}}))


def test_the_check_compares_every_backend_that_runs_here(model: Path) -> None:
    found = compared_runtimes(model)
    assert found[runtime("onnx")] is True
    assert found[runtime("openvino")] is True
    assert found.keys() <= set(map(runtime, ALL))  # bf16 only where the processor has it


def test_auto_measures_once_says_so_and_remembers(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(model, onnx=True, openvino=True)
    first = open_encoder(model, CPU)
    assert "for one sketch, measured now: " in first.reason
    assert "onnx " in first.reason
    assert "openvino " in first.reason
    monkeypatch.setattr(opening, "run_race", lambda *_: pytest.fail("measured again"))
    again = open_encoder(model, CPU)
    assert again.name == first.name
    assert again.reason == first.reason.replace("measured now", "remembered")


def test_measure_takes_the_times_again_and_remembers_them(model: Path) -> None:
    judged(model, onnx=True, openvino=True)
    recall(model, {"onnx": 1000.0, "openvino": 900.0})
    assert open_encoder(model, CPU).reason.endswith("remembered: openvino 900.0 ms, onnx 1000.0 ms")
    measured = open_encoder(model, CPU, "measure")
    assert "measured now" in measured.reason
    assert "900.0 ms" not in measured.reason
    assert open_encoder(model, CPU).reason == measured.reason.replace("measured now", "remembered")
    assert open_encoder(None, CPU, "measure").name == "torch"  # nothing to choose from


@pytest.mark.parametrize("fastest", ["onnx", "openvino"])
def test_auto_takes_the_fastest(model: Path, fastest: str) -> None:
    judged(model, onnx=True, openvino=True)
    recall(model, {"onnx": 2.0, "openvino": 2.0} | {fastest: 1.0})
    opened = open_encoder(model, CPU)
    assert opened.name == fastest
    assert type(opened.encoder).__name__ == {"onnx": "OnnxEncoder", "openvino": "OpenVinoEncoder"}[fastest]
    assert str(opened).startswith(f"{fastest} (fastest of those whose parity passed")


def test_a_backend_that_failed_its_check_is_not_taken_however_fast(model: Path) -> None:
    judged(model, onnx=True, openvino=False)
    recall(model, {"onnx": 2.0, "openvino": 1.0})
    opened = open_encoder(model, CPU)
    assert (opened.name, opened.reason) == ("onnx", "the only one here that passed its parity check")


def refuse(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let backends fail as where the processor lacks a precision."""

    def refused(model: object, device: torch.device) -> Encoder:
        raise ConfigError("asked for bf16 and computes in f32")

    for name in names:
        monkeypatch.setitem(backends.BACKENDS, name, replace(backends.BACKENDS[name], open=refused))


def test_a_backend_that_cannot_run_here_leaves_the_others_and_is_named(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(model, onnx=True, openvino=True, openvino_bf16=True)
    refuse(monkeypatch, "openvino-bf16")
    opened = open_encoder(model, CPU)
    assert opened.name in ("onnx", "openvino")
    assert "measured now" in opened.reason
    assert opened.reason.endswith("; without openvino-bf16: asked for bf16 and computes in f32")
    refuse(monkeypatch, "openvino")
    recall(model, {"onnx": 2.0, "openvino": 3.0, "openvino-bf16": 1.0})  # it could be opened when it won
    opened = open_encoder(model, CPU)
    assert (opened.name, opened.reason.partition(";")[0]) == ("onnx", "the only one here that passed its parity check")
    refuse(monkeypatch, "onnx")
    with pytest.raises(ConfigError, match="asked for bf16"):
        open_encoder(model, CPU)


def test_what_passed_on_the_cpu_is_not_trusted_on_a_gpu(model: Path) -> None:
    judged(model, onnx=True, openvino=True)
    version = backends.BACKENDS["onnx"].installed()
    with pytest.raises(
        ConfigError, match=rf"on cuda here onnx {version}, CUDA \(not checked\) could run it: give device='cpu', export"
    ) as error:
        open_encoder(model, torch.device("cuda"))
    assert f"passed its parity check with onnx {version}, CPU; openvino" in str(error.value)
    assert "pip install" not in str(error.value)


def test_what_passed_by_another_version_is_not_trusted(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(model, onnx=True, openvino=True)
    version = importlib.metadata.version
    monkeypatch.setattr(backends, "version", lambda name: "99.0" if name == "openvino" else version(name))
    assert open_encoder(model, CPU).name == "onnx"
    monkeypatch.setattr(backends, "version", lambda name: "99.0")
    with pytest.raises(
        ConfigError, match=r"onnx 99\.0, CPU \(not checked\).*: export it again on this machine: python -m"
    ):
        open_encoder(model, CPU)


def test_of_two_networks_both_have_to_have_passed(separate: Exported, tmp_path: Path) -> None:
    files = [Path(shutil.copy(file, tmp_path)) for file in separate.files]
    for file in files:
        passed = {"sha256": file_hash(file), "backends": {"onnx": {"passed": True, "runtime": runtime("onnx")}}}
        report_path(file).write_text(json.dumps(passed))
    for file in files:
        assert open_encoder(file, CPU).name == "onnx"
    report_path(files[0]).unlink()
    for file in files:
        with pytest.raises(ConfigError, match="no parity report"):
            open_encoder(file, CPU)


def test_a_backend_that_is_not_installed_is_not_taken(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(model, onnx=True, openvino=True)
    version = importlib.metadata.version

    def without(*missing: str) -> None:
        def found(name: str) -> str:
            if name in missing:
                raise importlib.metadata.PackageNotFoundError(name)
            return version(name)

        monkeypatch.setattr(backends, "version", found)

    without("openvino")
    assert open_encoder(model, CPU).name == "onnx"
    without("openvino", "onnxruntime", "onnxruntime-gpu")
    with pytest.raises(
        ConfigError, match=r"on cpu here nothing could run it: pip install onnxruntime openvino, export"
    ):
        open_encoder(model, CPU)


def test_without_a_report_of_this_very_file_auto_refuses_and_a_named_backend_runs(model: Path) -> None:
    report_path(model).write_text(report_path(model).read_text().replace(file_hash(model), "0" * 64))
    for _ in ("of another file", "none"):
        with pytest.raises(ConfigError, match=r"no parity report of this very file.*export\.to_onnx.*onnx, openvino"):
            open_encoder(model, CPU)
        report_path(model).unlink(missing_ok=True)
    assert str(open_encoder(model, CPU, "onnx")) == "onnx (as asked)"


def test_where_all_backends_failed_auto_refuses(model: Path) -> None:
    judged(model, onnx=False, openvino=False)
    with pytest.raises(ConfigError, match=r"failed its parity check with onnx .*; openvino .*: export it with --dtype"):
        open_encoder(model, CPU)


def test_a_report_that_is_damaged_is_none(model: Path) -> None:
    for content in ("", "[]", "{}", '{"backends": 3}', json.dumps({"sha256": file_hash(model), "backends": {"a": 1}})):
        report_path(model).write_text(content)
        assert compared_runtimes(model) == {}


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for backend in ("auto", "onnx", "openvino"):
        with pytest.raises(CheckpointError, match="no model at"):
            open_encoder(tmp_path / "m.onnx", CPU, backend)


@pytest.mark.parametrize(("backend", "module"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    model: Path, monkeypatch: pytest.MonkeyPatch, backend: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # what Python keeps where an import fails
    monkeypatch.delitem(sys.modules, f"engine.encoders.{backend}_encoder", raising=False)
    with pytest.raises(ConfigError, match=rf'{backend}.* needs {module} .*pip install "mlrm-engine\[{backend}\]"'):
        Retriever(model, model.with_name("g"), "cpu", backend=backend)


@pytest.mark.parametrize(
    ("model_name", "backend", "message"),
    [
        (None, "tensorflow", "backend is 'tensorflow'; expected auto, measure, torch, torch-compile, onnx"),
        (None, "onnx", r"takes an \.onnx file, and the model is the shipped checkpoint: make one with .*to_onnx"),
        (None, "tensorrt", r"takes an \.engine file.*make one with .*to_trt"),
        ("m.onnx", "torch", r"takes a checkpoint, and the model is m\.onnx; or give backend auto, onnx, openvino"),
        ("m.engine", "onnx", r"takes an \.onnx file, and the model is m\.engine; or give backend auto, tensorrt"),
        ("m.engine", "auto", r"runs on cuda, and the device is cpu; give device='cuda', or the \.onnx file that"),
    ],
)
def test_a_backend_that_cannot_run_the_model_is_refused(model_name: str | None, backend: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_encoder(model_name, CPU, backend)


def test_a_checkpoint_is_run_by_the_reference() -> None:
    opened = open_encoder(None, CPU)
    assert (opened.name, type(opened.encoder).__name__) == ("torch", "TorchEncoder")


def test_a_gallery_made_by_one_backend_is_searched_by_another(
    model: Path, tmp_path: Path, pairs: Any, light: Exported
) -> None:
    images: ImagePairs = pairs(256)
    photos = [photo.permute(1, 2, 0).numpy() for photo in images.photos]
    ids = [f"{number:02}" for number in range(len(photos))]
    by_torch = Retriever(None, tmp_path / "g", "cpu")
    by_torch.add(photos, ids=ids)
    expected = [[match.id for match in by_torch.search(one.permute(1, 2, 0).numpy())] for one in images.sketches[:4]]
    for backend in ("onnx", "openvino"):
        other = Retriever(model, tmp_path / "g", "cpu", backend)
        assert f", {backend}, cpu" in repr(other)
        found = [[match.id for match in other.search(one.permute(1, 2, 0).numpy())] for one in images.sketches[:4]]
        assert found == expected


def test_the_commands_take_a_backend_and_say_which_it_is(model: Path, tmp_path: Path, pairs: Any) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    image: torch.Tensor = pairs(256).photos[0]
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / "a.png")
    options = ["--gallery", str(tmp_path / "g"), "--model", str(model), "--device", "cpu", "--backend"]
    runner = CliRunner(env={"COLUMNS": "400"})
    indexed = runner.invoke(app, ["index", str(folder), *options, "onnx"])
    assert indexed.exit_code == 0, indexed.output
    assert "backend: onnx (as asked)" in indexed.stderr
    assert "added a second" in indexed.stderr
    found = runner.invoke(app, ["search", str(folder / "a.png"), *options, "openvino", "--json"])
    assert [match["id"] for match in json.loads(found.stdout)["matches"]] == ["a.png"]
