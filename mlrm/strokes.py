"""A drawing as strokes of a pen -> the picture that a model sees. Pillow and NumPy only.

The sketches that models are trained on fill their frame and have thin lines. People draw anywhere on a canvas, small
or at its edge: `fitted` moves what is small to where training sketches are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE = 256
FRAME = 224 / 256
"""Share of the picture that a fitted drawing's longer side takes: that of the QMUL data sets' sketches."""
LARGEST_SCALE = 2.0
"""A fitted drawing is enlarged this much at most: the first short line of a drawing is no whole one."""
SMALL = 0.5
"""Longer side, in parts of the canvas's, below which a drawing is fitted. A larger one is as large as it will be, or
the first part of one: enlarged, a part is found worse than as it lies (docs/service.md)."""
_OVERSAMPLING = 4
_LIGHTEST = 0.4  # width of a line drawn without pressure, as a share of the pen's


@dataclass(frozen=True)
class Stroke:
    """One line of a pen.

    points: [N, 3], x to the right, y down, pressure in 0..1; x and y in parts of the canvas's side.
    width: of the pen at full pressure, in parts of the canvas's side.
    """

    points: NDArray[np.float64]
    width: float

    @property
    def length(self) -> float:
        """Length of the line, in parts of the canvas's side."""
        return float(np.linalg.norm(np.diff(self.points[:, :2], axis=0), axis=1).sum())


def ink(strokes: Sequence[Stroke]) -> float:
    """Length of all lines, in parts of the canvas's side."""
    return sum(stroke.length for stroke in strokes)


def first_share(strokes: Sequence[Stroke], share: float) -> list[Stroke]:
    """The drawing when a share (0..1) of its ink was on the paper: whole strokes, and the beginning of one."""
    return first_length(strokes, share * ink(strokes))


def first_length(strokes: Sequence[Stroke], length: float) -> list[Stroke]:
    """The drawing when its lines were so long, in parts of the canvas's side; all of it if they never are."""
    left, kept = length, list[Stroke]()
    for stroke in strokes:
        steps = np.linalg.norm(np.diff(stroke.points[:, :2], axis=0), axis=1)
        count = int(np.searchsorted(np.cumsum(steps), left * (1 + 1e-9), side="right")) + 1
        kept.append(replace(stroke, points=stroke.points[:count]))
        left -= float(steps.sum())
        if left <= 0:
            break
    return kept


def frame(strokes: Sequence[Stroke]) -> tuple[float, float, float]:
    """The square that a drawing should fill: left, top and side, in parts of the canvas's side.

    The whole canvas for a drawing that isn't `SMALL`. Otherwise the drawing is in its middle, its longer side `FRAME`
    of it; yet the square is no smaller than 1/`LARGEST_SCALE`.
    """
    if not strokes:
        return 0.0, 0.0, 1.0
    every = np.concatenate([stroke.points[:, :2] for stroke in strokes])
    low, high = every.min(0), every.max(0)
    longer = float((high - low).max())
    if longer >= SMALL:
        return 0.0, 0.0, 1.0
    side = max(longer / FRAME, 1 / LARGEST_SCALE)
    left, top = (low + high) / 2 - side / 2
    return float(left), float(top), side


def fitted(strokes: Sequence[Stroke]) -> list[Stroke]:
    """The drawing moved and scaled so that its `frame` is the canvas; the pen keeps its width."""
    left, top, side = frame(strokes)
    return [replace(stroke, points=(stroke.points - (left, top, 0.0)) / (side, side, 1.0)) for stroke in strokes]


def render(strokes: Sequence[Stroke], side: int = SIDE) -> Image.Image:
    """Draw strokes, black on white.

    Args:
        strokes: any number; what lies outside the unit square is cut off.
        side: of the picture in pixels.

    Returns:
        RGB, [side, side].
    """
    scale = side * _OVERSAMPLING
    canvas = Image.new("L", (scale, scale), 255)
    pen = ImageDraw.Draw(canvas)
    for stroke in strokes:
        # Far outside, coordinates would overflow Pillow's integers; the line's direction there is no matter.
        points = stroke.points[:, :2].clip(-1.0, 2.0) * scale
        widths = np.maximum(stroke.width * scale * (_LIGHTEST + (1 - _LIGHTEST) * stroke.points[:, 2]), 1.0)
        for (x, y), width in zip(points, widths, strict=True):
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=0)
        for start, end, width in zip(points[:-1], points[1:], widths[1:], strict=True):
            pen.line((*start, *end), fill=0, width=round(width))
    return canvas.resize((side, side), Image.Resampling.BOX).convert("RGB")
