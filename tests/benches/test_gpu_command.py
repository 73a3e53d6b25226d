"""`python -m benches.gpu` on a machine without a GPU: what it refuses, and the steps it would take."""

import sys
from pathlib import Path

import pytest
import torch

from benches import gpu
from mlrm.cli import run
from mlrm.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `python -m benches.gpu`."""
    monkeypatch.setattr(sys, "argv", ["gpu", *arguments])
    with pytest.raises(SystemExit) as stopped:
        run(gpu.main, gpu.EXAMPLE)
    return int(stopped.value.code or 0)


def test_without_a_gpu_it_exits_with_1_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch) == 1
    assert "sees no CUDA device" in capsys.readouterr().err


def test_a_dry_run_lists_every_step_and_runs_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "run_steps", lambda planned: pytest.fail("a dry run ran a step"))
    assert command(monkeypatch, "--dry-run", "--sweep") == 0
    listed = capsys.readouterr().err
    for part in ("-m gpu tests", "kernels.gpu.tuning", "--benchmark-only", "--sweep", "benches.report"):
        assert part in listed


def test_a_failing_step_stops_the_rest_and_is_named(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    planned = [
        gpu.Step("a check", ("-c", "raise SystemExit(3)")),
        gpu.Step("the rest", ("-c", f"open({str(ran)!r}, 'w')")),
    ]
    with pytest.raises(ConfigError, match=r"step 1, a check, failed with exit code 3"):
        gpu.run_steps(planned)
    assert not ran.exists()


def test_steps_run_in_order(tmp_path: Path) -> None:
    log = tmp_path / "log"
    planned = [gpu.Step(word, ("-c", f"open({str(log)!r}, 'a').write({word!r})")) for word in ("first ", "second")]
    gpu.run_steps(planned)
    assert log.read_text() == "first second"
