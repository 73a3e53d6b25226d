"""The Triton kernels' cases on a machine without a GPU, and what of their package runs on any."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from kernels.gpu import tiles, why_not

pytest.importorskip("triton")

from kernels.gpu.nearest import NOTHING, bounds_of, keys_of, list_capacity

CASES = [Path(__file__).with_name(f"test_gpu{name}.py") for name in ("", "_rescore", "_short", "_tuning")]


@pytest.mark.skipif(
    tuple(map(int, version("triton").split(".")[:2])) < (3, 9),
    reason="Triton's interpreter before 3.9 reads through an atomic's pointers that are masked off, and crashes",
)
def test_the_cases_hold_under_tritons_interpreter() -> None:
    """In a process of its own: Triton decides when it is imported whether it interprets or compiles."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not gpu", *map(str, CASES)],
        cwd=CASES[0].parents[2],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout


def test_why_not_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr("kernels.gpu.availability.find_spec", lambda name: None)
    assert "triton is missing" in (why_not(torch.device("cuda")) or "")
    monkeypatch.setattr("kernels.gpu.availability.find_spec", lambda name: object())
    assert "NVIDIA GPU" in (why_not(torch.device("cpu")) or "")
    assert "NVIDIA GPUs" in (why_not(torch.device("mps")) or "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA device" in (why_not(torch.device("cuda")) or "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert "7.5" in (why_not(torch.device("cuda")) or "")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert why_not(torch.device("cuda")) is None


def test_keys_are_in_the_order_of_bound_and_row() -> None:
    bounds = torch.tensor([0.0, 0.0, 1e-45, 1e-10, 1.0, 1.0, 3e38])
    rows = torch.tensor([0, 2**31 + 5, 1, 0, 3, 4, 0])
    keys = keys_of(bounds, rows)
    assert (keys.diff() > 0).all()
    assert torch.equal(bounds_of(keys), bounds)
    assert torch.equal(keys & 0xFFFFFFFF, rows)
    assert (keys < NOTHING).all()


@pytest.mark.parametrize("count", [17, 26, 400])
def test_rows_of_random_order_fit_a_list(count: int) -> None:
    """What `list_capacity` promises, drawn: rows below the count-th smallest of the first quarter, in the rest."""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(500, 8000, generator=generator)
    limits = values[:, :2000].kthvalue(count, dim=1).values
    appended = (values[:, 2000:] < limits[:, None]).sum(1)
    assert int(appended.max()) <= list_capacity(count)


def test_a_tile_is_the_smallest_that_holds_the_queries_or_the_largest() -> None:
    tuning = tiles.defaults(2, 9)
    assert [tuning.product_tile(queries).queries for queries in (5, 16, 17, 64, 65, 5000)] == [16, 16, 32, 64, 128, 128]
    assert [tuning.direct_tile(queries).queries for queries in (1, 2, 4, 100)] == [1, 4, 4, 4]


def test_tuned_tiles_are_read_back(tmp_path: Path) -> None:
    written = {2: tiles.defaults(2, 9), 4: tiles.defaults(4, 9)}
    path = tmp_path / "device.json"
    path.write_text(json.dumps({"tuning": {size: asdict(one) for size, one in written.items()}}))
    assert tiles.read_tuned(path) == written
    path.write_text('{"tuning": {"2": {}}}')
    with pytest.raises(ValueError, match="delete it"):
        tiles.read_tuned(path)


def test_tuned_tiles_are_found_by_the_devices_name() -> None:
    assert tiles.tuned_path("NVIDIA H100 80GB HBM3").name == "nvidia-h100-80gb-hbm3.json"
