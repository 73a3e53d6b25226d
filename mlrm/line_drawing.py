"""Line maps -> drawings as a hand might make them: thin lines, some left out, their shapes and proportions off.

A drawing is a graph: pixels on the ridges of the line map, linked to their neighbours. So lines can be left out whole,
smoothed, and bent without getting thicker or thinner.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Number = TypeVar("Number", np.float64, np.intp)

DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1))
"""Steps (down, right) to half of a pixel's neighbours: the other half are the same links, seen from there."""
FINE, COARSE = 2, 6
"""Times a line map is smoothed before strength and direction of its lines are read from it."""
SHORTEST = 12
"""Pixels a line needs to be drawn."""
FEWEST = 30
"""Pixels a drawing needs to be one."""
BENDS = ((3, 7.0), (5, 4.0), (12, 1.2))
"""Cells a side and standard deviation in pixels of the random displacements that bend a drawing."""
STRETCH = 0.08
"""Standard deviation of the logarithm by which width and height are stretched."""
MARGIN = 6
OVERSAMPLING = 3


@dataclass(frozen=True)
class _Lines:
    """points: [N, 2], x and y in pixels; links: [M, 2], numbers of points joined; strength: [N] in 0..1."""

    points: Floats
    links: Ints
    strength: Floats

    @property
    def drawn(self) -> Ints:
        """Numbers of the points that a link touches."""
        return np.unique(self.links)

    def keep(self, kept: NDArray[np.bool_]) -> "_Lines":
        """Without the links that touch a point not `kept`."""
        return _Lines(self.points, self.links[kept[self.links].all(1)], self.strength)

    def move(self, points: Floats) -> "_Lines":
        """With other positions."""
        return _Lines(points, self.links, self.strength)


def draw(line_map: NDArray[np.float32], rng: np.random.Generator) -> Image.Image | None:
    """One drawing of a line map, another with every call.

    line_map: [side, side], how sure each pixel lies on a line, 0..1.
    Returns black lines on white, mode L, of the same size; None if the map shows too little.
    """
    side = len(line_map)
    lines = _smooth_lines(_choose(_trace(line_map), rng), rng)
    if len(lines.drawn) < FEWEST:
        return None
    return _render(_deform(lines, side, rng), side, rng)


def _blur(plane: Floats, times: int) -> Floats:
    """Binomial smoothing, 1 2 1 in both directions."""
    for _ in range(2 * times):
        padded = np.pad(plane, ((1, 1), (0, 0)), mode="edge")
        plane = ((padded[:-2] + 2 * plane + padded[2:]) / 4).T
    return plane


def _neighbour(plane: NDArray[Number], down: int, right: int, outside: float) -> NDArray[Number]:
    """The plane's values one step away."""
    height, width = plane.shape
    padded = np.pad(plane, 1, constant_values=outside)
    return padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]


def _trace(line_map: NDArray[np.float32]) -> _Lines:
    """The ridges of a line map: pixels that no neighbour across the line exceeds."""
    strength, coarse = _blur(line_map.astype(float), FINE), _blur(line_map.astype(float), COARSE)
    down, right = np.gradient(coarse)
    down_down, down_right = np.gradient(down)
    right_right = np.gradient(right, axis=1)
    # Across a ridge the curvature is most negative: the other eigenvector of the second derivatives.
    across = 0.5 * np.arctan2(2 * down_right, right_right - down_down) + np.pi / 2
    direction = np.round(across / (np.pi / 4)).astype(int) % len(DIRECTIONS)
    ridge = np.zeros(line_map.shape, bool)
    for number, (step_down, step_right) in enumerate(DIRECTIONS):
        ahead = _neighbour(strength, step_down, step_right, np.inf)
        behind = _neighbour(strength, -step_down, -step_right, np.inf)
        ridge |= (direction == number) & (strength > 0) & (strength >= ahead) & (strength > behind)
    ys, xs = np.nonzero(ridge)
    return _Lines(np.stack([xs, ys], 1).astype(float), _link(ridge), strength[ys, xs])


