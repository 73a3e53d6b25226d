"""A run of the comparison as data: read from pytest-benchmark's JSON, kept as the results' own smaller JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benches.machine import Machine
from benches.rows import damaged, unreadable
from benches.table2 import published
from benches.table2.published import Method
from benches.table2.sizes import Size
from benches.table2.ways import BASELINE

KEY = "table2"
"""Of the rows in the results' JSON."""


@dataclass(frozen=True)
class Row:
    """One way, measured at one size.

    seconds: median of `rounds` for all sketches of the size, and spread: interquartile range; both scaled up where
    fewer were measured.
    """

    size: Size
    method: Method
    way: str
    ours: bool
    seconds: float
    spread: float
    rounds: int
    measured_sketches: int
    note: str

    @property
    def scaled(self) -> bool:
        """Whether the seconds were scaled up from some of the sketches."""
        return self.measured_sketches < self.size.sketches


@dataclass(frozen=True)
class Absent:
    """A row without a time, and why."""

    size: Size
    method: Method
    way: str
    reason: str


@dataclass(frozen=True)
class Table2Run:
    """All rows of one run on one device."""

    machine: Machine
    rows: tuple[Row, ...]
    absent: tuple[Absent, ...]

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Those measured, each once, in their order."""
        return tuple(dict.fromkeys(row.size for row in self.rows))

    def row(self, size: Size, method: Method, way: str) -> Row | None:
        """One row, if it was measured."""
        found = (row for row in self.rows if (row.size, row.method, row.way) == (size, method, way))
        return next(found, None)

    def ratio(self, row: Row) -> float | None:
        """Its seconds over the baseline's at the same size."""
        base = self.row(row.size, BASELINE.method, BASELINE.name)
        return None if base is None else row.seconds / base.seconds

    def to_json(self) -> str:
        """What `read_table2` reads back, with the ratios, measured and published, for other readers."""
        rows = []
        for row in self.rows:
            named = asdict(row)
            size = named.pop("size")
            seconds = published.SECONDS.get(row.size.name, {}).get(row.method)
            stated = {"published_seconds": seconds, "published_ratio": published.ratio(row.size.name, row.method)}
            rows.append({"size": size.pop("name")} | size | named | {"ratio": self.ratio(row)} | stated)
        absent = []
        for one in self.absent:
            size = asdict(one.size)
            why = {"method": one.method, "way": one.way, "reason": one.reason}
            absent.append({"size": size.pop("name")} | size | why)
        return json.dumps({"machine": asdict(self.machine), KEY: rows, "absent": absent}, indent=1) + "\n"


def read_table2(file: Path) -> Table2Run:
    """The comparison in pytest-benchmark's JSON of the benches, or in a results file; else raises `ConfigError`."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        machine = Machine(**found["machine"])
        if KEY in found:
            rows, absent = tuple(map(_row, found[KEY])), tuple(map(_absent, found["absent"]))
        else:
            measured = [one for one in found.get("benchmarks", []) if "way" in one["extra_info"]]
            rows = tuple(_measured(one["extra_info"], one["stats"]) for one in measured)
            absent = tuple(map(_absent, found.get("table2_not_measured", [])))
    except OSError as error:
        raise unreadable(file, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(file, error) from error
    return Table2Run(machine, rows, absent)


def _measured(info: Mapping[str, Any], stats: Mapping[str, Any]) -> Row:
    scale = info["sketches"] / info["measured_sketches"]
    times = {"seconds": stats["median"] * scale, "spread": stats["iqr"] * scale, "rounds": stats["rounds"]}
    return _row({**info, **times})


def _row(found: Mapping[str, Any]) -> Row:
    return Row(
        _size(found), Method(found["method"]), found["way"], found["ours"],
        found["seconds"], found["spread"], found["rounds"], found["measured_sketches"], found["note"],
    )  # fmt: skip


def _absent(found: Mapping[str, Any]) -> Absent:
    return Absent(_size(found), Method(found["method"]), found["way"], found["reason"])


def _size(found: Mapping[str, Any]) -> Size:
    return Size(
        found["size"], found["trunk"], found["sketches"], found["photos"], found["top_k"], found.get("drawn_like", "")
    )
