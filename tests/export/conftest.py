"""What the export's tests share: both trunks as ONNX, exported once, and a few drawn pairs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

pytest.importorskip("onnx", reason="the export needs onnx: pip install onnx onnxscript onnxruntime openvino")

from export.images import ImagePairs, load_pairs
from export.onnx_file import OnnxOptions, load_model, write_onnx
from export.to_trt import main as to_trt
from mlrm import MLRM, MLRMConfig
from mlrm.checkpoint import save

PAIRS = 12


def no_progress(what: str, done: int, total: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Exported:
    """A model and its float32 ONNX file, or files."""

    model: MLRM
    checkpoint: Path | None
    files: list[Path]

    @property
    def file(self) -> Path:
        """The first, or only one."""
        return self.files[0]


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def untrained(path: Path, **overrides: object) -> Path:
    """A checkpoint of random weights."""
    torch.manual_seed(0)
    save(MLRM(MLRMConfig.paper(**{"image_size": 224, "token_dim": 16} | overrides)), path)
    return path


@pytest.fixture(scope="session")
def light(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The shipped model: trained, EfficientNet-Lite0."""
    model = load_model(None, None)
    out = tmp_path_factory.mktemp("light") / "light.onnx"
    return Exported(model, None, write_onnx(model, out, OnnxOptions(max_batch=4), no_progress))


@pytest.fixture(scope="session")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """An untrained DenseNet-169."""
    folder = tmp_path_factory.mktemp("dense")
    checkpoint = untrained(folder / "dense.safetensors")
    model = load_model(checkpoint, None)
    return Exported(model, checkpoint, write_onnx(model, folder / "dense.onnx", OnnxOptions(), no_progress))


@pytest.fixture(scope="session")
def separate(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """An untrained model with one network for sketches and one for photos, whose files take float images."""
    folder = tmp_path_factory.mktemp("separate")
    checkpoint = untrained(folder / "two.safetensors", trunk="efficientnet_lite0", shared_networks=False)
    model = load_model(checkpoint, None)
    options = OnnxOptions(input_dtype="float32")
    return Exported(model, checkpoint, write_onnx(model, folder / "two.onnx", options, no_progress))


@pytest.fixture(scope="session", params=["light", "dense"])
def exported(request: pytest.FixtureRequest) -> Exported:
    """Each trunk in turn."""
    model: Exported = request.getfixturevalue(request.param)
    return model


@pytest.fixture(scope="session")
def pairs() -> Callable[[int], ImagePairs]:
    """`PAIRS` drawn pairs of a size."""
    drawn: dict[int, ImagePairs] = {}

    def of_size(size: int) -> ImagePairs:
        if size not in drawn:
            drawn[size] = load_pairs(None, "test", size, PAIRS, no_progress)
        return drawn[size]

    return of_size


@pytest.fixture(scope="session")
def rtx() -> ModuleType:
    """TensorRT for RTX."""
    reason = "TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13"
    library: ModuleType = pytest.importorskip("tensorrt_rtx", reason=reason)
    return library


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The message of `export.to_trt` where it ends with an error."""

    def message(*arguments: Any, **options: Any) -> str:
        with pytest.raises(SystemExit) as ended:
            to_trt(*arguments, **options)
        assert ended.value.code == 1
        return capsys.readouterr().err

    return message
