"""Two runs side by side: what got slower."""

from dataclasses import dataclass
from statistics import median

from benches.names import OURS
from benches.rows import Row, Run
from mlrm.errors import ConfigError


@dataclass(frozen=True)
class Comparison:
    """Rows of ours that both runs have.

    slower: (earlier, now) of those whose median grew by more than the threshold. drift: median ratio of time, now over
    earlier, of all other providers' rows, which did not change: how far the machine itself is off; None without any.
    """

    compared: int
    slower: tuple[tuple[Row, Row], ...]
    drift: float | None


def compare(earlier: Run, now: Run, threshold: float) -> Comparison:
    """Compare runs of one device; `threshold` 0.1 allows 10 %. Raises `ConfigError` where none can be compared."""
    if earlier.machine.device != now.machine.device:
        raise ConfigError(
            f"the runs are of {earlier.machine.device!r} and {now.machine.device!r}; compare runs of one device"
        )
    before = {row.key: row for row in earlier.rows}
    both = [(before[row.key], row) for row in now.rows if row.key in before]
    ours = [(old, new) for old, new in both if new.provider in OURS]
    if not ours:
        raise ConfigError("the runs share no row of ours; compare runs of the same searches (with or without --sweep)")
    others = [new.seconds / old.seconds for old, new in both if new.provider not in OURS]
    slower = tuple((old, new) for old, new in ours if new.seconds > old.seconds * (1 + threshold))
    return Comparison(len(ours), slower, median(others) if others else None)
