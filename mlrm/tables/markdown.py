"""What the tables share: rows to Markdown, shares to percent, JSON from a file."""

import json
from pathlib import Path
from typing import Any

from mlrm.errors import ConfigError


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; every row has a cell for each of `header`."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    lines.insert(1, "|---" * len(header) + "|")
    return "\n".join(lines) + "\n"


def percent(result: dict[str, Any], *names: str) -> list[str]:
    """The shares (0..1) called `names`, in percent."""
    return [f"{100 * result[name]:.1f}" for name in names]


def read(file: Path) -> Any:
    """What a JSON file holds; raises `ConfigError` if it isn't there."""
    if not file.is_file():
        raise ConfigError(f"{file} isn't there; python -m benches.refresh --list says which step makes it")
    return json.loads(file.read_text(encoding="utf-8"))
