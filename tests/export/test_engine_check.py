"""The engine itself is compared where a GPU that it was built for is present; elsewhere it is said why not."""

import json
from pathlib import Path

import pytest
import torch

from engine.encoders.parity_file import report_path
from export.engine_check import own_capability, why_not_here
from export.sidecar import EngineKey, write_engine
from export.to_trt import main
from export.trt_builder import BuiltEngine, Profile


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """What the check looks at first: a sidecar, here of an engine for two GPUs."""
    key = EngineKey("", "tensorrt_rtx", "1.7", ("8.6", "12.0"), Profile(1, 2, 4), None)
    built = BuiltEngine(b"plan", (), (), ())
    write_engine(tmp_path / "m.engine", built, key, onnx=tmp_path / "m.onnx", model={}, parity=None, seconds=1.0)
    return tmp_path / "m.engine"


def test_a_gpu_that_it_was_built_for_compares_it(engine: Path) -> None:
    assert why_not_here(engine, "8.6") is None
    assert why_not_here(engine, "12.0") is None


def test_elsewhere_it_is_said_why_not(engine: Path) -> None:
    assert why_not_here(engine, "9.0") == "it was built for compute capability 8.6, 12.0, and this GPU has 9.0"
    assert why_not_here(engine, None) == f"torch {torch.__version__} sees no NVIDIA GPU here"
    assert torch.cuda.is_available() or own_capability() is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt-rtx"])
def test_an_engine_ranks_like_the_original(tmp_path: Path, runtime: str, capsys: pytest.CaptureFixture[str]) -> None:
    library = pytest.importorskip(runtime.replace("-", "_"))
    capability = own_capability()
    if runtime == "tensorrt-rtx" and f"SM{capability}".replace(".", "") not in library.ComputeCapability.__members__:
        pytest.skip(f"TensorRT for RTX does not build for {capability}")
    out = tmp_path / "m.engine"
    main(out=out, runtime=runtime, compute_capability=capability, min_batch=2, max_batch=8, pairs=12)
    report = json.loads(report_path(out).read_text())
    assert report["passed"]
    assert {output["batch"] for output in report["outputs"]} == {1, 2, 8}
    assert report["ranking"]["top10"] == 1.0
    main(out=out, runtime=runtime, compute_capability=capability, min_batch=2, max_batch=8, pairs=12)
    assert f"{out}: compared before, {report_path(out)}" in capsys.readouterr().err
