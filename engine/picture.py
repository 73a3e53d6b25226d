"""Results as pictures: a ranking with its region heat maps, and one distance taken apart. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from PIL import Image, ImageDraw

from engine.drawing import (
    FAINT,
    LINE,
    RULE,
    Colour,
    Legend,
    Point,
    draw_text,
    paste_image,
    paste_map,
    text_width,
)

if TYPE_CHECKING:
    from engine.explain import Explanation

HITS_A_ROW = 10

# All sizes in pixels.
_MARGIN = 28  # around the picture
_GAP = 24  # between cells
_CELL = 200  # a photo of a ranking
_LARGE = 320  # a photo of an explanation
_TILE, _TILE_GAP = 96, 8  # the largest heat map
_TILES_A_ROW = 4  # more heat maps than these go on below
_BAR = 200  # the longest bar of an explanation
_FRAME = 5

_GREEN: Colour = (26, 150, 65)
_RED: Colour = (215, 48, 39)
_BLUE: Colour = (69, 117, 180)


@dataclass(frozen=True, eq=False)
class Hit:
    """One photo of a ranking, with what is drawn of it."""

    id: str
    rank: int
    distance: float
    image: Image.Image | None  # RGB; None where the photo's file is missing
    maps: NDArray[Any]  # [R, h, w], values in 0..1
    region_weights: NDArray[Any]  # [R]


def draw_results(
    sketch: Image.Image | None,
    hits: Sequence[Hit],
    *,
    sketch_maps: NDArray[Any],
    sketch_region_weights: NDArray[Any],
    truth: str | None = None,
) -> Image.Image:
    """Draw a ranking: the sketch at the left, then the photos in the order of ``hits``, ten a row.

    Under each image are its R region heat maps and, under those, its region weights.

    Args:
        sketch: RGB; None where there is none to show.
        hits: any number of photos, with the sketch's number of regions.
        sketch_maps: [R, h, w], values in 0..1.
        sketch_region_weights: [R].
        truth: id of the photo the sketch was drawn from, where that is known: it gets a green frame, all
            others a red one.

    Returns:
        RGB.

    Raises:
        ValueError: images that aren't RGB; maps or weights of other shapes, or maps beyond 0..1.
    """
    regions = len(sketch_maps)
    _check_regions("the sketch", regions, sketch_maps, sketch_region_weights)
    for hit in hits:
        _check_regions(f"photo {hit.id!r}", regions, hit.maps, hit.region_weights)

    columns, rows = max(1, min(len(hits), HITS_A_ROW)), max(1, math.ceil(len(hits) / HITS_A_ROW))
    pitch, row_pitch = _CELL + _GAP, _cell_height(regions) + _GAP
    rule = _MARGIN + pitch  # the line that sets the sketch apart
    left = rule + _GAP  # of the first photo
    right, bottom = left + columns * pitch - _GAP, _MARGIN + rows * row_pitch
    notes = ["below each map: the region's weight"]
    if truth is not None:
        notes.append("green frame: the sketch's own photo; red: another")
    legend = Legend(notes, right - _MARGIN)
    canvas = Image.new("RGB", (right + _MARGIN, bottom + legend.height + _MARGIN), "white")

    _draw_cell(canvas, (_MARGIN, _MARGIN), sketch, ("sketch", ""), sketch_maps, sketch_region_weights)
    ImageDraw.Draw(canvas).line((rule, _MARGIN, rule, bottom - _GAP), fill=RULE)
    for index, hit in enumerate(hits):
        row, column = divmod(index, HITS_A_ROW)
        at = (left + column * pitch, _MARGIN + row * row_pitch)
        captions = (f"{hit.rank}   {hit.id}", f"distance {hit.distance:.4f}")
        _draw_cell(canvas, at, hit.image, captions, hit.maps, hit.region_weights)
        if truth is not None:
            _frame(canvas, at, _GREEN if hit.id == truth else _RED)
    if not hits:
        middle = (left + _CELL // 2, _MARGIN + _CELL // 2)
        draw_text(canvas, middle, "no photos found", anchor="mm", fill=FAINT)
    legend.draw(canvas, (_MARGIN, bottom))
    return canvas


def _draw_cell(
    canvas: Image.Image,
    at: Point,
    image: Image.Image | None,
    captions: tuple[str, str],
    maps: NDArray[Any],
    weights: NDArray[Any],
) -> None:
    """Draw an image, two lines of text below it, and its region maps below those."""
    x, y = at
    shown = paste_image(canvas, at, image, _CELL)
    y += _CELL + _TILE_GAP
    _draw_captions(canvas, (x, y), captions, _CELL)
    y += 2 * LINE + _TILE_GAP
    regions = len(maps)
    columns, tile = _tiling(regions)
    for region in range(regions):
        row, column = divmod(region, columns)
        in_row = min(columns, regions - row * columns)
        indent = (_CELL - in_row * tile - (in_row - 1) * _TILE_GAP) // 2  # a short row is centred
        corner = (x + indent + column * (tile + _TILE_GAP), y + row * (tile + LINE))
        paste_map(canvas, corner, shown, maps[region], float(weights[region]), tile)


def _draw_captions(canvas: Image.Image, at: Point, captions: tuple[str, str], width: int) -> None:
    """Draw two centred lines of text, the second fainter."""
    x, y = at[0] + width // 2, at[1]
    draw_text(canvas, (x, y), captions[0], anchor="ma", width=width)
    draw_text(canvas, (x, y + LINE), captions[1], anchor="ma", width=width, fill=FAINT)


def _cell_height(regions: int) -> int:
    columns, tile = _tiling(regions)
    return _CELL + 2 * (LINE + _TILE_GAP) + math.ceil(regions / columns) * (tile + LINE)


def _tiling(regions: int) -> tuple[int, int]:
    """Return how many maps of a cell go in a row, and their size in pixels."""
    columns = math.ceil(regions / math.ceil(regions / _TILES_A_ROW))
    return columns, min((_CELL - (columns - 1) * _TILE_GAP) // columns, _TILE)


def _frame(canvas: Image.Image, at: Point, colour: Colour) -> None:
    """Draw a frame around a photo, outside of it."""
    x, y = at
    box = (x - _FRAME, y - _FRAME, x + _CELL + _FRAME - 1, y + _CELL + _FRAME - 1)
    ImageDraw.Draw(canvas).rectangle(box, outline=colour, width=_FRAME)


def draw_explanation(explanation: Explanation) -> Image.Image:
    """Draw why a photo is near: both images, their region heat maps, and the R x L parts of the distance.

    Each region has a row: where it looks in the sketch and in the photo, and a bar for each level. All bars
    have one scale.

    Returns:
        RGB.

    Raises:
        ValueError: images that aren't RGB; maps or weights of other shapes, or maps beyond 0..1.
    """
    sides = (
        ("sketch", explanation.sketch, explanation.sketch_maps, explanation.sketch_region_weights),
        ("photo", explanation.photo, explanation.photo_maps, explanation.photo_region_weights),
    )
    captions = (("sketch", ""), (explanation.id, f"distance {explanation.distance:.4f}"))
    regions, levels = explanation.contributions.shape
    for name, _, maps, weights in sides:
        _check_regions(f"the {name}", regions, maps, weights)

    chart = _Chart(explanation)
    legend = Legend(["below each map: the region's weight"], 2 * _LARGE + _GAP)
    table = _MARGIN + 2 * (_LARGE + _GAP) + _GAP  # left edge of the regions' rows
    bars = table + 2 * (_TILE + _GAP)  # left edge of the bars' names
    head = _MARGIN + LINE + _TILE_GAP  # top of the first row
    row_height = max(_TILE + LINE, levels * LINE) + 2 * _TILE_GAP
    foot = head + regions * row_height
    below = _MARGIN + _LARGE + _TILE_GAP + 2 * LINE + _GAP  # top of the legend
    right = bars + chart.width
    bottom = max(foot + _TILE_GAP + LINE, below + legend.height)
    canvas = Image.new("RGB", (right + _MARGIN, bottom + _MARGIN), "white")

    draw_text(canvas, (bars, _MARGIN), "contributions to the distance", fill=FAINT)
    for region in range(regions + 1):
        y = head + region * row_height
        ImageDraw.Draw(canvas).line((table, y, right, y), fill=RULE)
    for side, (name, image, maps, weights) in enumerate(sides):
        x = _MARGIN + side * (_LARGE + _GAP)
        shown = paste_image(canvas, (x, _MARGIN), image, _LARGE)
        _draw_captions(canvas, (x, _MARGIN + _LARGE + _TILE_GAP), captions[side], _LARGE)
        x = table + side * (_TILE + _GAP)
        draw_text(canvas, (x + _TILE // 2, _MARGIN), name, anchor="ma", fill=FAINT)
        for region in range(regions):
            corner = (x, head + region * row_height + _TILE_GAP)
            paste_map(canvas, corner, shown, maps[region], float(weights[region]), _TILE)
    for region in range(regions):
        y = head + region * row_height + (row_height - levels * LINE) // 2
        chart.draw_region(canvas, (bars, y), region)
    chart.draw_sum(canvas, (bars, foot + _TILE_GAP))
    legend.draw(canvas, (_MARGIN, below))
    return canvas


class _Chart:
    """The contributions [R, L] as a table: name, bar, value, share of the distance."""

    def __init__(self, explanation: Explanation) -> None:
        regions, levels = explanation.contributions.shape
        self._values = explanation.contributions
        self._distance = explanation.distance
        largest = float(self._values.max())
        self._pixels = _BAR / largest if largest > 0 else 0.0  # for one unit of distance
        self._bars = text_width(f"region {regions}, level {levels}") + _GAP
        widest = max(text_width(f"{value:.4f}") for value in (*self._values.flat, self._distance))
        self._values_end = self._bars + _BAR + _GAP + widest
        self.width = self._values_end + _GAP + text_width("100 %")

    def draw_region(self, canvas: Image.Image, at: Point, region: int) -> None:
        """Draw a region's L lines, from ``at`` downwards."""
        x, y = at
        for level, value in enumerate(self._values[region]):
            if (length := round(value * self._pixels)) > 0:
                box = (x + self._bars, y + 4, x + self._bars + length - 1, y + LINE - 6)
                ImageDraw.Draw(canvas).rectangle(box, fill=_BLUE)
            self._draw_line(canvas, (x, y), f"region {region + 1}, level {level + 1}", float(value))
            y += LINE

    def draw_sum(self, canvas: Image.Image, at: Point) -> None:
        """Draw the line of the sum, which is the distance."""
        self._draw_line(canvas, at, "sum", float(self._values.sum()))

    def _draw_line(self, canvas: Image.Image, at: Point, name: str, value: float) -> None:
        x, y = at
        draw_text(canvas, at, name)
        draw_text(canvas, (x + self._values_end, y), f"{value:.4f}", anchor="ra")
        if self._distance > 0:
            share = f"{100 * value / self._distance:.0f} %"
            draw_text(canvas, (x + self.width, y), share, anchor="ra", fill=FAINT)


def _check_regions(name: str, regions: int, maps: NDArray[Any], weights: NDArray[Any]) -> None:
    if maps.ndim != 3 or len(maps) != regions or weights.shape != (regions,):
        raise ValueError(
            f"{name}: found maps of shape {maps.shape} and region weights of shape {weights.shape}; expected "
            f"[R, h, w] and [R] with R = {regions}: give those of one image, all by the same model"
        )
