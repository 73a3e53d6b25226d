"""`python -m export.to_trt`: real engines of TensorRT for RTX, built without a GPU, and every refusal."""

import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from engine.encoders.parity_file import file_hash, report_path
from export import engine_file
from export.onnx_file import OnnxOptions, check, describe, file_for, settle
from export.sidecar import sidecar_path
from export.to_trt import main, next_steps
from mlrm.checkpoint import load
from mlrm.procedural import write_pairs
from tests.export.conftest import Exported, no_progress, untrained

CAPABILITIES = "8.6,12.0"


def _build(source: Path | None, out: Path, **options: Any) -> dict[str, Any]:
    """Run the command for TensorRT for RTX, an .onnx without its comparison, and return the sidecar."""
    parity = source is None or source.suffix != ".onnx"
    main(source, out=out, runtime="tensorrt-rtx", **{"compute_capability": CAPABILITIES, "parity": parity} | options)
    sidecar: dict[str, Any] = json.loads(sidecar_path(out).read_text())
    return sidecar


@pytest.mark.usefixtures("rtx")
def test_both_trunks_become_engines_for_several_gpus(exported: Exported, tmp_path: Path) -> None:
    out = tmp_path / "m.engine"
    sidecar = _build(exported.file, out, opt_batch=2, max_batch=16)
    size = exported.model.config.image_size
    assert out.stat().st_size > 0.5 * exported.file.stat().st_size
    assert sidecar["key"]["capabilities"] == ["8.6", "12.0"]
    assert sidecar["key"]["profile"] == {"min": 1, "opt": 2, "max": 16}
    assert sidecar["profile"] == [[batch, 3, size, size] for batch in (1, 2, 16)]
    assert sidecar["inputs"] == [{"name": "image", "shape": [-1, 3, size, size], "dtype": "UINT8"}]
    channels, grid = exported.model.level_channels, size // 32
    expected = {f"level_{number}": [-1, 3, channels[number - 1]] for number in (1, 2, 3)}
    expected |= {"region_weights": [-1, 3], "level_weights": [-1, 3, 3], "maps": [-1, 3, grid, grid]}
    assert {output["name"]: output["shape"] for output in sidecar["outputs"]} == expected
    assert {output["dtype"] for output in sidecar["outputs"]} == {"FLOAT"}
    assert json.loads(sidecar["model"]["mlrm.fingerprint"]) == exported.model.fingerprint()


