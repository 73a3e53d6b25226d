"""Rows of measurements in a JSON file, to which later runs add."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benches.machine import device_name
from mlrm.cli import say


def keep(file: Path, new: Sequence[dict[str, Any]], key: Sequence[str]) -> list[dict[str, Any]]:
    """Write `new` rows into a file, each in the place of one with the same `key`; all its rows, sorted by that."""
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    rows = {tuple(row[name] for name in key): row for row in (*known, *new)}
    kept = [rows[place] for place in sorted(rows)]
    file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    say(f"{file}: {len(kept)} rows")
    return kept


def measured_on() -> dict[str, str]:
    """What a row of times says of when and where it was measured: this processor, today."""
    return {"machine": device_name(torch.device("cpu")), "date": datetime.now(UTC).date().isoformat()}
