"""A run of the benches as data: read from pytest-benchmark's JSON, kept as the results' own smaller JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benches.machine import Machine
from benches.searches import Search
from mlrm.errors import ConfigError


@dataclass(frozen=True)
class Row:
    """One provider's search, measured.

    seconds: median of `rounds`. spread: interquartile range in seconds. recall: share of the true nearest found, None
    for another formula. peak_bytes: memory beside the gallery, None where it isn't counted.
    """

    search: Search
    provider: str
    seconds: float
    spread: float
    rounds: int
    agreement: str
    recall: float | None
    peak_bytes: int | None
    note: str

    @property
    def key(self) -> tuple[Search, str]:
        """What names a row."""
        return self.search, self.provider

    @property
    def bytes_per_second(self) -> float:
        """The stored gallery, read once."""
        return self.search.stored_bytes / self.seconds

    @property
    def flop_per_second(self) -> float:
        """Multiplications and additions of all pairs."""
        return self.search.flop / self.seconds


@dataclass(frozen=True)
class Absent:
    """A row without a time, and why."""

    search: Search
    provider: str
    reason: str


@dataclass(frozen=True)
class Run:
    """All rows of one run on one device."""

    machine: Machine
    rows: tuple[Row, ...]
    absent: tuple[Absent, ...]

    def by_search(self) -> dict[Search, dict[str, Row]]:
        """Measured rows by search and provider."""
        found: dict[Search, dict[str, Row]] = {}
        for row in self.rows:
            found.setdefault(row.search, {})[row.provider] = row
        return found

    def to_json(self) -> str:
        """What `read_run` reads back."""
        return json.dumps(asdict(self), indent=1) + "\n"


def read_run(file: Path) -> Run:
    """The run in pytest-benchmark's JSON of the benches, or in a results file; else raises `ConfigError`."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        machine = Machine(**found["machine"])
        if "parts" in found or "table2" in found:
            return Run(machine, (), ())  # results of encoders, or of table 2
        if "benchmarks" in found:
            rows = tuple(_measured(one) for one in found["benchmarks"] if "provider" in one["extra_info"])
            absent = tuple(_absent(one) for one in found["not_measured"])
        else:
            rows = tuple(Row(**one | {"search": Search(**one["search"])}) for one in found["rows"])
            absent = tuple(Absent(**one | {"search": Search(**one["search"])}) for one in found["absent"])
    except OSError as error:
        raise unreadable(file, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(file, error) from error
    return Run(machine, rows, absent)


def unreadable(file: Path, error: OSError) -> ConfigError:
    """What to raise for a file that can't be read."""
    return ConfigError(f"{file} can't be read ({error.strerror}); expected the JSON of a run of the benches")


def damaged(file: Path, error: Exception) -> ConfigError:
    """What to raise for a file of another content."""
    return ConfigError(
        f"{file} is not a run of the benches ({type(error).__name__}: {error}); make one with "
        "pytest benches/ --benchmark-only --benchmark-json=FILE"
    )


def _measured(found: Mapping[str, Any]) -> Row:
    info, stats = found["extra_info"], found["stats"]
    return Row(
        _search(info), info["provider"], stats["median"], stats["iqr"], stats["rounds"],
        info["agreement"], info["recall"], info["peak_bytes"], info["note"],
    )  # fmt: skip


def _absent(found: Mapping[str, Any]) -> Absent:
    return Absent(_search(found), found["provider"], found["reason"])


def _search(found: Mapping[str, Any]) -> Search:
    return Search(found["trunk"], found["photos"], found["queries"], found["top_k"])
