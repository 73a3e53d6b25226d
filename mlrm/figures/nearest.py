"""Figure 6: the photos that some sketches find first, hits and misses framed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from kernels import GalleryBlock, distance_topk
from mlrm.accuracy import Accuracy, accuracy, ranks
from mlrm.figures.pairs import Pictures, Seen
from mlrm.figures.style import FAINT, HIT, INK, MISS, OWN, RULE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIRST = 5
CELL, LINE, HEAD = 1.5, 0.34, 0.72
"""Inches: a picture with its gap, the two lines below it, the title."""


@dataclass(frozen=True)
class Ranking:
    """One sketch's search. distances: canonical; own_rank: from 1, of the sketch's own photo."""

    sketch: int
    photos: list[int]
    distances: list[float]
    own_rank: int


def rankings(pictures: Pictures, seen: Seen, shown: Sequence[int]) -> tuple[list[Ranking], Accuracy]:
    """The first photos of the sketches `shown`, and the accuracy of all."""
    power = seen.model.config.region_weight_power
    own = ranks(seen.sketches, seen.photos, pictures.photo_of, power)
    first = min(FIRST, len(seen.photos))
    distance, row = distance_topk(
        seen.sketches[list(shown)], GalleryBlock.of(seen.photos), k=first, region_weight_power=power
    )
    found = [
        Ranking(sketch, row[place].tolist(), distance[place].tolist(), int(own[sketch]))
        for place, sketch in enumerate(shown)
    ]
    return found, accuracy(own, len(seen.photos))


def draw(pictures: Pictures, seen: Seen, shown: Sequence[int]) -> Figure:
    """A row for each sketch: it, the photos it finds first, and its own photo apart where that is not among them."""
    found, numbers = rankings(pictures, seen, shown)
    first = len(found[0].photos)
    missed = any(one.own_rank > first for one in found)
    columns = 1 + first + missed
    width = CELL * columns + 0.3 * (1 + missed) + 0.1
    height = (CELL + LINE) * len(found) + HEAD + 0.3
    figure = new_figure(width, height, constrained=False)

    def cell(row: int, column: int, image: Tensor, frame: str | None, lines: tuple[str, str]) -> Axes:
        x = 0.1 + CELL * column + 0.3 * (column > 0) + 0.3 * (column > first)
        y = HEAD + (CELL + LINE) * row
        side = 0.9 * CELL
        axes = figure.add_axes((x / width, 1 - (y + side) / height, side / width, side / height))
        axes.imshow(image.permute(1, 2, 0).numpy())
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color=frame or RULE, linewidth=3 if frame else 0.8)
        axes.set_xlabel("\n".join(lines), size=7.5, color=INK, labelpad=4, linespacing=1.25)
        return axes

    for row, one in enumerate(found):
        own = pictures.photo_of[one.sketch]
        place = f"own photo: {_place(one.own_rank)} of {len(pictures.photos)}"
        cell(row, 0, pictures.sketches[one.sketch], None, ("sketch", place))
        for column, (photo, distance) in enumerate(zip(one.photos, one.distances, strict=True), start=1):
            name = _short(pictures.photo_names[photo])
            frame = HIT if photo == own else MISS
            cell(row, column, pictures.photos[photo], frame, (f"{column}.  {name}", f"distance {distance:.3f}"))
        if one.own_rank > first:
            lines = (f"{one.own_rank}.  {_short(pictures.photo_names[own])}", "the sketch's own photo")
            cell(row, columns - 1, pictures.photos[own], OWN, lines)
    title = (
        f"The {first} photos found first, {pictures.name}: {numbers.sketches} sketches among {numbers.photos} photos"
    )
    shares = ", ".join(f"acc@{k} {100 * getattr(numbers, f'acc{k}'):.1f} %" for k in (1, 5, 10))
    figure.text(0.1 / width, 1 - 0.1 / height, title, size=11, weight="bold", color=INK, va="top")
    how = f"{shares}. Shown: {len(found)} sketches, evenly spread over the file names, not chosen."
    figure.text(0.1 / width, 1 - 0.36 / height, how, size=8.5, color=FAINT, va="top")
    x = 0.1
    for colour, meaning in (
        (HIT, "its own photo"),
        (MISS, "another photo"),
        (OWN, "its own photo, not among the first"),
    ):
        figure.text(x / width, 0.12 / height, "\u25a0", color=colour, size=10, va="center")
        figure.text((x + 0.18) / width, 0.12 / height, meaning, color=FAINT, size=8.5, va="center")
        x += 0.55 + 0.075 * len(meaning)
    return figure


def _place(rank: int) -> str:
    ending = "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{ending}"


def _short(name: str, longest: int = 22) -> str:
    return name if len(name) <= longest else f"{name[: longest // 2 - 1]}\u2026{name[-longest // 2 :]}"
