"""Table 2's run as data and page: what is scaled, compared with the published, and written."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benches import report
from benches.compare import read_times
from benches.report import RESULTS
from benches.rows import read_run
from benches.table2.accuracy import FILE, AccuracyFile, AccuracyRow, read_accuracy
from benches.table2.inputs import Side
from benches.table2.page import table2_page
from benches.table2.published import Method
from benches.table2.real import real_pairs
from benches.table2.rows import Table2Run, read_table2
from benches.table2.sizes import Size
from benches.table2.stage import Table2Stage
from benches.table2.ways import BASELINE, WAYS, Way
from benches.test_table2 import test_table2 as measure
from mlrm.checkpoint import load_shipped
from mlrm.cli import run as run_command
from mlrm.errors import ConfigError
from mlrm.procedural import write_pairs
from tests.benches.runs import MACHINE, recorded, write

CHAIRS = Size("ChairV2", "densenet169", 323, 100)
SECONDS = {("TC-Net", "cdist"): 0.002, ("TC-Net", "matmul-fp32"): 0.001, ("DLA", "cdist"): 0.1, ("MLRM", "scan"): 0.004}
ACCURACY = AccuracyFile("f" * 64, "test", ("f" * 64,), (AccuracyRow("chairs", 97, 97, Method.DLA, "cdist", 0.5, 1, 1),))


def table2(seconds: dict[tuple[str, str], float] = SECONDS) -> dict[str, Any]:
    """A run's JSON: DLA measured by 32 of 323 sketches, and one row without a time."""
    size = {"size": "ChairV2", "trunk": "densenet169", "sketches": 323, "photos": 100, "top_k": 10}
    rows = [
        {
            "stats": {"median": median, "iqr": median / 10, "rounds": 5},
            "extra_info": size
            | {"method": method, "way": way, "ours": way == "scan", "note": ""}
            | {"measured_sketches": 32 if method == "DLA" else 323},
        }
        for (method, way), median in seconds.items()
    ]
    absent = [size | {"method": "MLRM", "way": "differences", "reason": "doesn't fit"}]
    return recorded() | {"benchmarks": rows, "not_measured": [], "table2_not_measured": absent}


@pytest.fixture
def run(tmp_path: Path) -> Table2Run:
    return read_table2(write(tmp_path / "run.json", table2()))


def text_of(run: Table2Run, shipped: str = ACCURACY.model) -> str:
    return table2_page(run, ACCURACY, shipped, "plot.png")


def line(text: str, *cells: str) -> str:
    """The first line of a table with these first cells."""
    return next(one for one in text.splitlines() if one.startswith("| " + " | ".join(cells) + " |"))


def test_the_time_of_some_sketches_is_scaled_to_all_and_marked(run: Table2Run) -> None:
    row = run.row(CHAIRS, Method.DLA, "cdist")
    assert row is not None
    assert row.scaled
    assert row.seconds == pytest.approx(0.1 * 323 / 32)
    assert run.ratio(row) == pytest.approx(0.1 * 323 / 32 / 0.002)
    assert "| ~1.01 s | 504.69 | 44.7 | 236.7 | 32 of 323 |" in line(text_of(run), "DLA", "cdist")
    assert "| all |" in line(text_of(run), "TC-Net", "cdist")


def test_the_goal_is_held_against_cdist_and_against_its_best_form(run: Table2Run) -> None:
    assert "missed, 2.00x slower | missed, 4.00x slower | 6.2x" in line(text_of(run), "ChairV2", "scan")
    fast = replace(run, rows=tuple(replace(row, seconds=0.0015) if row.ours else row for row in run.rows))
    assert "met, 1.33x faster | missed, 1.50x slower" in line(text_of(fast), "ChairV2", "scan")


def test_the_page_says_what_was_not_measured_and_is_rectangular(run: Table2Run) -> None:
    text = text_of(run)
    assert "not measured: doesn't fit" in next(one for one in text.splitlines() if "| differences |  |" in one)
    for before, after in pairwise(text.splitlines()):
        if before.startswith("|") and after.startswith("|"):
            assert before.count("|") == after.count("|")


def test_accuracy_of_other_weights_than_the_shipped_is_called_so(run: Table2Run) -> None:
    assert "earlier weights" not in text_of(run)
    assert "earlier weights** (ffffffffffff; shipped: 000000000000)" in text_of(run, "0" * 64)


def test_seconds_of_real_pairs_stand_beside_their_accuracy(run: Table2Run) -> None:
    assert "| 50.0 | 100.0 | 100.0 |  | 99.0 |" in line(text_of(run), "chairs", "DLA", "cdist")
    real = replace(run.rows[2], size=Size("chairs", "lite0", 97, 97), seconds=0.25, measured_sketches=97)
    timed = text_of(replace(run, rows=(*run.rows, real)))
    assert "| 50.0 | 100.0 | 100.0 | 250.00 ms | 99.0 |" in line(timed, "chairs", "DLA", "cdist")


def test_results_read_back_as_the_run_and_carry_ratios_for_others(run: Table2Run, tmp_path: Path) -> None:
    data, text, plot = report.write_table2(run, tmp_path / "results")
    assert [file.suffix for file in (data, text, plot)] == [".json", ".md", ".png"]
    assert {file.stem for file in (data, text, plot)} == {"some-cpu-2-threads-table2"}
    assert read_table2(data) == run
    first = json.loads(data.read_text())["table2"][2]
    assert (first["method"], first["published_seconds"]) == ("DLA", 236.7)
    assert first["ratio"] == pytest.approx(504.6875)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert not read_run(data).rows


