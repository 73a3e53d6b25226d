"""Tables of certified search's times on drawn galleries, measured by hand when a machine has nothing else to do."""

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

from mlrm.tables.markdown import read, table

CERTIFIED_TIMES = Path("docs/certified-times.json")
CERTIFIED_DISK = Path("docs/certified-disk.json")
PLOT = "certified-times.png"
"""Beside the text: what `benches.certified_times` draws of the same rows."""
ALL = "all"
"""The memory of a row whose process was not limited."""


def certified_times_table(root: Path) -> str:
    """The plot of milliseconds against bytes of code, and its numbers."""

    def cells(row: dict[str, Any]) -> list[str]:
        return [
            *_gallery_and_codes(row),
            f"{100 * row['survivors'] / row['photos']:.1f} %",
            f"{row['scanned']}",
            f"{row['ms']:.1f} ms",
            *(_against(row[name], row["ms"], 1) for name in ("scan_ms", "later_scan_ms", "tuned_ms")),
        ]

    header = [
        *GALLERY_AND_CODES,
        "share",
        "fell through",
        "one sketch",
        "scan, the first sketches",
        "scan, later ones",
        "tuned PyTorch",
    ]
    made = _by_machine(header, read(root / CERTIFIED_TIMES), cells)
    return f"![Milliseconds a sketch against bytes of code a photo]({PLOT})\n\n{made}"


def certified_together_table(root: Path) -> str:
    """What one of several sketches takes that are searched for at once."""

    def cells(row: dict[str, Any]) -> list[str]:
        return [
            *_gallery_and_codes(row),
            f"{row['together']}",
            f"{row['each_ms']:.2f} ms",
            *(_against(row[name], row["each_ms"], 2) for name in ("later_scan_each_ms", "tuned_each_ms")),
        ]

    header = [*GALLERY_AND_CODES, "sketches at once", "each by codes", "each by a scan", "each by tuned PyTorch"]
    return _by_machine(header, read(root / CERTIFIED_TIMES), cells)


def certified_disk_table(root: Path) -> str:
    """Galleries on the disk, all memory free: one row for each number of coordinates."""

    def cells(row: dict[str, Any]) -> list[str]:
        return [
            *_gallery_and_codes(row),
            f"{row['most']:,}",
            *_once_and_again(row),
            f"{row['mb_read']:,.0f} MB",
            f"{row['own_memory_mb'] / 1e3:.2f} GB",
            _scan(row),
        ]

    rows = [row for row in read(root / CERTIFIED_DISK) if row["memory"] == ALL]
    header = [*GALLERY_AND_CODES, "most", *ONCE_AND_AGAIN, "read", "memory of its own", "scan of all features"]
    return _by_machine(header, rows, cells)


def certified_memory_table(root: Path) -> str:
    """The same galleries by the memory that their process had, the most first."""

    def cells(row: dict[str, Any]) -> list[str]:
        return [
            "not limited" if row["memory"] == ALL else row["memory"],
            f"{row['photos']:,}",
            f"{row['coordinates']}",
            *_once_and_again(row),
            _scan(row),
        ]

    rows = read(root / CERTIFIED_DISK)
    limited = {_codes(row) for row in rows if row["memory"] != ALL}
    some = sorted((row for row in rows if _codes(row) in limited), key=lambda row: (_codes(row), _memory(row)))
    return _by_machine(["memory", "photos", "coordinates", *ONCE_AND_AGAIN, "scan of all features"], some, cells)


def _against(ms: float, ours: float, digits: int) -> str:
    """A time, and how many times ours it is."""
    return f"{ms:.{digits}f} ms ({ms / ours:.1f} times)"


GALLERY_AND_CODES = ("photos", "values a photo", "coordinates", "bytes a photo", "survivors, mean")


def _gallery_and_codes(row: dict[str, Any]) -> list[str]:
    counts = [f"{row[name]:,}" for name in ("photos", "values", "coordinates", "code_bytes")]
    return [*counts, f"{row['survivors']:,.0f}"]


ONCE_AND_AGAIN = ("each sketch once, from the disk: median, most", "again: median, most")


def _once_and_again(row: dict[str, Any]) -> list[str]:
    return [f"{row[f'{name}_ms']:.0f}, {row[f'{name}_most_ms']:.0f} ms" for name in ("cold", "warm")]


def _scan(row: dict[str, Any]) -> str:
    """How long, and whether it found the same; empty where none was run."""
    if "scan_ms" not in row:
        return ""
    return f"{row['scan_ms'] / 1e3:.1f} s, {'the same' if row['same'] else 'OTHER'} answers"


def _codes(row: dict[str, Any]) -> tuple[str, int, int, int]:
    return row["machine"], row["photos"], row["values"], row["coordinates"]


def _memory(row: dict[str, Any]) -> float:
    """To sort by: all of it, then "3 GiB", then "1.5 GiB"."""
    return -float("inf") if row["memory"] == ALL else -float(row["memory"].split()[0])


def _by_machine(header: list[str], rows: list[dict[str, Any]], cells: Callable[[dict[str, Any]], list[str]]) -> str:
    """A table for each machine that rows were measured on, each after where, when and of what."""
    return "\n".join(
        f"{_measured(own)}\n{table(header, [cells(row) for row in own])}"
        for _, group in groupby(sorted(rows, key=_machine), key=_machine)
        for own in [list(group)]
    )


def _machine(row: dict[str, Any]) -> str:
    machine: str = row["machine"]
    return machine


def _measured(rows: list[dict[str, Any]]) -> str:
    """Where and when rows of one machine were measured, and of which weights' statistics the galleries are."""
    dates = ", ".join(sorted({row["date"] for row in rows}))
    weights = ", ".join(sorted({f"`{row['statistics_of'][:8]}`" for row in rows}))
    return f"{_machine(rows[0])}, {dates}; statistics of the weights {weights}:\n"
