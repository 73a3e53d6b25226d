"""The goals, declared, and how far a run is from them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benches.machine import Machine
from benches.names import TUNED
from benches.rows import Row, Run


@dataclass(frozen=True)
class Goal:
    """What `provider` should reach in every measured search of so many queries (None: of any number).

    value: what was reached, from the row and the others of the same search; None where there is nothing to compare.
    """

    text: str
    device_type: str
    provider: str
    queries: int | None
    at_least: float
    value: Callable[[Row, dict[str, Row], Machine], float | None]
    unit: str = "x"


@dataclass(frozen=True)
class Outcome:
    """What a row reached of a goal."""

    goal: Goal
    row: Row
    reached: float

    @property
    def met(self) -> bool:
        """Whether it is enough."""
        return self.reached >= self.goal.at_least


def bandwidth_share(row: Row, others: dict[str, Row], machine: Machine) -> float:
    """Bytes per second over the measured bandwidth."""
    return row.bytes_per_second / machine.bandwidth[machine.bandwidth_kind]


def matrix_share(row: Row, others: dict[str, Row], machine: Machine) -> float:
    """Floating-point rate over the measured matrix rate."""
    return row.flop_per_second / machine.matrix[machine.matrix_kind]


def faster_than(*providers: str) -> Callable[[Row, dict[str, Row], Machine], float | None]:
    """How many times faster than the fastest of some providers."""

    def value(row: Row, others: dict[str, Row], machine: Machine) -> float | None:
        seconds = [others[name].seconds for name in providers if name in others]
        return min(seconds) / row.seconds if seconds else None

    return value


GOALS = (
    Goal("Q = 1: share of the measured memory bandwidth", "cpu", "kernels-cpu", 1, 0.75, bandwidth_share, "%"),
    Goal("Q = 64: against tuned PyTorch float32", "cpu", "kernels-cpu", 64, 3.0, faster_than("torch-fp32")),
    Goal("never slower than tuned PyTorch", "cpu", "kernels-cpu", None, 1.0, faster_than(*TUNED)),
    Goal("later sketches: never slower than tuned PyTorch", "cpu", "kernels-cpu-codes", None, 1.0, faster_than(*TUNED)),
    Goal("Q = 1: share of the measured copy bandwidth", "cuda", "kernels-triton", 1, 0.85, bandwidth_share, "%"),
    Goal("Q = 1000: share of the measured matrix rate", "cuda", "kernels-triton", 1000, 0.6, matrix_share, "%"),
    Goal("Q = 1000: against tuned PyTorch", "cuda", "kernels-triton", 1000, 3.0, faster_than(*TUNED)),
    Goal("against the released way, where it fits", "cuda", "kernels-triton", None, 20.0, faster_than("released")),
)


def outcomes(run: Run) -> Iterable[Outcome]:
    """What the run says of each goal of its device, search by search."""
    for goal in GOALS:
        for search, rows in run.by_search().items():
            row = rows.get(goal.provider)
            if row is None or goal.device_type != run.machine.device_type or goal.queries not in (None, search.queries):
                continue
            reached = goal.value(row, rows, run.machine)
            if reached is not None:
                yield Outcome(goal, row, reached)


def limit(row: Row, machine: Machine) -> str:
    """What limits a row, by the roofline: its time beside the least that reading and computing could take."""
    reading = row.search.stored_bytes / machine.bandwidth[machine.bandwidth_kind]
    computing = row.search.flop / machine.matrix[machine.matrix_kind]
    bound = "memory" if reading >= computing else "arithmetic"
    return (
        f"{row.seconds * 1e3:.2f} ms; at the measured rates reading takes {reading * 1e3:.2f} ms and arithmetic "
        f"{computing * 1e3:.2f} ms: bound by {bound}, "
        f"{max(0.0, row.seconds - max(reading, computing)) / row.seconds:.0%} of the time is neither"
    )
