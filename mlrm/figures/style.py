"""How all figures look, and what their files carry."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from mlrm.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, RULE = "#202020", "#686868", "#d0d0d0"
COLOURS = ("#2f5d50", "#d9480f", "#7048a8", "#0b7285", "#b08900", "#8f2d56", "#495057")
HIT, MISS, OWN = "#1a9641", "#d73027", "#4575b4"
"""Frames: the sketch's own photo, another one, and the own one shown apart because it was not among the first."""
DPI = 110
WEIGHTS = "mlrm-weights"
"""The entry of a PNG's text that names the weights it was made with, by `MLRM.fingerprint`."""


def require_matplotlib() -> None:
    """Raise `ConfigError` if the figures can't be drawn: before the work, not after it."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("figures are drawn with matplotlib, which isn't installed: pip install 'mlrm-engine[train]'")


def new_figure(width: float, height: float, *, constrained: bool = True) -> Figure:
    """An empty figure of so many inches, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained" if constrained else None)
    FigureCanvasAgg(figure)
    return figure


def plain(axes: Axes) -> None:
    """Leave of a chart's axes what is read: two spines and a faint grid."""
    axes.grid(color="#e8e6e0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, file: Path, weights: str | None) -> None:
    """Write a PNG, the same bytes for the same figure. weights: fingerprint of the model it depends on."""
    # Matplotlib writes its own version into the file unless it is told not to.
    metadata: dict[str, str | None] = {"Software": None} | ({} if weights is None else {WEIGHTS: weights})
    figure.savefig(file, dpi=DPI, metadata=metadata)
