"""Times against bytes of code: rows that say what they measured, kept beside those of other runs, and a plot."""

import json
from pathlib import Path

import torch

from benches.cases import draw_large
from benches.certified_times import measure, plot
from benches.kept_rows import keep

CHANNELS = (8, 16, 40)


def test_rows_are_measured_kept_and_drawn(tmp_path: Path) -> None:
    gallery, sketches = draw_large(300, CHANNELS, torch.float16, 0), draw_large(40, CHANNELS, torch.float32, 1)
    rows = measure(gallery, sketches, (48, 96))
    assert [(row["photos"], row["values"], row["coordinates"]) for row in rows] == [(300, 192, 48), (300, 192, 96)]
    assert all(row["same"] and row["survivors"] >= 10 for row in rows)
    assert rows[0]["code_bytes"] < rows[1]["code_bytes"]
    assert all(row[name] > 0 for row in rows for name in ("ms", "scan_ms", "later_scan_ms", "tuned_ms"))
    file, key = tmp_path / "times.json", ("photos", "coordinates")
    keep(file, rows, key)
    kept = keep(file, [rows[0] | {"ms": 5.0}, rows[0] | {"coordinates": 24}], key)
    assert json.loads(file.read_text()) == kept == [rows[0] | {"coordinates": 24}, rows[0] | {"ms": 5.0}, rows[1]]
    machines = ("Some CPU, 2 threads", "Another CPU, 8 threads")
    plot([row | {"machine": machine} for machine in machines for row in kept], tmp_path / "times.png", "weights")
    assert (tmp_path / "times.png").stat().st_size > 1000
