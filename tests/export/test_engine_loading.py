"""An engine is loaded only by the library and on the GPU it was built for; refusals say how to build it again."""

import json
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from engine.encoders.engine_sidecar import Sidecar, sidecar_path
from engine.encoders.parity_file import file_hash, report_path
from engine.encoders.tensorrt_encoder import TensorRtEncoder, import_runtime
from engine.errors import CheckpointError, ConfigError
from engine.retriever import Retriever
from export.to_trt import main
from tests.export.conftest import Exported

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="what is refused without a GPU runs with one")


@pytest.fixture(scope="module")
def _built(rtx: ModuleType, light: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    shutil.copy(light.file, folder / "m.onnx")
    options: dict[str, Any] = {"runtime": "tensorrt-rtx", "compute_capability": "8.6", "opt_batch": 2, "max_batch": 4}
    main(folder / "m.onnx", out=folder / "m.engine", workspace=0.5, parity=False, **options)
    return folder


@pytest.fixture
def engine(_built: Path, tmp_path: Path) -> Path:
    """An engine for capability 8.6, its sidecar and its ONNX file, in a folder of the test's own."""
    return Path(shutil.copytree(_built, tmp_path / "engines")) / "m.engine"


def _change(engine: Path, **entries: Any) -> None:
    """Change entries of the sidecar, those of its key by `key__NAME`."""
    found = json.loads(sidecar_path(engine).read_text())
    for name, value in entries.items():
        place = found["key"] if name.startswith("key__") else found
        place[name.removeprefix("key__")] = value
    sidecar_path(engine).write_text(json.dumps(found))


def test_what_fits_is_not_refused(engine: Path, rtx: ModuleType) -> None:
    sidecar = Sidecar.read(engine)
    assert sidecar.batches == (1, 2, 4)
    assert import_runtime(sidecar) is rtx
    sidecar.require_fit(rtx.__version__, "8.6", "some GPU")


def test_another_version_is_refused(engine: Path) -> None:
    with pytest.raises(ConfigError, match=r"was built by tensorrt_rtx .*, and 99\.0 is installed.*--rebuild, or pip"):
        Sidecar.read(engine).require_fit("99.0", "8.6", "some GPU")


def run(command: str) -> None:
    """A command of `export.to_trt`, run here."""
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, shlex.split(command.removeprefix("python -m export.to_trt ")))
    assert result.exit_code == 0, result.output


def test_another_gpu_is_refused_with_the_command_that_builds_for_it_too(engine: Path, rtx: ModuleType) -> None:
    before = json.loads(sidecar_path(engine).read_text())["key"]
    refusal = r"capability 8\.6, and GeForce has 12\.0: python -m export\.to_trt"
    with pytest.raises(ConfigError, match=refusal) as caught:
        Sidecar.read(engine).require_fit(rtx.__version__, "12.0", "GeForce")
    run(str(caught.value).split("GeForce has 12.0: ")[1])
    for capability in ("8.6", "12.0"):
        Sidecar.read(engine).require_fit(rtx.__version__, capability, "GeForce")
    after = json.loads(sidecar_path(engine).read_text())["key"]
    assert before["workspace"] == 0.5
    assert after == before | {"capabilities": ["8.6", "12.0"]}


def test_the_onnx_file_is_found_from_an_engine_in_another_folder(engine: Path, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    moved = engine.rename(tmp_path / "away" / "m.engine")
    sidecar_path(engine).rename(sidecar_path(moved))
    _change(moved, onnx="../engines/m.onnx")
    assert Sidecar.read(moved).onnx == tmp_path / "engines" / "m.onnx"
    run(Sidecar.read(moved).rebuild_command("8.6"))
    assert json.loads(sidecar_path(moved).read_text())["onnx"] == "../engines/m.onnx"


def test_what_has_to_be_copied_first_is_named(engine: Path) -> None:
    engine.with_name("m.onnx").unlink()
    command = Sidecar.read(engine).rebuild_command("8.6")
    assert command.startswith(f"copy {engine.with_name('m.onnx')} from where the engine was built, then python -m ")


def test_a_gpu_that_tensorrt_for_rtx_lacks_is_referred_to_tensorrt(engine: Path, rtx: ModuleType) -> None:
    with pytest.raises(ConfigError) as caught:
        Sidecar.read(engine).require_fit(rtx.__version__, "9.0", "H100")
    command = str(caught.value).split("and H100 has 9.0: ")[1]
    assert command == (
        f"pip install tensorrt && python -m export.to_trt {engine.with_name('m.onnx')} --out {engine} --runtime "
        "tensorrt --min-batch 1 --opt-batch 2 --max-batch 4 --workspace 0.5 --no-parity --rebuild"
    )


def test_a_file_that_passed_its_comparison_keeps_it(engine: Path) -> None:
    file = engine.with_name("m.onnx")
    report_path(file).write_text(json.dumps({"passed": True, "sha256": file_hash(file)}))
    assert "--no-parity" not in Sidecar.read(engine).rebuild_command("8.6")


def test_another_file_under_its_name_is_refused(engine: Path, rtx: ModuleType) -> None:
    engine.write_bytes(engine.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"is not the file that m\.engine\.json describes.*--rebuild"):
        Sidecar.read(engine).require_fit(rtx.__version__, "8.6", "some GPU")


@pytest.mark.parametrize(
    "entries",
    [{"format": 2}, {"key__library": "tensorflow"}, {"key__profile": {"min": 1}}, {"model": 3}, {"key__version": None}],
    ids=str,
)
def test_a_sidecar_of_another_form_is_refused(engine: Path, entries: dict[str, Any]) -> None:
    _change(engine, **entries)
    if entries == {"key__version": None}:  # a version that no installed one equals
        with pytest.raises(ConfigError, match="tensorrt_rtx None"):
            Sidecar.read(engine).require_fit("1", "8.6", "some GPU")
        return
    with pytest.raises(CheckpointError, match=r"m\.engine\.json is not what export\.to_trt writes"):
        Sidecar.read(engine)


def test_an_engine_without_its_sidecar_is_refused(engine: Path) -> None:
    sidecar_path(engine).unlink()
    with pytest.raises(CheckpointError, match=r"has no m\.engine\.json beside it.*copy it from where"):
        TensorRtEncoder(engine, torch.device("cuda"))
    with pytest.raises(CheckpointError, match=r"no model at .*export\.to_trt"):
        TensorRtEncoder(engine.with_name("none.engine"), torch.device("cuda"))


def test_a_library_that_is_not_installed_is_named_with_its_version(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    sidecar = Sidecar.read(engine)
    with pytest.raises(ConfigError, match=rf"pip install tensorrt-rtx-cu13=={sidecar.version}"):
        import_runtime(sidecar)


@NO_GPU
def test_without_a_gpu_the_onnx_file_is_named(engine: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs an NVIDIA GPU.*use the ONNX file it was built from, .*/m\.onnx"):
        TensorRtEncoder(engine, torch.device("cuda"))
    with pytest.raises(ConfigError, match="runs on cuda, and the device is cpu"):
        Retriever(engine, engine.with_name("g"), "cpu")
