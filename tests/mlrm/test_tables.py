"""The tables in the texts are those that the committed JSON gives."""

import json
import shutil
from pathlib import Path

import pytest

from mlrm.ablation_cells import BASE, CELLS
from mlrm.errors import ConfigError
from mlrm.tables import (
    ABLATIONS,
    EVALUATION,
    FIGURES,
    PARITY,
    TEXTS,
    UNFINISHED,
    attention_table,
    main,
    parity_table,
    unfinished_table,
    with_tables,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("text", TEXTS, ids=str)
def test_the_committed_texts_have_the_tables_of_the_committed_numbers(text: Path) -> None:
    written = (ROOT / text).read_text(encoding="utf-8")
    assert "<!-- table " in written
    assert with_tables(written, ROOT) == written


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the numbers, and texts that have all tables, empty."""
    for path in (EVALUATION, *TEXTS):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / EVALUATION, tmp_path / EVALUATION)
    for text in TEXTS:
        (tmp_path / text).write_text(
            "before\n<!-- table accuracy -->\n<!-- end -->\n<!-- table ablations -->\nold\n<!-- end -->\nafter\n"
        )
    return tmp_path


def test_the_command_fills_tables_and_leaves_the_rest(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = {
        "setting": {},
        "results": [{"cell": BASE.name, "seed": seed, "shoes/acc1": 1.0, "shoes/acc10": 1.0} for seed in (0, 1)],
    }
    (repository / ABLATIONS).write_text(json.dumps(study))
    evaluation = json.loads((repository / EVALUATION).read_text())
    evaluation["test"]["results"][0] |= {"acc1": 0.12345, "sketches": 7}
    (repository / EVALUATION).write_text(json.dumps(evaluation))
    main(repository)
    for path in TEXTS:
        text = (repository / path).read_text()
        assert text.startswith("before\n<!-- table accuracy -->\n| data |")
        assert text.endswith("|\n<!-- end -->\nafter\n")
        assert "| QMUL-Shoe test | 7 | 115 | 12.3 |" in text
        assert "old" not in text
    assert capsys.readouterr().err.count("2 tables, changed") == len(TEXTS)


def test_elsewhere_than_in_the_repository_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(tmp_path)
    assert "give its folder as --root" in " ".join(capsys.readouterr().err.split())


def test_a_cell_that_was_not_run_is_left_empty_and_seeds_are_averaged(repository: Path) -> None:
    runs = [{"cell": BASE.name, "seed": seed, "shoes/acc1": seed / 4, "shoes/acc10": 1.0} for seed in (0, 1)]
    (repository / ABLATIONS).write_text(json.dumps({"setting": {}, "results": runs}))
    lines = with_tables((repository / TEXTS[0]).read_text(), repository).splitlines()
    start = lines.index("<!-- table ablations -->") + 1
    assert lines[start] == "| question | cell | shoes acc@1 % | shoes acc@10 % | runs |"
    assert lines[start + 2] == f"| base | {BASE.name} | 12.5 | 100.0 | 2 |"
    assert lines[start + 3] == f"| {CELLS[1].group} | {CELLS[1].name} |  |  | 0 |"
    assert len(lines[start + 2 : -2]) == len(CELLS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table speed -->\n<!-- end -->", "there is no table 'speed'; expected one of accuracy"),
        ("<!-- table accuracy -->\n| a |\n", "has no <!-- end -->"),
    ],
)
def test_an_unknown_or_unfinished_table_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_tables(text, ROOT)


def test_unfinished_drawings_stand_as_drawn_and_fitted(tmp_path: Path) -> None:
    rows = [
        {"data": "shoes", "framing": framing, "ink": ink, "acc10": share}
        for framing, ink, share in (
            ("as drawn", 1.0, 0.9),
            ("as drawn", 0.1, 0.2),
            ("fitted", 0.1, 0.125),
            ("fitted", 1.0, 1),
        )
    ]
    rows.append({"data": "strokes without photos", "framing": "fitted", "ink": 1.0, "kept": 1.0})
    (tmp_path / UNFINISHED).parent.mkdir()
    (tmp_path / UNFINISHED).write_text(json.dumps({"weights": "", "results": rows}))
    assert unfinished_table(tmp_path).splitlines() == [
        "| ink (as drawn / fitted) | 10 % | 100 % |",
        "|---|---|---|",
        "| shoes, acc@10 % | 20.0 / 12.5 | 90.0 / 100.0 |",
    ]


def test_parity_has_a_row_for_each_file_and_backend(tmp_path: Path) -> None:
    row = {"dtype": "fp16", "backend": "onnx", "bytes": 3 * 2**20, "worst_rms": 0.0055, "lowest_cosine": 0.5}
    row |= {"top1": 1.0, "top10": 0.998, "correlation": 1.0, "acc1": 0.906, "original_acc1": 0.891}
    (tmp_path / PARITY).parent.mkdir()
    (tmp_path / PARITY).write_text(json.dumps({"rows": [row]}))
    head, _, line = parity_table(tmp_path).splitlines()
    assert head.endswith("| acc@1 % (PyTorch 89.1) |")
    assert line == "| fp16, 3.0 MiB | onnx | 5.5e-03 | 0.500000 | 1.000 | 0.998 | 1.0000 | 90.6 |"


def test_attention_has_a_row_for_each_model_and_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    numbers = {"overlap": 0.034, "cells": 0.140625, "object": 0.25}
    models = [{"name": "as shipped", "regions": "lama", "sketches": numbers, "photos": numbers | {"overlap": 1}}]
    FIGURES[0].parent.mkdir(parents=True)
    FIGURES[0].write_text(json.dumps({"data": {"drawn": models}}))
    FIGURES[1].write_text(json.dumps({"data": {"drawn": []}}))
    assert attention_table(tmp_path).splitlines()[2:] == [
        "| LAMA, as shipped | sketches | 0.03 | 14.1 | 25.0 |",
        "| LAMA, as shipped | photos | 1.00 | 14.1 | 25.0 |",
    ]
