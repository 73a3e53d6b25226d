"""From how much ink on a search beats chance: the arithmetic, and the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from engine.server.searching import LEAST_INK
from mlrm.first_lines import First, enough, main
from mlrm.procedural import write_pairs
from mlrm.strokes import Stroke, first_length, ink
from mlrm.tables.searches import FIRST_LINES
from tests.engine.conftest import write_checkpoint

ROOT = Path(__file__).parents[2]


def row(length: float, acc10: float, data: str = "a") -> First:
    return First(data, length, 100, 100, acc10)


def test_chance_and_luck() -> None:
    assert row(0.5, 0.1).chance == 0.1
    assert not row(0.5, 0.15).beats_chance  # 1.96 deviations of 3 points lie at 15.9
    assert row(0.5, 0.16).beats_chance
    assert First("a", 0.5, 100, 5, 1.0).chance == 1.0


def test_enough_is_where_every_set_beats_chance_from_then_on() -> None:
    assert enough([row(0.1, 0.1), row(0.2, 0.3), row(0.4, 0.1), row(0.5, 0.3)]) == 0.5
    assert enough([row(0.1, 0.3), row(0.2, 0.3)]) == 0.1
    assert enough([row(0.1, 0.3), row(0.1, 0.1, "b"), row(0.2, 0.3), row(0.2, 0.3, "b")]) == 0.2
    assert enough([row(0.1, 0.1)]) is None


def test_the_page_shows_no_photos_before_validation_sketches_beat_chance() -> None:
    found = json.loads((ROOT / FIRST_LINES).read_text(encoding="utf-8"))["validation"]
    assert enough([First(**one) for one in found["results"]]) == found["enough"] <= LEAST_INK


@pytest.mark.parametrize(("length", "expected"), [(0.25, 0.25), (0.6, 0.6), (5.0, 1.0)])
def test_drawings_are_cut_off_at_a_length(length: float, expected: float) -> None:
    line = np.column_stack([np.linspace(0, 0.5, 501), np.zeros(501), np.ones(501)])
    part = first_length([Stroke(line, 0.01), Stroke(line + np.array([0, 0.5, 0]), 0.01)], length)
    assert ink(part) == pytest.approx(expected, abs=2e-3)


def test_the_command_reports_every_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlrm.first_lines.LENGTHS", (0.25, 1.0))
    write_pairs(tmp_path / "pairs", 4, seed=3)
    checkpoint, out = str(write_checkpoint(tmp_path / "tiny.safetensors")), tmp_path / "out.json"
    app = Typer()
    app.command()(main)
    options = [
        "--data",
        str(tmp_path / "pairs"),
        "--split",
        "validation",
        "--validation",
        "3",
        "--json",
        str(out),
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(app, [checkpoint, *options])
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert [one["length"] for one in found["results"]] == [0.25, 1.0]
    assert found["enough"] is None  # among three photos, all are among the first ten
