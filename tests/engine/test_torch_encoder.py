"""The encoder computes in float32, on a GPU too."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from engine.encoders import torch_encoder
from engine.encoders.torch_encoder import TorchEncoder, float32_convolutions

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def precisions() -> tuple[str, str]:
    return torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision


@pytest.fixture(params=["default", "tf32"])
def before(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The settings as they are, and as a caller may have them."""
    default = torch.backends.cuda.matmul.fp32_precision
    if request.param == "tf32":
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    yield precisions()
    torch.backends.cuda.matmul.fp32_precision = default


def test_on_a_gpu_the_settings_are_float32_inside_and_the_callers_outside(before: tuple[str, str]) -> None:
    with float32_convolutions(CUDA):
        assert precisions() == ("ieee", "ieee")
    assert precisions() == before
    with pytest.raises(KeyboardInterrupt), float32_convolutions(CUDA):
        raise KeyboardInterrupt
    assert precisions() == before


def test_on_a_cpu_nothing_is_touched(before: tuple[str, str]) -> None:
    with float32_convolutions(CPU), float32_convolutions(CPU):
        assert precisions() == before


def test_encoders_in_two_threads_take_turns(before: tuple[str, str]) -> None:
    """Else the first to leave would restore the caller's settings while the second computes."""
    entered = threading.Event()
    seen: list[tuple[str, str]] = []

    def second() -> None:
        with float32_convolutions(CUDA):
            entered.set()
            seen.append(precisions())

    thread = threading.Thread(target=second)
    with float32_convolutions(CUDA):
        thread.start()
        assert not entered.wait(0.2)
    thread.join()
    assert seen == [("ieee", "ieee")]
    assert precisions() == before


def test_the_model_alone_runs_inside(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads wait for no more than its launches."""
    log: list[str] = []

    @contextmanager
    def noted(device: torch.device) -> Iterator[None]:
        log.append(f"enter {device}")
        yield
        log.append("leave")

    encoder = TorchEncoder(checkpoint, CPU)
    monkeypatch.setattr(torch_encoder, "float32_convolutions", noted)
    encoder._model.register_forward_hook(lambda *_: log.append("forward"))
    encoder.encode(torch.zeros(1, 3, 224, 224, dtype=torch.uint8), "photo")
    assert log == ["enter cpu", "forward", "leave"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_features_of_a_gpu_are_those_of_the_cpu(checkpoint: Path) -> None:
    """To float32's rounding over some hundred layers; TensorFloat-32 is off by a thousandth."""
    images = torch.randint(0, 256, (4, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    on_cpu, on_gpu = (TorchEncoder(checkpoint, device).encode(images, "photo") for device in (CPU, CUDA))
    assert on_gpu.region_weights.is_cuda
    for expected, found in zip(on_cpu.levels, on_gpu.to("cpu").levels, strict=True):
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
