"""Training curves, of the tables that `mlrm.train` (`log.csv`) and `mlrm.pretrain` (`trunk.csv`) keep."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlrm.errors import ConfigError
from mlrm.figures.style import COLOURS, FAINT, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEPS = ("epoch", "step")
"""The column that counts: of training, of pretraining."""
LINEAR_UP_TO = 8
"""Losses that differ by a larger factor get a logarithmic axis."""

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Curves:
    """One run: what it counts, its losses and its accuracies on validation parts (shares), by name."""

    name: str
    counts: str
    losses: dict[str, Points]
    accuracies: dict[str, Points]


def read(file: Path) -> Curves:
    """Raises `ConfigError` for a file that is no such table, or an empty one."""
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        counts = next(name for name in STEPS if rows and name in rows[0])
        columns = list(dict.fromkeys(name for row in rows for name in row))
        points = {name: [(float(row[counts]), float(row[name])) for row in rows if row.get(name)] for name in columns}
    except (OSError, ValueError, StopIteration, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file} is no training log; expected the log.csv of mlrm.train or the .csv that mlrm.pretrain keeps "
            "beside its trunk"
        ) from error
    losses = {name.removeprefix("loss/"): points[name] for name in columns if name.startswith("loss")}
    if counts == "step":
        found = {name: points[name] for name in columns if name not in ("step", "loss")}
    else:
        found = {f"{name[:-5]}, acc@1": points[name] for name in columns if name.endswith("/acc1")}
        found |= {f"{name[:-6]}, acc@10": points[name] for name in columns if name.endswith("/acc10")}
    kept = {name: one for name, one in found.items() if one}
    return Curves(file.stem if file.stem != "log" else file.resolve().parent.name, counts, losses, kept)


def draw(runs: Sequence[Curves]) -> Figure:
    """A row for each run: its losses, and its accuracies on the validation parts."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(9.5, 3.3 * len(runs))
    for (left, right), run in zip(figure.subplots(len(runs), 2, squeeze=False), runs, strict=True):
        for number, (name, points) in enumerate(run.losses.items()):
            whole = name in ("total", "loss")
            _line(left, points, name, "#202020" if whole else COLOURS[number % len(COLOURS)], 2.2 if whole else 1.2)
        values = [value for points in run.losses.values() for _, value in points if value > 0]
        wide = bool(values) and max(values) > LINEAR_UP_TO * min(values)
        left.set(title=f"{run.name}: losses", xlabel=run.counts, yscale="log" if wide else "linear")
        names = list(dict.fromkeys(name.split(",")[0] for name in run.accuracies))
        for name, points in run.accuracies.items():
            colour = COLOURS[names.index(name.split(",")[0]) % len(COLOURS)]
            percent = [(at, 100 * value) for at, value in points]
            _line(right, percent, name, colour, 1.8, "--" if name.endswith("acc@10") else "-")
        right.set(title=f"{run.name}: validation", xlabel=run.counts, ylabel="%", ylim=(0, 102))
        for axes in (left, right):
            plain(axes)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if axes.has_data():
                axes.legend(frameon=False, fontsize=8)
            else:
                axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=FAINT)
    return figure


def _line(axes: Axes, points: Points, name: str, colour: str, width: float, style: str = "-") -> None:
    marker = "o" if len(points) <= 40 else None
    axes.plot(*zip(*points, strict=True), style, color=colour, linewidth=width, marker=marker, markersize=3, label=name)
