"""Unfinished drawings: taken apart in order, and searched as the command does it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from typer import Typer
from typer.testing import CliRunner

from mlrm.errors import DatasetError
from mlrm.partial_drawings import recorded, traced
from mlrm.procedural import write_pairs
from mlrm.strokes import first_share, ink, render
from mlrm.unfinished import FRAMINGS, main
from tests.engine.conftest import write_checkpoint


def picture() -> Image.Image:
    image = Image.new("L", (128, 128), 255)
    pen = ImageDraw.Draw(image)
    pen.line((10, 100, 118, 100), fill=0)
    pen.line((40, 20, 40, 50), fill=0)
    return image


def dark(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L")) < 128


def test_a_traced_picture_drawn_again_is_the_picture() -> None:
    again = dark(render(traced(picture()), 128))
    assert (again == dark(picture())).mean() > 0.995


def test_erasing_takes_the_small_lines_first_and_then_an_end_of_the_large_one() -> None:
    lines = traced(picture())
    part = dark(render(first_share(lines, 0.6), 128))
    assert not part[20:50, 40].any()
    columns = np.flatnonzero(part[100])
    assert len(columns) == pytest.approx(0.6 * (107 + 30), abs=4)
    assert min(columns[0] - 10, 118 - columns[-1]) <= 1


def test_a_white_picture_has_no_lines() -> None:
    assert traced(Image.new("L", (32, 32), 255)) == []


def write_recorded(file: Path) -> Path:
    points = [[0, 0, 0], [128, 0, 1], [0, 64, 0], [0, 128, 1], [5, 5, 0], [9, 9, 1]]
    np.savez(file, keys=np.array(["/test/a_1", "/train/b_1"]), offsets=np.array([0, 4, 6]), points=np.array(points))
    return file


def test_recorded_strokes_are_cut_where_the_pen_lifts(tmp_path: Path) -> None:
    drawings = recorded(write_recorded(tmp_path / "drawings.npz"), "test")
    assert list(drawings) == ["/test/a_1"]
    assert [len(stroke.points) for stroke in drawings["/test/a_1"]] == [2, 2]
    assert ink(drawings["/test/a_1"]) == pytest.approx(0.75)


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "drawings.npz").write_bytes(content)
    with pytest.raises(DatasetError, match=r"expected an \.npz file with keys"):
        recorded(tmp_path / "drawings.npz", "test")


def test_the_command_reports_every_share_in_every_framing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlrm.unfinished.SHARES", shares := (0.25, 1.0))
    write_pairs(tmp_path / "pairs" / "test", 4, seed=3)
    checkpoint = str(write_checkpoint(tmp_path / "tiny.safetensors"))
    file = write_recorded(tmp_path / "drawings.npz")
    out, plot = tmp_path / "out.json", tmp_path / "ink.png"
    app = Typer()
    app.command()(main)
    options = ["--data", str(tmp_path / "pairs"), "--strokes", str(file), "--json", str(out), "--plot", str(plot)]
    result = CliRunner().invoke(app, [checkpoint, *options, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    rows = json.loads(out.read_text())["results"]
    assert len(rows) == 2 * len(FRAMINGS) * len(shares)
    whole = [row for row in rows if row["ink"] == 1]
    assert [row["kept"] for row in whole] == [1] * len(whole)
    assert {row["acc10"] for row in rows if row["data"] == "pairs"} == {1}  # of four photos, ten are found
    assert Image.open(plot).size[0] > 500


def test_without_data_the_command_says_what_to_give() -> None:
    app = Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 1
