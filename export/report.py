"""What both commands end with: the files, the parity table, and lines to copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from engine.encoders.parity_file import report_path
from export.compared import Compared
from export.onnx_file import settle
from export.parity import Parity
from mlrm.cli import say

MIB = 2**20


def show_file(file: Path, note: str = "") -> None:
    """A file with its size."""
    say(f"{file}: {file.stat().st_size / MIB:.1f} MiB{f', {note}' if note else ''}")


def show_parity(reports: Mapping[str, Parity]) -> None:
    """The first backend's report as a table, and the rankings of all of them, on standard output."""
    console = Console()
    parity = next(iter(reports.values()))
    table = Table(title=f"{parity.dtype}, {parity.runtime}: difference from PyTorch float32 on {parity.images}")
    for column in ("output", "batch", "largest", "RMS", "cosine"):
        table.add_column(column, justify="left" if column == "output" else "right")
    for output in parity.outputs:
        errors = f"{output.largest:.1e}", f"{output.rms:.1e}", f"{output.cosine:.6f}"
        table.add_row(output.output, str(output.batch), *errors)
    console.print(table)
    table = Table(title="rankings" if parity.trained else "rankings (untrained weights: not judged)")
    table.add_column("backend")
    for column in ("top-1", "top-10", "correlation", "acc@1 (original)", "acc@10 (original)"):
        table.add_column(column, justify="right")
    table.add_column("passed as")
    for name, one in reports.items():
        table.add_row(name, *_ranking(one), one.dtype if one.passed else "failed: " + "; ".join(one.failures))
    console.print(table)


def show_compared(compared: Compared, files: Sequence[Path]) -> None:
    """Show and, if it is new, keep what the comparison of files found; raises `ParityError` where they fail."""
    if not compared.reports:
        say(f"{files[0]}: not compared with the original")
        return
    if not compared.is_new:
        say(f"{files[0]}: compared before, {report_path(files[0])}")
    show_parity(compared.reports)
    if compared.is_new:
        settle(compared.reports, files)


def _ranking(parity: Parity) -> Sequence[str]:
    found, original = parity.ranking.accuracy, parity.ranking.original_accuracy
    return (
        f"{parity.ranking.top1:.4f}",
        f"{parity.ranking.top10:.4f}",
        f"{parity.ranking.correlation:.4f}",
        f"{100 * found.acc1:.1f} ({100 * original.acc1:.1f})",
        f"{100 * found.acc10:.1f} ({100 * original.acc10:.1f})",
    )


def show_next(lines: Sequence[tuple[str, str]]) -> None:
    """What to do now: (purpose, command)."""
    for purpose, command in lines:
        say(f"{purpose}: {command}")
