"""Which encoder is the fastest: measured once for a file, a version and a machine, and remembered."""

import os
from pathlib import Path

import pytest
import torch

from engine.encoders import race
from engine.encoders.race import Race, memory_file, race_key, remembered, run_race, usable_cpus

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine remembers is not the tests' to read or to write."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Sleeper:
    """An encoder that takes some turns of a loop."""

    image_size = 32

    def __init__(self, work: int) -> None:
        self.work = work

    def encode(self, images: torch.Tensor, domain: str) -> None:
        assert images.shape == (1, 3, 32, 32)
        self.sum = sum(range(self.work))


def test_the_race_is_won_by_the_one_that_does_less_and_is_remembered() -> None:
    runners = {"slow": Sleeper(3_000_000), "fast": Sleeper(10)}
    assert remembered("key") is None
    found = run_race("key", runners)  # type: ignore[arg-type]
    assert found.winner == "fast"
    assert remembered("key") == found
    assert remembered("another") is None
    run_race("another", runners)  # type: ignore[arg-type]
    assert remembered("key") == found


@pytest.mark.parametrize("content", ["", "[]", '{"key": 3}', '{"key": {"milliseconds": {"onnx": "fast"}}}'])
def test_a_damaged_memory_is_no_memory(content: str) -> None:
    memory_file().parent.mkdir(parents=True)
    memory_file().write_text(content)
    assert remembered("key") is None
    run_race("key", {"one": Sleeper(1)})  # type: ignore[dict-item]
    assert remembered("key") is not None


def test_a_home_that_cannot_be_written_to_costs_only_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert run_race("key", {"one": Sleeper(1)}).winner == "one"  # type: ignore[dict-item]
    assert remembered("key") is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system doesn't bind processes to CPUs")
def test_only_cpus_that_the_process_may_use_are_counted() -> None:
    before = os.sched_getaffinity(0)
    assert usable_cpus() == len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_another_file_version_or_number_of_cpus_is_another_race(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for cpus in (1, 2):
        monkeypatch.setattr(race, "usable_cpus", lambda cpus=cpus: cpus)
        keys |= {race_key(model, [f"onnx {version}, CPU"], CPU) for model in ("a", "b") for version in ("1", "2")}
    assert len(keys) == 8
    assert Race({"a": 2.0, "b": 1.0}).winner == "b"
