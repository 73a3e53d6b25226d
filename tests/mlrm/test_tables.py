"""The tables in the texts are those that the committed JSON gives."""

import json
import shutil
from pathlib import Path

import pytest

from mlrm.ablation_cells import BASE, CELLS
from mlrm.errors import ConfigError
from mlrm.tables import searches
from mlrm.tables.__main__ import TABLES, TEXTS, main, with_tables
from mlrm.tables.accuracy import EVALUATION, OTHERS, models_table
from mlrm.tables.searches import CERTIFIED, CERTIFIED_DRAWN, FIGURES, FIRST_LINES, FLOAT32_PARTS, PARITY, UNFINISHED
from mlrm.tables.studies import ABLATIONS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("text", TEXTS, ids=str)
def test_the_committed_texts_have_the_tables_of_the_committed_numbers(text: Path) -> None:
    written = (ROOT / text).read_text(encoding="utf-8")
    assert "<!-- table " in written
    assert with_tables(written, ROOT) == written


def test_every_table_stands_in_a_text() -> None:
    texts = "".join((ROOT / text).read_text(encoding="utf-8") for text in TEXTS)
    assert [name for name in TABLES if f"<!-- table {name} -->" not in texts] == []


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
    assert searches.unfinished_table(tmp_path).splitlines() == [
        "| ink (as drawn / fitted) | 10 % | 100 % |",
        "|---|---|---|",
        "| shoes, acc@10 % | 20.0 / 12.5 | 90.0 / 100.0 |",
    ]


def test_parity_has_a_row_for_each_file_and_backend(tmp_path: Path) -> None:
    row = {"dtype": "fp16", "backend": "onnx", "bytes": 3 * 2**20, "worst_rms": 0.0055, "lowest_cosine": 0.5}
    row |= {"top1": 1.0, "top10": 0.998, "correlation": 1.0, "acc1": 0.906, "original_acc1": 0.891}
    (tmp_path / PARITY).parent.mkdir()
    (tmp_path / PARITY).write_text(json.dumps({"rows": [row]}))
    head, _, line = searches.parity_table(tmp_path).splitlines()
    assert head.endswith("| acc@1 % (PyTorch 89.1) |")
    assert line == "| fp16, 3.0 MiB | onnx | 5.5e-03 | 0.5000 | 1.000 | 0.998 | 1.0000 | 90.6 |"


def test_parts_in_half_precision_stand_by_type_and_those_exported_in_bold(tmp_path: Path) -> None:
    cells = ("half", "dtype", "worst_rms", "top10", "exported")
    rows = [("all", "fp16", 0.05, 0.9, False), ("all", "bf16", 0.5, 0.8, False)]
    rows += [("some", "fp16", 0.001, 1, True), ("some", "bf16", 0.0012, 0.99, True)]
    write(tmp_path / FLOAT32_PARTS, {"rows": [dict(zip(cells, row, strict=True)) for row in rows]})
    assert searches.float32_parts_table(tmp_path).splitlines() == [
        "| in half precision | fp16 worst RMS | fp16 top-10 | bf16 worst RMS | bf16 top-10 |",
        "|---|---|---|---|---|",
        "| all | 5.0e-02 | 0.900 | 5.0e-01 | 0.800 |",
        "| **some** | **1.0e-03** | **1.000** | **1.2e-03** | **0.990** |",
    ]


def test_attention_has_a_row_for_each_model_and_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    numbers = {"overlap": 0.034, "cells": 0.140625, "object": 0.25}
    models = [{"name": "as shipped", "regions": "lama", "sketches": numbers, "photos": numbers | {"overlap": 1}}]
    FIGURES[0].parent.mkdir(parents=True)
    FIGURES[0].write_text(json.dumps({"data": {"drawn": models}}))
    FIGURES[1].write_text(json.dumps({"data": {"drawn": []}}))
    assert searches.attention_table(tmp_path).splitlines()[2:] == [
        "| LAMA, as shipped | sketches | 0.03 | 14.1 | 25.0 |",
        "| LAMA, as shipped | photos | 1.00 | 14.1 | 25.0 |",
    ]


def write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def test_models_stand_side_by_side_and_what_was_not_read_is_empty(tmp_path: Path) -> None:
    shares = {"acc1": 0.5, "acc5": 0.75, "acc10": 1.0}
    own = [{"data": name, "split": "test", "sketches": 4} | shares for name in ("shoes", "chairs")]
    others = [
        {"name": "first", "fingerprint": "0123456789", "test": [{"data": "chairs"} | shares], "validation": []},
        {"name": "never tested", "fingerprint": None, "test": [], "validation": [{"data": "shoes"} | shares]},
    ]
    empty = {"results": []}
    write(tmp_path / EVALUATION, {"test": {"results": own}, "distractors": empty, OTHERS: others})
    assert models_table(tmp_path, "test").splitlines() == [
        "| acc@1 / 5 / 10 % | QMUL-Shoe test, 4 sketches | QMUL-Chair test, 4 sketches |",
        "|---|---|---|",
        "| this one | 50.0 / 75.0 / 100.0 | 50.0 / 75.0 / 100.0 |",
        "| first (`01234567`) |  | 50.0 / 75.0 / 100.0 |",
    ]


def test_first_lines_stand_beside_what_luck_could_give(tmp_path: Path) -> None:
    row = {"data": "shoes", "sketches": 100, "photos": 100}
    shares = [row | {"length": length, "acc10": share} for length, share in ((0.125, 0.1), (1.0, 0.35))]
    write(tmp_path / FIRST_LINES, {"validation": {"results": shares}})
    assert searches.first_lines_table(tmp_path).splitlines() == [
        "| length | 0.125 | 1 | more than chance |",
        "|---|---|---|---|",
        "| validation, 100 shoes | 10.0 | 35.0 | above 15.9 |",
    ]


def test_certified_rows_are_told_apart_by_gallery(tmp_path: Path) -> None:
    row = {"survivors": 60.49, "most": 216, "scanned": 0, "sketches": 212, "code_bytes": 1038, "values": 6144}
    sizes = [(339, 384), (2716, 96), (2716, 384)]
    write(tmp_path / CERTIFIED, [row | {"photos": photos, "coordinates": count} for photos, count in sizes])
    write(tmp_path / CERTIFIED_DRAWN, [row | {"photos": 20000, "ms": 5.0, "scan_ms": 24.0}])
    assert searches.certified_table(tmp_path).splitlines()[2:] == [
        "| 96 | 1,038 | 60 | 216 | 2.2 % | 0 of 212 |",
        "| 384 | 1,038 | 60 | 216 | 2.2 % | 0 of 212 |",
    ]
    assert searches.certified_sizes_table(tmp_path).splitlines()[::2] == [
        "| photos | 339 | 2,716 |",
        "| survivors, mean | 60 | 60 |",
    ]
    assert searches.certified_drawn_table(tmp_path).splitlines()[2:] == [
        "| 20,000 | 6,144 | 1038 | 60 | 0.3 % | 5.0 ms | 24.0 ms | 4.8 |",
    ]
