"""A small recorded run, as pytest-benchmark writes it, made by hand."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benches.machine import Machine
from benches.searches import Search

MACHINE = Machine(
    device="Some CPU, 2 threads",
    device_type="cpu",
    bandwidth={"read": 20e9, "copy": 18e9},
    matrix={"float32": 100e9, "bfloat16": 200e9},
    environment={"date": "2026-01-01", "torch": "2.13.0"},
)
SECONDS = {
    (1, "torch-fp32"): 0.040,
    (1, "kernels-cpu"): 0.025,
    (64, "torch-fp32"): 0.220,
    (64, "kernels-cpu"): 0.110,
}
"""Q = 1 reads 20,000 x 20,784 bytes in 25 ms: 16.6 GB/s, 83 % of 20. Q = 64 is twice as fast as PyTorch, not thrice."""


def search(queries: int) -> Search:
    return Search("densenet169", 20_000, queries, 10)


def recorded(seconds: dict[tuple[int, str], float] = SECONDS, machine: Machine = MACHINE) -> dict[str, Any]:
    """The JSON of a run of these medians, with one row that has none."""
    rows = [
        {
            "stats": {"median": median, "iqr": median / 100, "rounds": 20},
            "extra_info": asdict(search(queries))
            | {
                "provider": provider,
                "agreement": "exact" if provider == "kernels-cpu" else "recall",
                "recall": 1.0 if provider == "kernels-cpu" else 0.975,
                "peak_bytes": 3_000_000,
                "note": "",
            },
        }
        for (queries, provider), median in seconds.items()
    ]
    absent = [asdict(search(64)) | {"provider": "released", "reason": "doesn't fit: 51 GB"}]
    return {"machine": asdict(machine), "benchmarks": rows, "not_measured": absent}


def write(file: Path, found: dict[str, Any]) -> Path:
    file.write_text(json.dumps(found))
    return file
