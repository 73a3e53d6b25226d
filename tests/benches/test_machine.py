"""What a machine is said to reach."""

from dataclasses import replace

import pytest
import torch

from benches import machine
from tests.benches.runs import MACHINE


def test_measured_rates_are_those_of_this_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machine.PROBED_BYTES, "cpu", 1 << 20)
    monkeypatch.setitem(machine.MATRIX_SIDE, "cpu", 64)
    found = machine.measure(torch.device("cpu"))
    assert found.device_type == "cpu"
    assert min(found.bandwidth["read"], found.bandwidth["copy"]) > 1e6
    assert min(found.matrix.values()) > 1e6
    assert found.environment["torch"] == torch.__version__


def test_a_bad_moment_lowers_no_rate_and_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    now = replace(MACHINE, bandwidth={"read": 10e9, "copy": 30e9}, matrix={"float32": 50e9, "bfloat16": 300e9})
    monkeypatch.setattr(machine, "measure", lambda device: now)
    both = machine.measure_again(MACHINE, torch.device("cpu"))
    assert both.bandwidth == {"read": 20e9, "copy": 30e9}
    assert both.matrix == {"float32": 100e9, "bfloat16": 300e9}
    assert both.environment["read bandwidth at the start and the end"] == "20.0 GB/s and 10.0 GB/s"


def test_shares_on_a_gpu_are_of_copying_and_of_half_precision() -> None:
    gpu = replace(MACHINE, device_type="cuda", matrix={"float32": 50e12, "bfloat16": 800e12, "float16": 700e12})
    assert (gpu.bandwidth_kind, gpu.matrix_kind) == ("copy", "float16")
    assert (MACHINE.bandwidth_kind, MACHINE.matrix_kind) == ("read", "bfloat16")
