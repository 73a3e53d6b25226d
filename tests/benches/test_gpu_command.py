"""`python -m benches.gpu` on a machine without a GPU: what it refuses, and the steps it would take."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from _pytest.mark.expression import Expression

from benches import gpu
from benches.encodings import encodings, parts
from benches.names import OURS
from benches.providers import PROVIDERS
from benches.report import RESULTS
from benches.searches import searches
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "run_steps", lambda *arguments: pytest.fail("a dry run ran a step"))
    (tmp_path / "tuned.done").touch()
    assert command(monkeypatch, "--dry-run", "--sweep", "--work", str(tmp_path)) == 0
    listed = capsys.readouterr().err
    for part in ("-m gpu tests/kernels", "kernels.gpu.tuning", "--benchmark-only", "--sweep", "G1000000-k"):
        assert part in listed
    assert listed.count("done before") == 1


def test_a_step_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(monkeypatch, "--only", "tuned", "--only", "speed") == 1
    assert "no steps ['speed']; known are ['correct', 'tuned', " in capsys.readouterr().err


def test_steps_run_one_at_a_time_by_their_names(tmp_path: Path) -> None:
    planned = [gpu.Step(name, name, ("-c", f"open({str(tmp_path / name)!r}, 'w')")) for name in ("one", "two", "three")]
    gpu.run_steps(planned, tmp_path / "work", tmp_path, ["two"])
    assert [(tmp_path / step.name).exists() for step in planned] == [False, True, False]


def test_every_test_for_a_gpu_is_in_a_step() -> None:
    """The files that hold such tests, beside those of tests/kernels, are the last step's."""
    root = Path(gpu.__file__).parents[1]
    marked = {
        file.relative_to(root).as_posix()
        for file in (root / "tests").rglob("test_*.py")
        if "mark.gpu" in file.read_text() and "kernels" not in file.parts
    }
    assert marked - {"tests/benches/test_gpu_command.py"} == set(gpu.REST)


def test_every_declared_search_is_measured_once() -> None:
    """By pytest's own reading of the steps' expressions; and first ours, on the published model's features."""
    names = [f"{search}-{provider.name}" for search in searches("cuda", True) for provider in PROVIDERS]
    measuring = steps_of("benches/test_retrieval.py")
    matched = [[name for name in names if matches(step.arguments[-1], name)] for step in measuring]
    assert sorted(name for part in matched for name in part) == sorted(names)
    assert all("densenet169-Q" in name and "-G100000-" in name for name in matched[0])
    assert {name.partition("-k10-")[2] for name in matched[0] if "-k10-" in name} == {*OURS}
    assert len({step.name for step in measuring}) == len(measuring)


def test_every_declared_encoder_is_measured_once_and_every_part_of_a_search() -> None:
    names = list(map(str, (*encodings("cuda", True, 1), *parts("cuda", True))))
    matched = [
        name for step in steps_of("benches/test_encoders.py") for name in names if matches(step.arguments[-1], name)
    ]
    assert sorted(matched) == sorted(names)


def steps_of(bench: str) -> list[gpu.Step]:
    """The steps of a sweep that run a file of benches."""
    return [step for step in gpu.steps(Path("work"), True) if step.measures and bench in step.arguments]


def test_every_step_that_measures_runs_benches_that_exist() -> None:
    measuring = [step for step in gpu.steps(Path("work"), True) if step.measures]
    files = {argument for step in measuring for argument in step.arguments if argument.startswith("benches/")}
    assert all((gpu.ROOT / file).is_file() for file in files)
    assert sorted(step.name for file in files for step in steps_of(file)) == sorted(step.name for step in measuring)


def matches(expression: str, name: str) -> bool:
    """As `pytest -k` has it of a row's name."""
    return Expression.compile(expression).evaluate(lambda word, **_: word.lower() in f"[{name}]".lower())


def test_a_vital_step_that_fails_stops_the_rest_and_is_named(tmp_path: Path) -> None:
    planned = [
        gpu.Step("check", "a check", ("-c", "raise SystemExit(3)"), vital=True),
        gpu.Step("rest", "the rest", ("-c", f"open({str(tmp_path / 'ran')!r}, 'w')")),
    ]
    with pytest.raises(ConfigError, match=r"step 1, a check, failed with exit code 3"):
        gpu.run_steps(planned, tmp_path / "work", tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_run_goes_on_where_it_was_cut_off_and_repeats_what_failed(tmp_path: Path) -> None:
    log, fixed = tmp_path / "log", tmp_path / "fixed"

    def step(word: str, more: str = "") -> gpu.Step:
        return gpu.Step(word, word, ("-c", f"import os; open({str(log)!r}, 'a').write({word!r}); {more}"))

    planned = [step("first "), step("second ", f"os.stat({str(fixed)!r})"), step("third ")]
    with pytest.raises(ConfigError, match=r"step 2, second , failed with exit code 1: .*Run it again"):
        gpu.run_steps(planned, tmp_path / "work", tmp_path)
    assert log.read_text() == "first second third "
    fixed.touch()
    gpu.run_steps(planned, tmp_path / "work", tmp_path)
    assert log.read_text() == "first second third second "
    gpu.run_steps(planned, tmp_path / "work", tmp_path)
    assert log.read_text() == "first second third second "


def test_the_page_is_there_after_every_step_that_measured(tmp_path: Path) -> None:
    """Of all rows so far, also where a step before it measured nothing."""
    committed = next(path for path in RESULTS.glob("*-threads.json"))
    run = json.loads(committed.read_text())
    rows = [raw(row) for row in run["rows"][:2]]
    slower = run["machine"] | {"bandwidth": {kind: rate / 2 for kind, rate in run["machine"]["bandwidth"].items()}}
    parts = [
        {"machine": machine, "benchmarks": [row], "not_measured": [], "encoders_not_measured": []}
        for machine, row in zip((slower, run["machine"]), rows, strict=True)
    ]
    work, out = tmp_path / "work", tmp_path / "out"

    def measuring(name: str, text: str) -> gpu.Step:
        path = work / f"{name}.json"
        return gpu.Step(name, name, ("-c", f"open({str(path)!r}, 'w').write({text!r})"), measures=True)

    planned = [measuring("empty", ""), *(measuring(f"part{i}", json.dumps(part)) for i, part in enumerate(parts))]
    gpu.run_steps(planned[:2], work, out)
    [table] = out.glob("*.json")
    assert len(json.loads(table.read_text())["rows"]) == 1
    gpu.run_steps(planned, work, out)
    found = json.loads(table.read_text())
    assert found["rows"] == run["rows"][:2]
    assert found["machine"]["bandwidth"] == run["machine"]["bandwidth"]


def raw(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a results file as pytest-benchmark's JSON has it."""
    info = row["search"] | {key: row[key] for key in ("provider", "agreement", "recall", "peak_bytes", "note")}
    return {"extra_info": info, "stats": {"median": row["seconds"], "iqr": row["spread"], "rounds": row["rounds"]}}
