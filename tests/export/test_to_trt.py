"""`python -m export.to_trt`: real engines of TensorRT for RTX, built without a GPU, and every refusal."""

import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest

from engine.encoders.parity_file import file_hash, report_path
from export import engine_file
from export.errors import ExportError
from export.gpu import Gpu, find_gpu
from export.onnx_file import OnnxOptions, check, describe, file_for, settle
from export.precision import lower
from export.sidecar import sidecar_path
from export.to_trt import main
from export.trt_builder import Profile, build_engine, driver_advice
from export.trt_library import import_library, own_target, rtx_targets, supported_capabilities
from mlrm.procedural import write_pairs
from tests.export.conftest import Exported, no_progress

CAPABILITIES = "8.6,12.0"
COMMAND = "python -m export.to_trt m.pt"
H100 = Gpu("NVIDIA H100", "9.0", "13.0")


@pytest.fixture(scope="session")
def rtx() -> ModuleType:
    """TensorRT for RTX."""
    reason = "TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13"
    library: ModuleType = pytest.importorskip("tensorrt_rtx", reason=reason)
    return library


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The message of the command where it ends with an error."""

    def message(*arguments: Any, **options: Any) -> str:
        with pytest.raises(SystemExit) as ended:
            main(*arguments, **options)
        assert ended.value.code == 1
        return capsys.readouterr().err

    return message


def _build(source: Path, out: Path, **options: Any) -> dict[str, Any]:
    """Run the command for TensorRT for RTX and return the sidecar."""
    main(source, out=out, runtime="tensorrt-rtx", **{"compute_capability": CAPABILITIES} | options)
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
    assert sidecar["inputs"] == [{"name": "image", "shape": [-1, 3, size, size], "dtype": "UINT8"}]
    channels, grid = exported.model.level_channels, size // 32
    expected = {f"level_{number}": [-1, 3, channels[number - 1]] for number in (1, 2, 3)}
    expected |= {"region_weights": [-1, 3], "level_weights": [-1, 3, 3], "maps": [-1, 3, grid, grid]}
    assert {output["name"]: output["shape"] for output in sidecar["outputs"]} == expected
    assert {output["dtype"] for output in sidecar["outputs"]} == {"FLOAT"}
    assert json.loads(sidecar["model"]["mlrm.fingerprint"]) == exported.model.fingerprint()


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_is_the_graphs_own(rtx: ModuleType, light: Exported, dtype: str) -> None:
    proto = onnx.load_model(light.file)
    proto.opset_import[0].version = 22

    def size(model: onnx.ModelProto) -> int:
        built = build_engine(
            rtx,
            model.SerializeToString(),
            capabilities=["8.9"],
            profile=Profile(1, 1, 1),
            workspace=0.5,
            timing_cache=None,
            progress=no_progress,
        )
        return len(built.plan)

    assert size(lower(proto, dtype)) < 0.8 * size(proto)


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
def test_progress_is_told_while_the_builder_works(light: Exported, rtx: ModuleType) -> None:
    told: list[tuple[str, int, int]] = []
    build_engine(
        rtx,
        light.file.read_bytes(),
        capabilities=["8.6"],
        profile=Profile(1, 1, 1),
        workspace=None,
        timing_cache=None,
        progress=lambda *step: told.append(step),
    )
    assert len(told) > 20
    assert all(1 <= done <= total for _, done, total in told)


@pytest.mark.usefixtures("rtx")
def test_a_checkpoint_is_exported_once(light: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path(shutil.copy(light.file, tmp_path / "m.onnx"))
    options = OnnxOptions(pairs=3, max_batch=4)
    settle(check(light.model, [file], options, no_progress), [file])
    monkeypatch.setattr(engine_file, "write_onnx", lambda *arguments: pytest.fail("exported again"))
    sidecar = _build(None, tmp_path / "m.engine", compute_capability="8.6", pairs=3, opt_batch=2, max_batch=4)  # type: ignore[arg-type]
    assert sidecar["onnx"] == "m.onnx"
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
    main(separate.files[1], out=tmp_path / "two.engine", runtime="tensorrt-rtx", compute_capability="8.6")
    sidecar = json.loads((tmp_path / "two.photo.engine.json").read_text())
    assert sidecar["inputs"] == [{"name": "image", "shape": [-1, 3, 224, 224], "dtype": "FLOAT"}]


@pytest.mark.usefixtures("rtx")
def test_a_data_centre_gpu_is_refused_with_the_command_that_works(
    light: Exported, tmp_path: Path, fails: Callable[..., str]
) -> None:
    message = fails(light.file, out=tmp_path / "m.engine", runtime="tensorrt-rtx", compute_capability="9.0")
    assert "has no compute capability 9.0; it has " in message
    assert f"pip install tensorrt && python -m export.to_trt {light.file} --runtime tensorrt" in message


def test_the_usual_gpus_are_known_to_the_library(rtx: ModuleType) -> None:
    known = supported_capabilities(rtx)
    assert rtx_targets("TensorRT for RTX", known, [], COMMAND) == ("8.6", "8.9", "12.0")


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed")
def test_without_tensorrt_the_onnx_file_is_kept_and_both_ways_are_named(
    light: Exported, tmp_path: Path, fails: Callable[..., str]
) -> None:
    file = Path(shutil.copy(light.file, tmp_path / "m.onnx"))
    message = fails(file, out=tmp_path / "m.engine")
    assert f"{file} is written and can be used" in message
    assert f"pip install tensorrt && python -m export.to_trt {file}" in message
    assert f"pip install tensorrt-rtx-cu13 && python -m export.to_trt {file} --runtime tensorrt-rtx" in message
    assert file.is_file()
    assert not (tmp_path / "m.engine").exists()
    assert "pip install tensorrt" in fails(file, out=tmp_path / "m.engine", runtime="tensorrt")


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(ExportError, match="expected one of tensorrt, tensorrt-rtx"):
        import_library("onnxruntime")


@pytest.mark.parametrize("reason", ["no NVIDIA driver is installed", "the NVIDIA driver finds no GPU it can use"])
def test_tensorrt_without_a_gpu_is_refused_with_the_command_that_works(reason: str) -> None:
    with pytest.raises(ExportError, match=rf"{reason}.*{COMMAND} --runtime tensorrt-rtx --compute-capability 8\.9"):
        own_target("TensorRT 11.0", reason, [], COMMAND)


def test_tensorrt_builds_for_its_own_gpu_only() -> None:
    assert own_target("TensorRT 11.0", H100, [], COMMAND) == ("9.0",)
    assert own_target("TensorRT 11.0", H100, ["9.0"], COMMAND) == ("9.0",)
    with pytest.raises(ExportError, match=r"NVIDIA H100 of capability 9\.0, not for 8\.6.*--runtime tensorrt-rtx"):
        own_target("TensorRT 11.0", H100, ["8.6"], COMMAND)


def test_a_machine_has_a_gpu_or_a_reason_for_none() -> None:
    found = find_gpu()
    assert isinstance(found, Gpu) or "NVIDIA driver" in found


def test_a_driver_too_old_is_named() -> None:
    told = "cudaError 35: CUDA driver version is insufficient for CUDA runtime version"
    assert "update it, or build with --runtime tensorrt-rtx" in driver_advice(told)
    assert driver_advice("out of memory") == ""


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compute_capability": "86"}, "compute capability '86'; expected numbers like 8.9"),
        ({"min_batch": 4, "opt_batch": 2}, "batches are min 4, opt 2, max 64; expected 1 <= min <= opt <= max"),
        ({"dtype": "fp16"}, "are decided in an .onnx"),
        ({"timing_cache": Path("t.cache")}, "times nothing while it builds: leave out --timing-cache"),
        ({"out": Path("m.plan")}, "--out m.plan ends in '.plan'; expected .engine"),
    ],
)
def test_options_that_cannot_be_met_are_refused(
    light: Exported, options: dict[str, Any], message: str, fails: Callable[..., str]
) -> None:
    assert message in fails(light.file, **{"out": Path("m.engine"), "runtime": "tensorrt-rtx"} | options)


@pytest.mark.usefixtures("rtx")
def test_an_onnx_file_of_another_origin_is_refused(tmp_path: Path, fails: Callable[..., str]) -> None:
    file = tmp_path / "m.onnx"
    options = {"out": tmp_path / "m.engine", "runtime": "tensorrt-rtx"}
    assert "no model at" in fails(file, **options)
    file.write_bytes(b"\x00nothing")
    assert "m.onnx is no ONNX file" in fails(file, **options)
    onnx.save_model(onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])), file)
    assert "no metadata of this project" in fails(file, **options)


def test_what_the_parser_cannot_read_is_told_in_its_words(rtx: ModuleType) -> None:
    value = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", 3])
    out = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["batch", 3])
    node = onnx.helper.make_node("NoSuchOperator", ["image"], ["out"], domain="nowhere")
    proto = onnx.helper.make_model(onnx.helper.make_graph([node], "unknown", [value], [out]))
    with pytest.raises(ExportError, match=r"can't read this ONNX file.*NoSuchOperator"):
        build_engine(
            rtx,
            proto.SerializeToString(),
            capabilities=["8.6"],
            profile=Profile(1, 1, 1),
            workspace=None,
            timing_cache=None,
            progress=no_progress,
        )