def _link(ridge: NDArray[np.bool_]) -> Ints:
    """Pairs of neighbouring ridge pixels [M, 2], numbered in reading order."""
    number = np.full(ridge.shape, -1, np.intp)
    number[ridge] = np.arange(ridge.sum())
    pairs = []
    for down, right in DIRECTIONS:
        other = _neighbour(number, down, right, -1)
        joined = (number >= 0) & (other >= 0)
        if down and right:
            # Round a corner the two are joined already; the diagonal would close a triangle.
            joined &= (_neighbour(number, 0, right, -1) < 0) & (_neighbour(number, down, 0, -1) < 0)
        pairs.append(np.stack([number[joined], other[joined]], 1))
    return np.concatenate(pairs).astype(np.intp)


def _components(count: int, links: Ints) -> Ints:
    """For each of `count` points the lowest number among the points linked to it, directly or not."""
    label = np.arange(count)
    while True:
        lowest = label.copy()
        for end in (0, 1):
            np.minimum.at(lowest, links[:, end], label[links].min(1))
        lowest = lowest[lowest]
        if (lowest == label).all():
            return label
        label = lowest


def _choose(lines: _Lines, rng: np.random.Generator) -> _Lines:
    """What a hand would draw: lines that are sure somewhere and not short, some of them forgotten."""
    sure = rng.uniform(0.3, 0.75)
    seen = lines.keep(lines.strength > sure * rng.uniform(0.4, 0.7))
    label = _components(len(lines.points), seen.links)
    length = np.bincount(label, minlength=len(label))
    peak = np.zeros(len(label))
    np.maximum.at(peak, label, lines.strength)
    forgotten = rng.random(len(label)) < rng.uniform(0, 0.3)
    if len(label):
        forgotten[length.argmax()] = False
    return seen.keep(((peak > sure) & (length >= SHORTEST) & ~forgotten)[label])


def _smooth_lines(lines: _Lines, rng: np.random.Generator) -> _Lines:
    """Without the steps of the pixel grid: points move to the middle of their neighbours, ends stay."""
    points = lines.points.copy()
    degree = np.bincount(lines.links.ravel(), minlength=len(points))
    inner = degree >= 2
    for _ in range(int(rng.integers(3, 9))):
        total = np.zeros_like(points)
        for end in (0, 1):
            np.add.at(total, lines.links[:, end], points[lines.links[:, 1 - end]])
        points[inner] = 0.5 * points[inner] + 0.5 * total[inner] / degree[inner, None]
    return lines.move(points)


def _deform(lines: _Lines, side: int, rng: np.random.Generator) -> _Lines:
    """Bent and stretched as memory and hand do it, then moved back into the frame."""
    error = rng.uniform(0.4, 1.3)
    columns, rows = lines.points.round().astype(int).clip(0, side - 1).T
    points = lines.points.copy()
    for cells, deviation in BENDS:
        planes = rng.normal(0, deviation * error * side / 256, (2, cells, cells)).astype(np.float32)
        for axis, plane in enumerate(planes):
            smooth = np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC))
            points[:, axis] += smooth[rows, columns]
    centre = points[lines.drawn].mean(0)
    points = (points - centre) * np.exp(rng.normal(0, STRETCH * error, 2)) + centre
    low, high = points[lines.drawn].min(0), points[lines.drawn].max(0)
    scale = min(1.0, ((side - 2 * MARGIN) / np.maximum(high - low, 1)).min())
    half = (high - low) * scale / 2
    middle = ((low + high) / 2).clip(MARGIN + half, side - MARGIN - half)
    return lines.move((points - (low + high) / 2) * scale + middle)


def _render(lines: _Lines, side: int, rng: np.random.Generator) -> Image.Image:
    canvas = Image.new("L", (side * OVERSAMPLING, side * OVERSAMPLING), 255)
    pen = ImageDraw.Draw(canvas)
    width, grey = max(1, round(OVERSAMPLING * rng.uniform(0.8, 2.2))), int(rng.integers(0, 70))
    ends = ((lines.points + 0.5) * OVERSAMPLING)[lines.links]
    for segment in ends.reshape(-1, 4).tolist():
        pen.line(segment, fill=grey, width=width)
    return canvas.resize((side, side), Image.Resampling.BOX)
