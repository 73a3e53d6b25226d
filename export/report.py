"""What both commands end with: the files, the parity table, and lines to copy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from export.parity import Parity
from mlrm.cli import say

MIB = 2**20


def show_file(file: Path, note: str = "") -> None:
    """A file with its size."""
    say(f"{file}: {file.stat().st_size / MIB:.1f} MiB{f', {note}' if note else ''}")


def show_parity(parity: Parity) -> None:
    """The parity report as two tables, on standard output."""
    console = Console()
    table = Table(title=f"{parity.dtype}, {parity.runtime}: difference from PyTorch float32 on {parity.images}")
    for column in ("output", "batch", "largest", "RMS", "cosine"):
        table.add_column(column, justify="left" if column == "output" else "right")
    for output in parity.outputs:
        errors = f"{output.largest:.1e}", f"{output.rms:.1e}", f"{output.cosine:.6f}"
        table.add_row(output.output, str(output.batch), *errors)
    console.print(table)
    ranking = parity.ranking
    table = Table(title="rankings" if parity.trained else "rankings (untrained weights: not judged)")
    for column in ("top-1 same", "top-10 overlap", "rank correlation", "acc@1 %", "original", "acc@10 %", "original"):
        table.add_column(column, justify="right")
    accuracies = (
        f"{100 * share:.1f}"
        for k in ("acc1", "acc10")
        for share in (getattr(ranking.accuracy, k), getattr(ranking.original_accuracy, k))
    )
    table.add_row(f"{ranking.top1:.4f}", f"{ranking.top10:.4f}", f"{ranking.correlation:.5f}", *accuracies)
    console.print(table)


def show_next(lines: Sequence[tuple[str, str]]) -> None:
    """What to do now: (purpose, command)."""
    for purpose, command in lines:
        say(f"{purpose}: {command}")
