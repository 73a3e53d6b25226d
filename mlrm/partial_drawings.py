"""Drawings as they were before they were finished: of recorded strokes, and of pictures of sketches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlrm.errors import DatasetError
from mlrm.strokes import Stroke

INK = 192
"""Grey level (0..255) below which a pixel is ink."""
_PEN = 1.2 / 256  # what the lines of the QMUL sketches measure
Pixel = tuple[int, int]
Step = tuple[Pixel, Pixel]
_CLOCKWISE = [(1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1)]
"""Shifts that bring the neighbour to a pixel: the one above, the one above to the right, and so on."""
_AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def recorded(file: str | Path, split: str) -> dict[str, list[Stroke]]:
    """The drawings of a split of an `.npz` file, by name.

    The file holds `keys`, names such as "/test/<photo>_<n>"; `points` [N, 3], x and y in 0..255 and 1 where the pen
    lifts after the point; `offsets`, where in `points` each drawing begins. Raises `DatasetError` for another file.
    """
    try:
        with np.load(file, allow_pickle=False) as data:
            keys, offsets, points = (data[name] for name in ("keys", "offsets", "points"))
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise DatasetError(f"{file}: {error}; expected an .npz file with keys, offsets and points") from error
    drawings = {}
    for key, start, end in zip(keys.tolist(), offsets[:-1], offsets[1:], strict=True):
        if key.startswith(f"/{split}/"):
            drawings[key] = _lines(points[start:end].astype(float))
    if not drawings:
        raise DatasetError(f"{file} holds no drawing of the split {split}")
    return drawings


def _lines(points: NDArray[np.float64]) -> list[Stroke]:
    """Points [N, 3] with 1 where the pen lifts -> strokes."""
    cuts = np.flatnonzero(points[:, 2]) + 1
    parts = [part for part in np.split(points, cuts) if len(part)]
    return [Stroke(np.column_stack([part[:, :2] / 256, np.ones(len(part))]), _PEN) for part in parts]


def traced(image: Image.Image) -> list[Stroke]:
    """The lines of a sketch's picture as strokes, in an order in which a hand might have drawn them.

    The largest connected line comes first, each followed from one of its ends: erasing from the end takes away small
    details first, then the far ends of the large lines. Lines are thinned to one pixel before, so that a wide one
    isn't followed there and back.

    Args:
        image: of any mode, dark lines on light ground.
    """
    grey = np.asarray(image.convert("L"))
    ink = thinned(grey < INK)
    lines: list[list[Step]] = []
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(ink), strict=True)}
    while left:
        steps = _walk(min(left), ink)
        lines.append(_walk(steps[-1][1], ink))
        left -= {pixel for _, pixel in steps}
    lines.sort(key=len, reverse=True)
    side = max(grey.shape)
    return [
        Stroke(np.array([((x + 0.5) / side, (y + 0.5) / side, 1.0) for y, x in run]), _PEN)
        for line in lines
        for run in _runs(line)
    ]


def thinned(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Lines [h, w] of any width -> their middle, one pixel wide and joined as before.

    Source: Zhang and Suen, A fast parallel algorithm for thinning digital patterns, CACM 27 (3), 1984.
    """
    thin = np.pad(ink, 1)
    while True:
        before = int(thin.sum())
        for first in (True, False):
            around = [np.roll(thin, shift, (0, 1)) for shift in _CLOCKWISE]
            north, east, south, west = around[0], around[2], around[4], around[6]
            neighbours = sum(one.astype(np.int8) for one in around)
            begins = sum((~a & b).astype(np.int8) for a, b in zip(around, around[1:] + around[:1], strict=True))
            edge = ~(east & south & (north | west)) if first else ~(north & west & (east | south))
            thin &= ~((neighbours >= 2) & (neighbours <= 6) & (begins == 1) & edge)
        if int(thin.sum()) == before:
            return thin[1:-1, 1:-1]


def _walk(start: Pixel, ink: NDArray[np.bool_]) -> list[Step]:
    """A way over every ink pixel that is joined to one: (where from, pixel), on along a line as far as it goes."""
    height, width = ink.shape
    seen, steps, waiting = set[Pixel](), list[Step](), [(start, start)]
    while waiting:
        step = waiting.pop()
        y, x = step[1]
        if step[1] in seen:
            continue
        seen.add(step[1])
        steps.append(step)
        around = [(y + dy, x + dx) for dy, dx in _AROUND]
        waiting += [
            ((y, x), there)
            for there in around
            if 0 <= there[0] < height and 0 <= there[1] < width and ink[there] and there not in seen
        ]
    return steps


def _runs(steps: list[Step]) -> list[list[Pixel]]:
    """The way as lines: a new one begins where the next pixel doesn't follow from the last."""
    runs: list[list[Pixel]] = []
    for before, pixel in steps:
        if runs and runs[-1][-1] == before:
            runs[-1].append(pixel)
        else:
            runs.append([before, pixel])
    return runs