@pytest.mark.usefixtures("rtx")
def test_an_engine_that_is_up_to_date_is_left_alone(
    light: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.engine"
    options = {"compute_capability": "8.6", "max_batch": 8}
    first = _build(light.file, out, **options)
    assert "built in" in capsys.readouterr().err
    _build(light.file, out, **options)
    assert "up to date" in capsys.readouterr().err
    for change in ({"max_batch": 9}, {"compute_capability": "8.9"}, {"workspace": 1.0}, {"rebuild": True}):
        _build(light.file, out, **options | change)
        assert "built in" in capsys.readouterr().err, change
    again = _build(light.file, out, **options)
    assert again["key"] == first["key"]
    assert "up to date" in capsys.readouterr().err
    out.write_bytes(out.read_bytes()[:-1])
    _build(light.file, out, **options)
    assert "up to date" not in capsys.readouterr().err


@pytest.mark.usefixtures("rtx")
def test_a_checkpoint_becomes_a_compared_onnx_file_and_an_engine_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = untrained(tmp_path / "m.safetensors", trunk="efficientnet_lite0")
    sidecar = _build(checkpoint, tmp_path / "e.engine", pairs=3, opt_batch=2, max_batch=3)
    first = capsys.readouterr()
    assert "3 drawn pairs" in first.out
    assert f"{tmp_path / 'e.engine'}: not compared itself, torch" in first.err or torch.cuda.is_available()
    assert sidecar["onnx"] == "e.onnx"
    assert sidecar["parity_of_onnx"]["images"] == "3 drawn pairs (test)"
    assert json.loads(sidecar["model"]["mlrm.fingerprint"]) == load(checkpoint).fingerprint()
    onnx_options = f"--model {tmp_path / 'e.onnx'}"
    for _, command in next_steps(tmp_path / "e.engine", onnx_options):
        assert f"{command}\n" in first.err
    again = _build(checkpoint, tmp_path / "e.engine", pairs=3, opt_batch=2, max_batch=3)
    shown = capsys.readouterr()
    assert again == sidecar
    assert shown.out == first.out  # the table again, of the report beside the file
    assert f"compared before, {tmp_path / 'e.onnx.parity.json'}" in shown.err


@pytest.mark.usefixtures("rtx")
def test_a_checkpoint_is_exported_once(light: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path(shutil.copy(light.file, tmp_path / "m.onnx"))
    options = OnnxOptions(pairs=3, max_batch=4)
    settle(check(light.model, [file], options, no_progress), [file])
    monkeypatch.setattr(engine_file, "write_onnx", lambda *arguments: pytest.fail("exported again"))
    sidecar = _build(None, tmp_path / "m.engine", compute_capability="8.6", pairs=3, max_batch=4)
    assert sidecar["onnx"] == "m.onnx"
    assert sidecar["key"]["profile"] == {"min": 1, "opt": 4, "max": 4}
    assert sidecar["parity_of_onnx"]["passed"]
    assert sidecar["parity_of_onnx"]["ranking"]["top10"] == 1.0


def test_a_checkpoint_is_exported_again_for_other_images_or_without_a_report_of_this_file(
    light: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WrittenError(Exception):
        pass

    def written(*arguments: object) -> None:
        raise WrittenError

    def prepare(**changes: object) -> None:
        wanted = replace(options, **changes)  # type: ignore[arg-type]
        engine_file.prepare_onnx(None, file, wanted, parity=True, rebuild=False, progress=no_progress)

    file = Path(shutil.copy(light.file, tmp_path / "m.onnx"))
    options = OnnxOptions(pairs=3, max_batch=4)
    settle(check(light.model, [file], options, no_progress), [file])
    monkeypatch.setattr(engine_file, "write_onnx", written)
    prepare()
    write_pairs(tmp_path / "pairs" / "test", 3, seed=0)
    for changes in ({"pairs": 2}, {"data": tmp_path / "pairs"}, {"max_batch": 5}):
        with pytest.raises(WrittenError):
            prepare(**changes)
    report = report_path(file).read_text()
    report_path(file).write_text(report.replace(file_hash(file), "0" * 64))
    with pytest.raises(WrittenError):
        prepare()


def test_ranges_of_other_images_are_another_file(light: Exported, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        write_pairs(tmp_path / name / "pairs" / "train", 3, seed=seed)
    options = [OnnxOptions("int8", data=tmp_path / name / "pairs") for name in ("a", "b")]
    one, other = (describe(light.model, "both", each) for each in options)
    assert one != other
    assert replace(one, calibration=other.calibration) == other


def test_the_file_of_a_network_is_found_from_either() -> None:
    for out in ("m.engine", "m.sketch.engine", "m.photo.engine"):
        assert file_for(Path(out), "sketch") == Path("m.sketch.engine")
        assert file_for(Path(out), "photo") == Path("m.photo.engine")
        assert file_for(Path(out), "both") == Path(out)


@pytest.mark.usefixtures("rtx")
def test_separate_networks_become_two_engines(separate: Exported, tmp_path: Path) -> None:
    options: dict[str, Any] = {"runtime": "tensorrt-rtx", "compute_capability": "8.6", "parity": False}
    main(separate.files[1], out=tmp_path / "two.engine", **options)
    for domain in ("sketch", "photo"):
        sidecar = json.loads((tmp_path / f"two.{domain}.engine.json").read_text())
        assert json.loads(sidecar["model"]["mlrm.domain"]) == domain
        assert sidecar["inputs"] == [{"name": "image", "shape": [-1, 3, 224, 224], "dtype": "FLOAT"}]


@pytest.mark.usefixtures("rtx")
def test_a_data_centre_gpu_is_refused_with_the_command_that_works(
    light: Exported, tmp_path: Path, refused: Callable[..., str]
) -> None:
    out = tmp_path / "m.engine"
    message = refused(light.file, out=out, runtime="tensorrt-rtx", compute_capability="9.0", workspace=2.0)
    assert "has no compute capability 9.0; it has " in message
    command = f"python -m export.to_trt {light.file} --out {out} --workspace 2.0 --runtime tensorrt"
    assert message.endswith(f"pip install tensorrt && {command} --compute-capability 9.0\n")
    options = {"out": out, "runtime": "tensorrt-rtx", "compute_capability": "9.0", "timing_cache": tmp_path / "t.cache"}
    assert refused(light.file, **options).endswith(f" --compute-capability 9.0 --timing-cache {tmp_path / 't.cache'}\n")


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed")
def test_without_tensorrt_the_onnx_file_is_kept_and_both_ways_are_named(
    light: Exported, tmp_path: Path, refused: Callable[..., str]
) -> None:
    file = Path(shutil.copy(light.file, tmp_path / "m.onnx"))
    out = tmp_path / "m.engine"
    message = refused(file, out=out, compute_capability="8.6", max_batch=16, parity=False)
    assert f"{file} can be used" in message
    command = f"python -m export.to_trt {file} --out {out} --max-batch 16 --no-parity"
    assert f"pip install tensorrt && {command} --runtime tensorrt --compute-capability 8.6" in message
    assert f"pip install tensorrt-rtx-cu13 && {command} --runtime tensorrt-rtx --compute-capability 8.6" in message
    assert file.is_file()
    assert not out.exists()
    message = refused(file, out=out, runtime="tensorrt")
    assert f"pip install tensorrt && python -m export.to_trt {file} --out {out} --runtime tensorrt" in message


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compute_capability": "86"}, "compute capability '86'; expected numbers like 8.9"),
        ({"min_batch": 4, "opt_batch": 2}, "batches are min 4, opt 2, max 64; expected 1 <= min <= opt <= max"),
        ({"timing_cache": Path("t.cache")}, "times nothing while it builds: leave out --timing-cache"),
        ({"out": Path("m.plan")}, "--out m.plan ends in '.plan'; expected .engine"),
    ],
)
def test_options_that_cannot_be_met_are_refused(
    light: Exported, options: dict[str, Any], message: str, refused: Callable[..., str]
) -> None:
    assert message in refused(light.file, **{"out": Path("m.engine"), "runtime": "tensorrt-rtx"} | options)


@pytest.mark.usefixtures("rtx")
def test_an_onnx_file_of_another_origin_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    file = tmp_path / "m.onnx"
    options = {"out": tmp_path / "m.engine", "runtime": "tensorrt-rtx"}
    assert "no model at" in refused(file, **options)
    file.write_bytes(b"\x00nothing")
    assert "m.onnx is no ONNX file" in refused(file, **options)
    onnx.save_model(onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])), file)
    assert "no metadata of this project" in refused(file, **options)
