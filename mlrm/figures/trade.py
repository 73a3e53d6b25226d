"""Accuracy against retrieval time, of every way of comparing that the Table 2 group measures."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrm.errors import ConfigError
from mlrm.figures.style import COLOURS, FAINT, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = Path("benches/results")
TIMES = RESULTS / "intel-r-xeon-r-processor-2-threads-table2.json"
ACCURACY = RESULTS / "table2-accuracy.json"
"""The results that the repository holds, for whoever works in it."""
METHODS = ("TC-Net", "LA", "DLA", "MLRM")
NOTE = (
    "One trunk, trained for MLRM, gives all features: TC-Net, LA and DLA are their ways of comparing, not their "
    "published networks.\nBars: one standard error, of so many sketches."
)
CLOSE = 2.0
"""Percentage points below another method's: the name then stands under its line."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X")


@dataclass(frozen=True)
class Point:
    """One way of one method on one data set. milliseconds: of one sketch; acc1: a share."""

    data: str
    method: str
    way: str
    milliseconds: float
    acc1: float
    sketches: int
    photos: int


@dataclass(frozen=True)
class Comparison:
    """The points, and the fingerprint of the weights whose features were compared."""

    points: list[Point]
    weights: str


def read(times: Path, accuracy: Path) -> Comparison:
    """Join the group's two results, rows of the same data set, method and way.

    Raises `ConfigError` for other files, and where no row is in both.
    """
    try:
        found = json.loads(accuracy.read_text(encoding="utf-8"))
        shares = {(row["data"], row["method"], row["way"]): row for row in found["rows"]}
        rows = _rows(times)
        points = [
            Point(
                row["size"], row["method"], row["way"], 1e3 * row["seconds"] / row["sketches"],
                shares[_key(row)]["acc1"], row["sketches"], row["photos"],
            )
            for row in rows
            if _key(row) in shares
        ]  # fmt: skip
        weights = str(found["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{times} and {accuracy} are no results of the retrieval comparison ({error!r}); give the .json of "
            "benches/results that end in table2.json and table2-accuracy.json"
        ) from error
    if not points:
        raise ConfigError(
            f"no row is in both: {times} has times of {sorted({row['size'] for row in rows})}, {accuracy} has "
            f"accuracy on {sorted({key[0] for key in shares})}; run the comparison with --data"
        )
    return Comparison(points, weights)


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["size"], row["method"], row["way"]


def _rows(times: Path) -> list[dict[str, Any]]:
    return list(json.loads(times.read_text(encoding="utf-8"))["table2"])


def draw(comparison: Comparison) -> Figure:
    """A chart for each data set: a colour a method, a mark a way; a method's ways rank alike and differ in time."""
    sets = list(dict.fromkeys(point.data for point in comparison.points))
    ways = list(dict.fromkeys(point.way for point in comparison.points))
    figure = new_figure(1.4 + 4.3 * len(sets), 4.4)
    axes_of = figure.subplots(1, len(sets), squeeze=False)[0]
    for axes, data in zip(axes_of, sets, strict=True):
        some = [point for point in comparison.points if point.data == data]
        for method in dict.fromkeys(point.method for point in some):
            colour = COLOURS[METHODS.index(method) % len(COLOURS)] if method in METHODS else FAINT
            own = sorted((point for point in some if point.method == method), key=lambda point: point.milliseconds)
            x, y = [point.milliseconds for point in own], [100 * point.acc1 for point in own]
            axes.plot(x, y, color=colour, linewidth=1.2, alpha=0.6)
            for point, at, share in zip(own, x, y, strict=True):
                axes.plot(at, share, MARKERS[ways.index(point.way) % len(MARKERS)], color=colour, markersize=7)
            error = 100 * math.sqrt(own[-1].acc1 * (1 - own[-1].acc1) / own[-1].sketches)
            axes.errorbar(x[-1], y[-1], error, color=colour, linewidth=1, alpha=0.45, capsize=3, zorder=1)
            above = any(0 < 100 * one.acc1 - y[-1] < CLOSE for one in some if one.method != method)
            place = (7, -14 if above else 6)
            axes.annotate(method, (x[-1], y[-1]), place, textcoords="offset points", color=colour, weight="bold")
        axes.set(xscale="log", xlabel="milliseconds a sketch, given the features", ylabel="acc@1 %")
        axes.set_title(f"{data}: {some[0].sketches} sketches, {some[0].photos} photos", size=11)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.margins(x=0.18, y=0.15)
        plain(axes)
    marks = [
        axes_of[-1].plot([], [], MARKERS[place % len(MARKERS)], color=FAINT, label=way)[0]
        for place, way in enumerate(ways)
    ]
    figure.legend(handles=marks, loc="outside right center", frameon=False, fontsize=9, title="computed by")
    figure.supxlabel(NOTE, size=8.5, color=FAINT, x=0.01, ha="left")
    return figure
