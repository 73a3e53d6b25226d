"""The result page of a run, in Markdown."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from benches.goals import Outcome, bandwidth_share, limit, matrix_share, outcomes
from benches.machine import Machine
from benches.rows import Absent, Row, Run

_COLUMNS = ("Q", "k", "provider", "median", "pairs/s", "GB/s", "of bandwidth", "GFLOP/s", "of matrix rate", "peak",
            "agreement", "note")  # fmt: skip


def page(run: Run, plot: str) -> str:
    """The whole page; `plot` is the file name of the roofline plot beside it."""
    parts = [
        f"# Retrieval time on {run.machine.device}",
        _HOW,
        "## Goals",
        *_goals(run),
        "## Machine",
        *_machine(run.machine),
        f"![Roofline of every row]({plot})",
    ]
    for (trunk, photos), rows in _by_gallery(run):
        parts += [f"## {trunk}, {photos:,} photos", table(_COLUMNS, [_cells(row, run) for row in rows])]
    return "\n\n".join(parts) + "\n"


_HOW = (
    "Every provider searches the same galleries (float16 rows in memory; for `engine`, on disk) with the same float32 "
    "queries, in one run. `median` is of the rounds after a warm-up. `GB/s` counts the stored gallery once and "
    "`GFLOP/s` one multiplication and one addition a value and pair, whatever a provider really reads and computes, so "
    "a share may pass 100 %. `peak` is memory beside the gallery, the provider's own copies included. `agreement` "
    "compares with the canonical float64 ranking: `exact` is ids and order, a number is the share of the true nearest "
    "that was found."
)


def _goals(run: Run) -> list[str]:
    found = list(outcomes(run))
    if not found:
        return ["Not yet measured: the run has no row that a goal speaks of."]
    reached = table(
        ("goal", "search", "expected", "reached", ""),
        [
            (
                outcome.goal.text,
                str(outcome.row.search),
                _amount(outcome, outcome.goal.at_least),
                _amount(outcome, outcome.reached),
                "met" if outcome.met else f"missed by {1 - outcome.reached / outcome.goal.at_least:.0%}",
            )
            for outcome in found
        ],
    )
    # A row may miss several goals; what limits it is said once.
    missed = {outcome.row.key: outcome.row for outcome in found if not outcome.met}
    limits = [f"- {row.search}: {limit(row, run.machine)}" for row in missed.values()]
    return [reached, "What limits the rows that miss one:", "\n".join(limits)] if limits else [reached]


def _amount(outcome: Outcome, value: float) -> str:
    return f"{value:.0%}" if outcome.goal.unit == "%" else f"{value:.2f}x"


def machine_table(machine: Machine) -> list[tuple[str, str]]:
    """The rows of a table: what a machine was measured to reach, and its environment."""
    measured = [(f"bandwidth, {kind}", f"{rate / 1e9:.1f} GB/s") for kind, rate in machine.bandwidth.items()]
    measured += [(f"matrix rate, {kind}", f"{rate / 1e9:,.0f} GFLOP/s") for kind, rate in machine.matrix.items()]
    return [*measured, *machine.environment.items()]


def _machine(machine: Machine) -> list[str]:
    shares = f"Shares are of the {machine.bandwidth_kind} bandwidth and of the {machine.matrix_kind} matrix rate."
    return [table(("", ""), machine_table(machine)), shares]


def _by_gallery(run: Run) -> Iterable[tuple[tuple[str, int], list[Row | Absent]]]:
    """Rows of a search in the order they were measured, those without a time after them."""
    everything: list[Row | Absent] = [*run.rows, *run.absent]

    def order(row: Row | Absent) -> tuple[str, int, int, int]:
        search = row.search
        return search.trunk, search.photos, search.queries, search.top_k

    for gallery, rows in groupby(sorted(everything, key=order), lambda row: (row.search.trunk, row.search.photos)):
        yield gallery, list(rows)


def _cells(row: Row | Absent, run: Run) -> Sequence[str]:
    first = (str(row.search.queries), str(row.search.top_k), row.provider)
    if isinstance(row, Absent):
        return *first, *[""] * (len(_COLUMNS) - 4), f"not measured: {row.reason}"
    return (
        *first,
        f"{row.seconds * 1e3:,.2f} ms",
        _short(row.search.pairs / row.seconds),
        f"{row.bytes_per_second / 1e9:.1f}",
        f"{bandwidth_share(row, {}, run.machine):.0%}",
        _short(row.flop_per_second / 1e9),
        f"{matrix_share(row, {}, run.machine):.0%}",
        "" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:,.0f} MB",
        row.agreement if row.recall is None or row.agreement == "exact" else f"{row.recall:.3f}",
        row.note,
    )


def _short(value: float) -> str:
    """Three digits and a prefix: 34100 -> "34.1 k"."""
    for prefix, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.{3 - len(str(int(value / scale)))}f} {prefix}"
    return f"{value:.1f}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)
