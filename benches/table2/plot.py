"""The comparison's plot: ratios to TC-Net, measured and published, and what 100,000 photos cost."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from benches.table2 import published
from benches.table2.page import duration
from benches.table2.published import Method
from benches.table2.rows import Row, Table2Run
from benches.table2.sizes import Size

COLOURS = {Method.TC_NET: "C7", Method.LA: "C0", Method.DLA: "C4", Method.MLRM: "C1"}
OURS = "C3"
K = 10


def draw_table2(run: Table2Run, file: Path) -> None:
    """Write a PNG: one panel for each size, a bar for each way, a line for what is published."""
    columns = min(2, len(run.sizes))
    lines = [run.sizes[start : start + columns] for start in range(0, len(run.sizes), columns)]
    heights = [1 + 0.22 * max(len(_of(run, size)) for size in line) for line in lines]
    figure, panels = plt.subplots(
        len(lines), columns, figsize=(6.6 * columns, sum(heights)), height_ratios=heights, squeeze=False
    )
    for panel in panels.flat[len(run.sizes) :]:
        panel.axis("off")
    for panel, size in zip(panels.flat, run.sizes, strict=False):
        _panel(panel, run, size)
    title = f"Time to search for all sketches (and ratio to TC-Net), k = {K}; pale: scaled up. {run.machine.device}"
    figure.suptitle(title, size=11)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _of(run: Table2Run, size: Size) -> list[Row]:
    return [row for row in run.rows if row.size == size]


def _panel(panel: Axes, run: Table2Run, size: Size) -> None:
    rows = _of(run, size)
    for place, row in enumerate(rows):
        ratio = run.ratio(row)
        panel.barh(place, row.seconds, color=OURS if row.ours else COLOURS[row.method], alpha=0.55 if row.scaled else 1)
        text = f"{'~' if row.scaled else ''}{duration(row.seconds)}" + ("" if ratio is None else f" ({_short(ratio)}x)")
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        panel.text(row.seconds * 1.15, place, text, va="center", fontsize=7, bbox=box)
    panel.set_yticks(range(len(rows)), [f"{row.method} {row.way}" for row in rows], fontsize=7)
    panel.invert_yaxis()
    low, high = min(row.seconds for row in rows), max(row.seconds for row in rows)
    panel.set(xscale="log", xlim=(low / 2, high * max(3, (high / low) ** 0.4)))
    panel.xaxis.set_minor_formatter(NullFormatter())
    drawn = ", drawn like real" if size.drawn_like else ""
    panel.set_title(f"{size.name}: {size.sketches:,} x {size.photos:,} ({size.trunk}{drawn})", fontsize=9)
    panel.tick_params(axis="x", labelsize=7)
    panel.grid(axis="x", alpha=0.3, linewidth=0.5)
    panel.set_axisbelow(True)
    _published(panel, run, size, rows)


def _published(panel: Axes, run: Table2Run, size: Size, rows: list[Row]) -> None:
    """The published ratio times this run's baseline, across each method's rows."""
    base = next((row.seconds for row in rows if run.ratio(row) == 1), None)
    label = "published ratio"
    for method in Method:
        places = [place for place, row in enumerate(rows) if row.method == method]
        ratio = published.ratio(size.name, method)
        if base is None or ratio is None or not places or method is Method.TC_NET:
            continue
        panel.vlines(base * ratio, places[0] - 0.5, places[-1] + 0.5, color="black", linewidth=1.5, label=label)
        label = "_the same"
    if label != "published ratio":
        panel.legend(fontsize=7, loc="upper right")


def _short(ratio: float) -> str:
    """Three digits, thousands with commas."""
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"
