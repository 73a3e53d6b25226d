"""The compiled encoder fills batches up to the sizes that are compiled, and gives each image its own features back."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.encoders import compiled_encoder
from engine.encoders.compiled_encoder import BATCHES, CompiledEncoder, require_compiler
from engine.encoders.torch_encoder import TorchEncoder
from engine.errors import ConfigError
from kernels.gpu import availability

CPU = torch.device("cpu")


def images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes that the model ran with; nothing is compiled, which takes a minute."""
    seen: list[int] = []

    def noting(model: Any, **options: Any) -> Any:
        assert options == {"dynamic": False}
        return lambda pixels, domain: seen.append(len(pixels)) or model(pixels, domain)

    monkeypatch.setattr(compiled_encoder.torch, "compile", noting)
    monkeypatch.setattr(compiled_encoder, "BATCHES", (1, 3, 4))
    return seen


@pytest.mark.parametrize(("count", "expected"), [(1, [1]), (2, [3]), (4, [4]), (6, [4, 3]), (9, [4, 4, 1])])
def test_batches_are_cut_and_filled_up(checkpoint: Path, batches: list[int], count: int, expected: list[int]) -> None:
    found = CompiledEncoder(checkpoint, CPU).encode(images(count), "photo")
    assert batches == expected
    assert len(found) == count
    same = TorchEncoder(checkpoint, CPU).encode(images(count), "photo")
    for own, other in zip(found.levels, same.levels, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


def test_without_a_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_encoder.shutil, "which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ConfigError, match="found none: install g\\+\\+, or use backend 'torch'"):
        require_compiler(CPU)
    with pytest.raises(ConfigError, match=r"no C compiler .*; apt install gcc, or use backend 'torch'"):
        require_compiler(torch.device("cuda"))
    monkeypatch.setenv("CC", "gcc")
    require_compiler(torch.device("cuda"))


def test_without_pythons_header_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", "gcc")
    monkeypatch.setattr(availability.sysconfig, "get_paths", lambda scheme: {"include": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"no Python\.h .*; apt install python3-dev, or use backend 'torch'"):
        require_compiler(torch.device("cuda"))


def test_really_compiled_it_computes_the_same(checkpoint: Path, pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("--soak"):
        pytest.skip("compiles for a minute: --soak")
    one = images(1)
    found, same = (kind(checkpoint, CPU).encode(one, "photo") for kind in (CompiledEncoder, TorchEncoder))
    for own, other in zip(found.levels, same.levels, strict=True):
        assert (own - other).abs().max() < 1e-4 * other.abs().max()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_cuda_graph_computes_the_same_for_every_batch(checkpoint: Path) -> None:
    device = torch.device("cuda")
    compiled, eager = CompiledEncoder(checkpoint, device), TorchEncoder(checkpoint, device)
    for count in (1, BATCHES[1] - 1, 1):  # the second graph must not disturb the first
        found, same = (encoder.encode(images(count), "photo") for encoder in (compiled, eager))
        for own, other in zip(found.levels, same.levels, strict=True):
            assert (own - other).abs().max() < 1e-4 * other.abs().max()
