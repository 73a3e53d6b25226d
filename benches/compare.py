"""Two runs side by side: what got slower, whatever was measured."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benches.encoder_rows import read_encoder_run
from benches.names import OURS
from benches.rows import read_run
from benches.table2.rows import Row as Table2Row
from benches.table2.rows import read_table2
from mlrm.errors import ConfigError


@dataclass(frozen=True)
class Time:
    """A row's median by its name, and whether it is ours, which is tracked, or only shows how the machine is off."""

    name: str
    seconds: float
    ours: bool


@dataclass(frozen=True)
class Times:
    """All rows of a run: searches, encoders and their searches' parts, table 2."""

    device: str
    rows: tuple[Time, ...]


@dataclass(frozen=True)
class Comparison:
    """Rows of ours that both runs have.

    slower: (earlier, now) of those whose median grew by more than the threshold. drift: median ratio of time, now over
    earlier, of all other rows, which did not change: how far the machine itself is off; None without any. alone: rows
    of ours that only one of the runs has.
    """

    compared: int
    slower: tuple[tuple[Time, Time], ...]
    drift: float | None
    alone: int


def read_times(file: Path) -> Times:
    """The times in a run's JSON or in a results file; raises `ConfigError` for another file."""
    searches, encoders, table2 = read_run(file), read_encoder_run(file), read_table2(file)
    rows = [Time(f"{row.search} {row.provider}", row.seconds, row.provider in OURS) for row in searches.rows]
    # PyTorch eager runs our model, too.
    rows += [Time(str(row.encoding), row.seconds, True) for row in encoders.rows]
    rows += [Time(str(row.part), row.seconds, True) for row in encoders.parts]
    rows += [Time(_named(row), row.seconds, row.ours) for row in table2.rows]
    return Times(searches.machine.device, tuple(rows))


def _named(row: Table2Row) -> str:
    """A row of table 2; one that was scaled up from some sketches, or of other features, is another."""
    like = f" like {row.size.drawn_like}" if row.size.drawn_like else ""
    measured = f"{row.size} {row.size.trunk}{like} k{row.size.top_k}, {row.measured_sketches} sketches"
    return f"table 2, {measured}: {row.method} {row.way}"


def compare(earlier: Times, now: Times, threshold: float) -> Comparison:
    """Compare runs of one device; `threshold` 0.1 allows 10 %. Raises `ConfigError` where none can be compared."""
    if earlier.device != now.device:
        raise ConfigError(f"the runs are of {earlier.device!r} and {now.device!r}; compare runs of one device")
    before = {row.name: row for row in earlier.rows}
    both = [(before[row.name], row) for row in now.rows if row.name in before]
    ours = [(old, new) for old, new in both if new.ours]
    if not ours:
        raise ConfigError("the runs share no row of ours; compare runs of the same benches (with or without --sweep)")
    others = [new.seconds / old.seconds for old, new in both if not new.ours]
    slower = tuple((old, new) for old, new in ours if new.seconds > old.seconds * (1 + threshold))
    alone = sum(row.ours for run in (earlier, now) for row in run.rows) - 2 * len(ours)
    return Comparison(len(ours), slower, median(others) if others else None, alone)
