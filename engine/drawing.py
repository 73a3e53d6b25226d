"""What result pictures are put together from: text, fitted images, heat map tiles, a legend. No torch here.

Coordinates are pixels, (x, y) of a left upper corner unless a text's anchor says otherwise.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Sequence
from typing import Any, cast

from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from engine.heatmap import colour_bar, overlay

Colour = tuple[int, int, int]
Point = tuple[int, int]

INK: Colour = (32, 32, 32)
FAINT: Colour = (104, 104, 104)
RULE: Colour = (208, 208, 208)
PLACEHOLDER: Colour = (190, 190, 190)

TEXT, SMALL = 16, 14  # font sizes
LINE = 22  # line pitch, for both
_SCALE = "attention of a region:  0"  # then the colour bar, then the 1
_BAR_SIZE = (96, 12)
_SPACE = 8  # around the colour bar
_BETWEEN_NOTES = 48


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return Pillow's built-in font, so that pictures look the same on every machine."""
    # Asked for a size, Pillow gives this class, or raises ImportError if it was built without FreeType.
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=size))


def text_width(text: str, size: int = TEXT) -> int:
    """Width of one line of text in pixels, rounded up."""
    return math.ceil(font(size).getlength(text))


def draw_text(
    canvas: Image.Image,
    at: Point,
    text: str,
    *,
    anchor: str = "la",
    size: int = TEXT,
    fill: Colour = INK,
    width: int | None = None,
) -> None:
    """Write one line of any text; what is no printable character, or not in the font, becomes a box.

    Args:
        canvas: RGB; drawn on.
        at: where the text's anchor goes.
        text: an id may hold anything, line breaks and lone surrogates included.
        anchor: as Pillow names them: "la" left and top, "ma" middle and top, "mm" the centre.
        size: font size.
        fill: colour.
        width: room in pixels; a longer text is shortened in its middle, as its end often tells it apart.
    """
    line = "".join(character if character.isprintable() else "\ufffd" for character in text)
    if width is not None:
        line = _shortened(line, size, width)
    ImageDraw.Draw(canvas).text(at, line, font=font(size), fill=fill, anchor=anchor)


def _shortened(line: str, size: int, width: int) -> str:
    def shortened(kept: int) -> str:
        return f"{line[: (kept + 1) // 2]}…{line[len(line) - kept // 2 :]}"

    if text_width(line, size) <= width:
        return line
    kept = bisect.bisect_right(range(1, len(line)), width, key=lambda kept: text_width(shortened(kept), size))
    return shortened(kept)


def paste_image(canvas: Image.Image, at: Point, image: Image.Image | None, side: int) -> Image.Image:
    """Fit an image into a square of ``side`` pixels, or a placeholder for one that is missing.

    Returns:
        The image or placeholder as it was pasted, RGB.
    """
    x, y = at
    shown = Image.new("RGB", (side, side), PLACEHOLDER) if image is None else _fitted(image, side)
    left, top = x + (side - shown.width) // 2, y + (side - shown.height) // 2
    canvas.paste(shown, (left, top))
    # Most photos and sketches are white up to their edges: a line tells where they end.
    around = (left - 1, top - 1, left + shown.width, top + shown.height)
    ImageDraw.Draw(canvas).rectangle(around, outline=RULE)
    if image is None:
        draw_text(canvas, (x + side // 2, y + side // 2), "no image file", anchor="mm")
    return shown


def paste_map(
    canvas: Image.Image, at: Point, image: Image.Image, region_map: NDArray[Any], weight: float, side: int
) -> None:
    """Fit one region's map [h, w] over its image into a square of ``side`` pixels, its weight below."""
    x, y = at
    tile = overlay(_fitted(image, side), region_map)
    canvas.paste(tile, (x + (side - tile.width) // 2, y + (side - tile.height) // 2))
    draw_text(canvas, (x + side // 2, y + side + 3), f"{weight:.2f}", anchor="ma", size=SMALL)


def _fitted(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


class Legend:
    """The heat maps' scale and some notes, one after another, with new lines where ``width`` ends."""

    def __init__(self, notes: Sequence[str], width: int) -> None:
        scale = text_width(_SCALE, SMALL) + _BAR_SIZE[0] + 2 * _SPACE + text_width("1", SMALL)
        self._placed: list[tuple[int, int, str]] = []
        x, y = scale + _BETWEEN_NOTES, 0
        for note in notes:
            length = text_width(note, SMALL)
            if x + length > width:
                x, y = 0, y + LINE
            self._placed.append((x, y, note))
            x += length + _BETWEEN_NOTES
        self.height = y + LINE

    def draw(self, canvas: Image.Image, at: Point) -> None:
        """Draw it, ``height`` pixels high."""
        x, y = at
        draw_text(canvas, at, _SCALE, size=SMALL, fill=FAINT)
        bar = x + text_width(_SCALE, SMALL) + _SPACE
        canvas.paste(colour_bar(_BAR_SIZE), (bar, y + 3))
        draw_text(canvas, (bar + _BAR_SIZE[0] + _SPACE, y), "1", size=SMALL, fill=FAINT)
        for note_x, note_y, note in self._placed:
            draw_text(canvas, (x + note_x, y + note_y), note, size=SMALL, fill=FAINT)
