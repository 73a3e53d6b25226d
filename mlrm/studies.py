"""What studies of many trained models share: the file that keeps their runs, which are to do, means over seeds."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from mlrm.errors import ConfigError


class Named(Protocol):
    """A cell of a study: what its models are trained with, by a name of its own and that of its group."""

    @property
    def name(self) -> str:
        """Its own."""

    @property
    def group(self) -> str:
        """Of the question it belongs to."""


Cell = TypeVar("Cell", bound=Named)


def named(names: Sequence[str], cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """The cells that are called so, or whose group is; raises `ConfigError` for a name that isn't known."""
    known = {name for cell in cells for name in (cell.name, cell.group)}
    if unknown := sorted(set(names) - known):
        groups = dict.fromkeys(cell.group for cell in cells)
        raise ConfigError(f"--only {unknown[0]!r} is neither a cell nor a group of them ({', '.join(groups)})")
    return tuple(cell for cell in cells if {cell.name, cell.group} & set(names))


def missing(results: Sequence[dict[str, Any]], cells: Sequence[Cell], seeds: int) -> list[tuple[Cell, int]]:
    """The runs still to do: every cell with seed 0, then every cell with seed 1, and so on."""
    done = {(result["cell"], result["seed"]) for result in results}
    return [(cell, seed) for seed in range(seeds) for cell in cells if (cell.name, seed) not in done]


def require_runs(seeds: int, out: Path) -> None:
    """Raise `ConfigError` unless there are runs to do and a folder to keep them in."""
    if seeds < 1:
        raise ConfigError(f"--seeds is {seeds}; expected at least 1")
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}; make it, or give another path")


def read_results(path: Path, setting: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs in `path`, none if there is no such file; raises `ConfigError` if they were made in another setting."""
    if not path.exists():
        return []
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
        then, results = study["setting"], study["results"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no study of this command ({error!r}); give another --out") from error
    # What JSON makes of a setting is what was kept.
    now = json.loads(json.dumps(setting))
    differs = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    if differs:
        raise ConfigError(
            f"{path} was made with another {', '.join(differs)} ({[then.get(name) for name in differs]}, now "
            f"{[now.get(name) for name in differs]}); go on with the same, or give another --out"
        )
    return list(results)


def write_results(path: Path, setting: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """Write the study, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps({"setting": setting, "results": results}, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def mean_over_seeds(results: list[dict[str, Any]], cell: str, name: str) -> tuple[float, int] | None:
    """The mean of a number over a cell's runs and how many there are; None without any."""
    values = [float(result[name]) for result in results if result["cell"] == cell]
    return (float(np.mean(values)), len(values)) if values else None
