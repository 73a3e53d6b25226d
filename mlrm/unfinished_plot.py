"""The curves of `python -m mlrm.unfinished`; Matplotlib comes with the extra `train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlrm.figures.style import COLOURS, new_figure, plain, save

_STYLE = {"as drawn": "--", "fitted": "-"}


def draw(results: Sequence[Mapping[str, Any]], file: Path, weights: str) -> None:
    """Draw acc@10 and the share of the last ten that is found already, over the share of ink, into a picture."""
    figure = new_figure(9.5, 3.8)
    panels = figure.subplots(1, 2, sharey=True)
    names = list(dict.fromkeys(one["data"] for one in results))
    for panel, key, title in (
        (panels[0], "acc10", "own photo among the first ten"),
        (panels[1], "kept", "of the last ten, found already"),
    ):
        for colour, name in zip(COLOURS, names, strict=False):
            for framing, style in _STYLE.items():
                some = [one for one in results if (one["data"], one["framing"]) == (name, framing) and key in one]
                if some:
                    ink, value = ([100 * one[which] for one in some] for which in ("ink", key))
                    panel.plot(ink, value, style, color=colour, marker="o", markersize=4, label=f"{name}, {framing}")
        panel.set(title=title, xlabel="ink on the canvas, %", xlim=(0, 102), ylim=(0, 102))
        plain(panel)
        panel.legend(frameon=False, fontsize=8)
    panels[0].set_ylabel("%")
    save(figure, file, weights)
