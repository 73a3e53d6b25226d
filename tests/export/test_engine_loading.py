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

from engine.encoders.engine_sidecar import Sidecar, sidecar_path
from engine.encoders.tensorrt_encoder import TensorRtEncoder, import_runtime
from engine.errors import CheckpointError, ConfigError
from engine.retriever import Retriever
from export.parity import compare
from export.to_trt import main
from tests.export.conftest import Exported, no_progress

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="what is refused without a GPU runs with one")


@pytest.fixture(scope="module")
def rtx() -> ModuleType:
    """TensorRT for RTX."""
    library: ModuleType = pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx-cu13")
    return library


@pytest.fixture(scope="module")
def _built(rtx: ModuleType, light: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    shutil.copy(light.file, folder / "m.onnx")
    options: dict[str, Any] = {"runtime": "tensorrt-rtx", "compute_capability": "8.6", "opt_batch": 2, "max_batch": 4}
    main(folder / "m.onnx", out=folder / "m.engine", **options)
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


def test_another_gpu_is_refused_with_the_command_that_builds_for_it(engine: Path, rtx: ModuleType) -> None:
    with pytest.raises(
        ConfigError, match=r"capability 8\.6, and GeForce has 12\.0: python -m export\.to_trt"
    ) as caught:
        Sidecar.read(engine).require_fit(rtx.__version__, "12.0", "GeForce")
    words = shlex.split(str(caught.value).split("python -m export.to_trt ")[1])
    flags = dict(zip(words[1:-1:2], words[2:-1:2], strict=True))
    batches = {f"{name}_batch": int(flags[f"--{name}-batch"]) for name in ("min", "opt", "max")}
    main(
        Path(words[0]),
        out=Path(flags["--out"]),
        runtime=flags["--runtime"],
        compute_capability=flags["--compute-capability"],
        rebuild=words[-1] == "--rebuild",
        **batches,
    )
    Sidecar.read(engine).require_fit(rtx.__version__, "12.0", "GeForce")


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
    with pytest.raises(ConfigError, match=r"needs an NVIDIA GPU.*use the ONNX file it was built from, m\.onnx"):
        TensorRtEncoder(engine, torch.device("cuda"))
    with pytest.raises(ConfigError, match="runs on cuda, and the device is cpu"):
        Retriever(engine, engine.with_name("g"), "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt-rtx"])
def test_an_engine_ranks_like_the_original(light: Exported, pairs: Any, tmp_path: Path, runtime: str) -> None:
    pytest.importorskip(runtime.replace("-", "_"))
    major, minor = torch.cuda.get_device_capability()
    if runtime == "tensorrt-rtx" and (major, minor) not in ((8, 6), (8, 9), (12, 0)):
        pytest.skip(f"TensorRT for RTX does not build for {major}.{minor}")
    out = tmp_path / "m.engine"
    main(light.file, out=out, runtime=runtime, compute_capability=f"{major}.{minor}", min_batch=2, max_batch=8)
    encoder = TensorRtEncoder(out, torch.device("cuda"))
    parity = compare(
        encoder.encode, light.model, pairs(256), runtime=runtime, dtype="fp32", batches=(1, 2, 12), progress=no_progress
    )
    assert parity.failures == ()
