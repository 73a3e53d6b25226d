"""The picture of `python -m mlrm.learning_curve`; Matplotlib comes with the extra `train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrm.figures.style import COLOURS, FAINT, new_figure, plain, save
from mlrm.intervals import Estimate
from mlrm.learning_cells import ALL, CELLS, KINDS, PHOTOS, SKETCHED
from mlrm.learning_results import LearningCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS = {PHOTOS: "photos that nobody sketched", SKETCHED: "sketched products of the category"}
ROWS = {"acc1": "acc@1, %", "mrr": "mean of 1 / rank, %"}


def draw(study: Mapping[str, Any], file: Path) -> None:
    """Draw each measure over photos, over sketched products and over steps, as far as the study went, into a PNG.

    study: what its JSON file holds. Dotted lines mark the numbers of today, those of the cell with all.
    """
    curve = LearningCurve(study)
    figure = new_figure(11.5, 6.6)
    panels = figure.subplots(len(ROWS), len(KINDS) + 1, sharey="row")
    for row, (measure, title) in zip(panels, ROWS.items(), strict=True):
        for axes, kind in zip(row, KINDS, strict=False):
            _over_products(axes, curve, kind, measure)
        for colour, category in zip(COLOURS, curve.categories, strict=False):
            steps = curve.steps(ALL.name)
            found = [curve.estimate(ALL.name, category, measure, step) for step in steps]
            _line(row[-1], steps, found, category, colour)
        row[-1].set(xlabel="steps, trained on all")
        row[0].set_ylabel(title)
        for axes in row:
            axes.set_ylim(0, 102)
            plain(axes)
            if axes.has_data():
                axes.legend(frameon=False, fontsize=8, loc="lower left")
    save(figure, file, None)


def _over_products(axes: Axes, curve: LearningCurve, kind: str, measure: str) -> None:
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    cells = [cell for cell in CELLS if cell.group in (ALL.group, kind) and curve.seeds(cell.name)]
    today: set[int] = set()
    for colour, category in zip(COLOURS, curve.categories, strict=False):
        points = sorted((curve.products_seen(cell.name, kind, category), cell.name) for cell in cells)
        found = [curve.estimate(name, category, measure) for _, name in points]
        _line(axes, [count for count, _ in points], found, category, colour)
        today |= {count for count, name in points if name == ALL.name}
    axes.set(xscale="log", xlabel=LABELS[kind])
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.minorticks_off()
    for count in today - {0}:
        axes.axvline(count, color=FAINT, linewidth=0.8, linestyle=":")
        axes.annotate("today", (count, 1), color=FAINT, fontsize=7, rotation=90, va="bottom", ha="right")


def _line(axes: Axes, at: Sequence[int], found: Sequence[Estimate | None], name: str, colour: str) -> None:
    shown = [(where, one) for where, one in zip(at, found, strict=True) if one is not None and where]
    if shown:
        below = [100 * max(0.0, one.value - one.low) for _, one in shown]
        above = [100 * max(0.0, one.high - one.value) for _, one in shown]
        value = [100 * one.value for _, one in shown]
        axes.errorbar(
            [where for where, _ in shown], value, yerr=[below, above], color=colour, marker="o", markersize=4,
            linewidth=1.8, elinewidth=1, capsize=2, label=name,
        )  # fmt: skip
