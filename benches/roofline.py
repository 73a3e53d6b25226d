"""The roofline plot of a run: how near every row comes to what the machine can do."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benches.machine import Machine
from benches.names import OURS
from benches.rows import Row, Run


def draw_roofline(run: Run, file: Path) -> None:
    """Write a PNG: one panel for each trunk's largest gallery, flop/s over flop a stored byte, on log axes."""
    largest: dict[str, int] = {}
    for row in run.rows:
        largest[row.search.trunk] = max(row.search.photos, largest.get(row.search.trunk, 0))
    galleries = {
        trunk: [row for row in run.rows if (row.search.trunk, row.search.photos) == (trunk, photos)]
        for trunk, photos in largest.items()
    }
    names = dict.fromkeys(row.provider for row in run.rows)  # in their order, each once
    colours = {name: f"C{number}" for number, name in enumerate(names)}
    figure, panels = plt.subplots(1, len(galleries), figsize=(6.5 * len(galleries), 5), sharey=True, squeeze=False)
    for panel, (trunk, rows) in zip(panels[0], galleries.items(), strict=True):
        _roofs(panel, run.machine)
        _points(panel, rows, colours)
        panel.set(xscale="log", yscale="log", xlabel="flop a stored byte (grows with the queries)")
        panel.set_title(f"{trunk}, {rows[0].search.photos:,} photos", fontsize=10)
        panel.grid(alpha=0.3, which="both", linewidth=0.5)
    panels[0][0].set_ylabel("GFLOP/s")
    panels[0][-1].legend(fontsize=7, loc="lower right")
    figure.suptitle(run.machine.device, fontsize=11)
    figure.tight_layout()
    figure.savefig(file, dpi=130)
    plt.close(figure)


def _roofs(panel: Axes, machine: Machine) -> None:
    """The bandwidth's slope, and one level for each matrix rate."""
    bandwidth, kind = machine.bandwidth[machine.bandwidth_kind] / 1e9, machine.matrix_kind
    top = machine.matrix[kind] / 1e9
    intensity = [0.5, top / bandwidth, 4000]
    panel.plot(
        intensity,
        [min(top, bandwidth * one) for one in intensity],
        color="black",
        label=f"{machine.bandwidth_kind} {bandwidth:,.0f} GB/s, {kind} {top:,.0f} GFLOP/s",
    )
    for name, rate in machine.matrix.items():
        if name != kind:
            panel.axhline(rate / 1e9, color="grey", linestyle=":", linewidth=1, label=f"{name} {rate / 1e9:,.0f}")


def _points(panel: Axes, rows: list[Row], colours: dict[str, str]) -> None:
    for name, colour in colours.items():
        own = sorted((row for row in rows if row.provider == name), key=lambda row: row.search.queries)
        panel.plot(
            [row.search.flop / row.search.stored_bytes for row in own],
            [row.flop_per_second / 1e9 for row in own],
            marker="o" if name in OURS else "x",
            linewidth=1.8 if name in OURS else 0.8,
            color=colour,
            label=name,
        )
