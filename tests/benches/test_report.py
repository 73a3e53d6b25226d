"""The report of a run: what is read, computed, written and compared."""

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from benches import report
from benches.compare import compare, read_times
from benches.goals import GOALS, outcomes
from benches.page import page
from benches.rows import Run, read_run
from mlrm.cli import run as run_command
from mlrm.errors import ConfigError
from tests.benches.runs import MACHINE, SECONDS, recorded, search, write


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return read_run(write(tmp_path / "run.json", recorded()))


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `python -m benches.report`."""
    monkeypatch.setattr(sys, "argv", ["report", *arguments])
    with pytest.raises(SystemExit) as stopped:
        run_command(report.main, report.EXAMPLE)
    return int(stopped.value.code or 0)


def test_rates_follow_from_the_median_and_the_sizes(run: Run) -> None:
    row = run.by_search()[search(1)]["kernels-cpu"]
    values = 3 * (512 + 1280 + 1664)
    assert row.bytes_per_second == pytest.approx(20_000 * (2 * values + 4 * 12) / 0.025)
    assert row.flop_per_second == pytest.approx(2 * 20_000 * values / 0.025)


def test_results_read_back_as_the_run_they_were_written_from(run: Run, tmp_path: Path) -> None:
    table, *_ = report.write_results(run, tmp_path / "results")
    assert read_run(table) == run


def test_results_are_named_after_the_device_and_none_is_empty(run: Run, tmp_path: Path) -> None:
    written = report.write_results(run, tmp_path / "results")
    assert [file.name for file in written] == [f"some-cpu-2-threads.{ending}" for ending in ("json", "md", "png")]
    assert written[2].read_bytes().startswith(b"\x89PNG")


def test_goals_say_what_was_met_and_by_how_much_one_was_missed(run: Run) -> None:
    found = {(one.goal, one.row.search.queries): one for one in outcomes(run)}
    bandwidth, thrice, never_slower = found[GOALS[0], 1], found[GOALS[1], 64], found[GOALS[2], 1]
    assert (bandwidth.met, thrice.met, never_slower.met) == (True, False, True)
    assert bandwidth.reached == pytest.approx(0.832, abs=1e-3)
    assert thrice.reached == pytest.approx(2)
    assert never_slower.reached == pytest.approx(1.6)
    assert "missed by 33%" in page(run, "plot.png")


def test_a_goal_of_another_device_says_nothing(run: Run) -> None:
    gpu = replace(run, machine=replace(run.machine, device_type="cuda", matrix={"float16": 1e12}))
    assert list(outcomes(gpu)) == []
    assert "Not yet measured" in page(gpu, "plot.png")


def test_the_page_names_what_was_not_measured_and_why(run: Run) -> None:
    row = next(line for line in page(run, "plot.png").splitlines() if "| released |" in line)
    assert "not measured: doesn't fit: 51 GB" in row


def test_every_table_of_the_page_is_rectangular(run: Run) -> None:
    lines = page(run, "plot.png").splitlines()
    for before, line in pairwise(lines):
        if before.startswith("|") and line.startswith("|"):
            assert before.count("|") == line.count("|")


def test_against_a_run_that_was_faster_exits_with_1_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = write(tmp_path / "earlier.json", recorded())
    slow = write(tmp_path / "now.json", recorded(SECONDS | {(64, "kernels-cpu"): 0.150}))
    out = tmp_path / "results"
    assert command(monkeypatch, str(slow), "--out", str(out), "--against", str(earlier)) == 1
    said = capsys.readouterr().err
    assert "densenet169-Q64-G20000-k10 kernels-cpu: 150.00 ms, was 110.00 ms (+36%)" in said
    assert not out.exists()


def test_against_a_run_within_the_threshold_writes_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = write(tmp_path / "earlier.json", recorded())
    slow = write(tmp_path / "now.json", recorded(SECONDS | {(64, "kernels-cpu"): 0.150}))
    out = tmp_path / "results"
    arguments = [str(slow), "--out", str(out), "--against", str(earlier), "--threshold", "0.5"]
    assert command(monkeypatch, *arguments) == 0
    assert sorted(file.suffix for file in out.iterdir()) == [".json", ".md", ".png"]


def test_a_slower_baseline_is_no_regression_of_ours_but_shows_as_drift(tmp_path: Path) -> None:
    earlier = read_times(write(tmp_path / "earlier.json", recorded()))
    now = read_times(write(tmp_path / "now.json", recorded(SECONDS | {(1, "torch-fp32"): 0.060})))
    result = compare(earlier, now, 0.1)
    assert result.slower == ()
    assert result.drift == pytest.approx(1.25)  # one of two rows is 1.5 times slower


@pytest.mark.parametrize("kind", ["*-threads.json", "*-encoders.json", "*-table2.json"])
def test_every_kind_of_committed_results_can_be_compared_with(kind: str) -> None:
    files = sorted(report.RESULTS.glob(kind))
    assert files
    for file in files:
        times = read_times(file)
        slower = replace(times, rows=tuple(replace(row, seconds=2 * row.seconds) for row in times.rows))
        names = {row.name for row in times.rows}
        assert len(names) == len(times.rows)
        assert {new.name for _, new in compare(times, slower, 0.1).slower} == {r.name for r in times.rows if r.ours}
        assert compare(times, replace(times, rows=times.rows[::2]), 0.1).alone > 0


def test_runs_of_two_devices_are_not_compared(tmp_path: Path) -> None:
    here = read_times(write(tmp_path / "run.json", recorded()))
    elsewhere = write(tmp_path / "gpu.json", recorded(machine=replace(MACHINE, device="Some GPU")))
    with pytest.raises(ConfigError, match="Some GPU"):
        compare(here, read_times(elsewhere), 0.1)


def test_runs_that_share_no_row_are_not_compared(tmp_path: Path) -> None:
    times = read_times(write(tmp_path / "run.json", recorded()))
    with pytest.raises(ConfigError, match="share no row"):
        compare(times, replace(times, rows=()), 0.1)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"machine": {"device": "x"}}', '{"machine": 3}'])
def test_a_file_that_is_no_run_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(ConfigError, match=r"other\.json is not a run of the benches.*--benchmark-json"):
        read_run(tmp_path / "other.json")


def test_a_missing_file_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, str(tmp_path / "none.json")) == 1
    assert "none.json can't be read" in capsys.readouterr().err


def test_a_run_without_rows_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no measured row"):
        report.write_results(replace(run, rows=()), tmp_path)