def test_what_was_drawn_like_real_features_is_called_so(run: Table2Run, tmp_path: Path) -> None:
    assert "statistics of `benches/cases.py`; sizes named" in text_of(run)
    like = replace(CHAIRS, drawn_like="shoes, chairs")
    drawn = replace(run, rows=tuple(replace(row, size=like) for row in run.rows), absent=())
    assert "## ChairV2: 323 x 100, drawn like the real ones" in text_of(drawn)
    assert "like the real ones of shoes, chairs; sizes named" in text_of(drawn)
    assert "drawn apart from" not in text_of(drawn)
    (tmp_path / "drawn.json").write_text(drawn.to_json())
    assert read_table2(tmp_path / "drawn.json") == drawn
    (tmp_path / "run.json").write_text(run.to_json())
    names = [{row.name for row in read_times(tmp_path / name).rows} for name in ("run.json", "drawn.json")]
    assert names[0].isdisjoint(names[1])


def test_a_run_of_table_2_alone_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "run.json", table2())
    monkeypatch.setattr(sys, "argv", ["report", str(file), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        run_command(report.main, report.EXAMPLE)
    assert not stopped.value.code
    assert sorted(one.name for one in (tmp_path / "out").iterdir())[1] == "some-cpu-2-threads-table2.md"


def test_a_file_of_another_content_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"machine": 3}')
    with pytest.raises(ConfigError, match=r"other\.json is not a run"):
        read_table2(tmp_path / "other.json")
    with pytest.raises(ConfigError, match=r"other\.json can't be read as accuracy.*--data FOLDER"):
        read_accuracy(tmp_path / "other.json")


def test_the_committed_pages_are_made_of_the_committed_numbers() -> None:
    accuracy, files = read_accuracy(FILE), sorted(RESULTS.glob("*-table2.json"))
    assert files
    for file in files:
        page = file.with_suffix(".md").read_text(encoding="utf-8")
        made = table2_page(read_table2(file), accuracy, accuracy.model, file.with_suffix(".png").name)
        assert page == made, f"{file.name}: run `python -m benches.report` on it"


class Recorder:
    """The parts of pytest-benchmark's fixture that a row uses."""

    def __init__(self) -> None:
        self.group = ""
        self.extra_info: dict[str, Any] = {}

    def pedantic(self, target: Callable[[], Tensor], rounds: int) -> None:
        target()


class Wrong:
    """Finds the first photos, whatever the sketch."""

    def search(self, query: Side, top_k: int) -> Tensor:
        return torch.arange(top_k).expand(len(query.rows), top_k)

    def note(self, queries: int) -> str:
        return "wrong"

    def close(self) -> None:
        pass


SMALL = (Size("one", "lite0", 1, 40), Size("three", "lite0", 3, 40))


def measured(stage: Table2Stage, size: Size, way: Way) -> Recorder:
    recorder = Recorder()
    measure(recorder, size, way, MACHINE, stage, [])  # type: ignore[arg-type]
    return recorder


def test_sizes_of_one_gallery_share_it_and_a_row_says_what_the_report_reads(tmp_path: Path) -> None:
    stage = Table2Stage(torch.device("cpu"), False, SMALL, {})
    reference = next(way for way in WAYS if way.name == "differences" and way.method is Method.MLRM)
    rows = [measured(stage, size, way) for way in (BASELINE, reference) for size in SMALL]
    assert [row.extra_info["measured_sketches"] for row in rows] == [1, 3, 1, 3]
    assert stage.inputs(SMALL[0]) is stage.inputs(SMALL[1])
    stats = {"median": 1.0, "iqr": 0.0, "rounds": 1}
    benchmarks = [{"extra_info": row.extra_info, "stats": stats} for row in rows]
    read = read_table2(write(tmp_path / "run.json", table2() | {"benchmarks": benchmarks}))
    assert read.sizes == SMALL
    assert [row.way for row in read.rows] == ["cdist", "cdist", "differences", "differences"]


def test_sketches_drawn_like_real_ones_say_how_many_find_their_own_photo(tmp_path: Path) -> None:
    write_pairs(tmp_path / "mugs" / "test", 3, seed=0)
    write_pairs(tmp_path / "mugs" / "train", 3, seed=1)
    real, size = real_pairs([str(tmp_path / "mugs")]), replace(SMALL[1], sketches=50, drawn_like="mugs")
    stage = Table2Stage(torch.device("cpu"), False, [size], real)
    scan = next(way for way in WAYS if way.name == "scan")
    info = measured(stage, size, scan).extra_info
    assert info["drawn_like"] == "mugs"
    assert float(info["note"].partition("own photo first: ")[2].removesuffix("%")) > 20  # one in 40 by chance
    inputs = stage.inputs(size)
    assert inputs.own is not None
    assert inputs.own.tolist() == [number % 40 for number in range(50)]


def test_a_wrong_answer_of_ours_fails() -> None:
    stage = Table2Stage(torch.device("cpu"), False, SMALL, {})
    wrong = replace(BASELINE, prepare=lambda gallery: Wrong())
    assert measured(stage, SMALL[1], wrong).extra_info["note"] == "wrong"
    with pytest.raises(AssertionError):
        measured(stage, SMALL[1], replace(wrong, ours=True))


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*-table2.json")), ids=lambda file: file.stem)
def test_the_committed_page_is_of_the_committed_times_accuracies_and_weights(file: Path) -> None:
    """`python -m benches.refresh` makes it anew."""
    plot = file.with_suffix(".png")
    assert plot.is_file()
    made = table2_page(read_table2(file), read_accuracy(), load_shipped().fingerprint(), plot.name)
    assert file.with_suffix(".md").read_text(encoding="utf-8") == made
