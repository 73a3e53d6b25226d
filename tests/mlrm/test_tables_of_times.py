"""Tables of certified search's times: what the measured rows say, and what a text says until they are measured."""

import json
from pathlib import Path
from typing import Any

from mlrm.tables import times
from mlrm.tables.__main__ import MEASURED, with_tables
from mlrm.tables.times import CERTIFIED_DISK, CERTIFIED_TIMES

ROW = {
    "photos": 100_000,
    "values": 6144,
    "coordinates": 384,
    "code_bytes": 1038,
    "survivors": 2524.4,
    "date": "2026-01-02",
    "machine": "Some CPU, 2 threads",
    "statistics_of": "0123456789abcdef",
}
SEARCHED = {"most": 6902, "cold_ms": 74.4, "cold_most_ms": 288, "warm_ms": 57.3, "warm_most_ms": 103, "mb_read": 607.2}
ON_DISK: dict[str, Any] = ROW | SEARCHED | {"own_memory_mb": 840.0, "memory": "all"}
MADE_OF = "Some CPU, 2 threads, 2026-01-02; statistics of the weights `01234567`:"


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rows))


def test_times_stand_below_their_plot_and_say_where_they_are_from(tmp_path: Path) -> None:
    write(
        tmp_path / CERTIFIED_TIMES,
        [ROW | {"ms": 14.0, "scan_ms": 140.0, "later_scan_ms": 86.8, "tuned_ms": 210, "scanned": 3}],
    )
    lines = times.certified_times_table(tmp_path).splitlines()
    assert lines[0].endswith("](certified-times.png)")
    assert lines[2] == MADE_OF
    assert lines[6] == (
        "| 100,000 | 6,144 | 384 | 1,038 | 2,524 | 2.5 % | 3 | 14.0 ms | 140.0 ms (10.0 times) | 86.8 ms (6.2 times) "
        "| 210.0 ms (15.0 times) |"
    )


def test_sketches_at_once_have_times_of_their_own(tmp_path: Path) -> None:
    each = {"together": 64, "each_ms": 2.5, "later_scan_each_ms": 7.5, "tuned_each_ms": 20.0}
    write(tmp_path / CERTIFIED_TIMES, [ROW | each])
    lines = times.certified_together_table(tmp_path).splitlines()
    assert lines[0] == MADE_OF
    assert lines[4] == (
        "| 100,000 | 6,144 | 384 | 1,038 | 2,524 | 64 | 2.50 ms | 7.50 ms (3.0 times) | 20.00 ms (8.0 times) |"
    )


def test_every_machine_has_a_table_of_its_own(tmp_path: Path) -> None:
    each = {"together": 64, "each_ms": 2.5, "later_scan_each_ms": 7.5, "tuned_each_ms": 20.0}
    other = {"machine": "Another CPU, 8 threads", "date": "2026-01-03"}
    write(tmp_path / CERTIFIED_TIMES, [ROW | each, ROW | each | other, ROW | each | {"coordinates": 512}])
    lines = times.certified_together_table(tmp_path).splitlines()
    begun = [number for number, line in enumerate(lines) if line.endswith(":")]
    assert [lines[number].split(";")[0] for number in begun] == [
        "Another CPU, 8 threads, 2026-01-03",
        "Some CPU, 2 threads, 2026-01-02",
    ]
    parts = (lines[: begun[1]], lines[begun[1] :])
    assert [sum(line.startswith("| 100,000") for line in part) for part in parts] == [1, 2]


def test_a_gallery_on_the_disk_has_a_row_for_each_length_of_code(tmp_path: Path) -> None:
    scanned = ON_DISK | {"coordinates": 512, "scan_ms": 2500.0, "same": True}
    write(tmp_path / CERTIFIED_DISK, [ON_DISK, scanned, ON_DISK | {"memory": "3 GiB"}])
    made_of, _, _, _, first, second = times.certified_disk_table(tmp_path).splitlines()
    assert first == (
        "| 100,000 | 6,144 | 384 | 1,038 | 2,524 | 6,902 | 74, 288 ms | 57, 103 ms | 607 MB | 0.84 GB |  |"
    )
    assert second.endswith("| 0.84 GB | 2.5 s, the same answers |")
    assert made_of == MADE_OF


def test_memory_falls_from_row_to_row_of_what_was_run_with_less(tmp_path: Path) -> None:
    rows = [ON_DISK | {"memory": memory} for memory in ("1 GiB", "1.5 GiB", "12 GiB", "3 GiB", "all")]
    write(tmp_path / CERTIFIED_DISK, [*rows, ON_DISK | {"coordinates": 704}])
    found = [line.split(" | ")[0] for line in times.certified_memory_table(tmp_path).splitlines()[4:]]
    assert found == ["| not limited", "| 12 GiB", "| 3 GiB", "| 1.5 GiB", "| 1 GiB"]


def test_until_it_is_measured_a_text_keeps_what_it_says(tmp_path: Path) -> None:
    text = "".join(f"<!-- table {name} -->\nnot yet\n<!-- end -->\n" for name in MEASURED)
    assert with_tables(text, tmp_path) == text
    write(tmp_path / CERTIFIED_DISK, [ON_DISK, ON_DISK | {"memory": "3 GiB"}])
    after = with_tables(text, tmp_path)
    assert after.count("not yet") == sum(file == CERTIFIED_TIMES for file in MEASURED.values())
    assert after.count("Some CPU") == 2
    assert with_tables(after, tmp_path) == after
