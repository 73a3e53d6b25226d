"""A product as a drawing: filled parts in z-order with lines on them, and what of it can be seen.

Photo and sketch are both made from a `Drawing`; the label map says which part is seen at a pixel, so hidden
edges are left out of both in the same way.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from mlrm.procedural.shapes import Curve, Points, arc_length

MAX_PARTS = 254  # the label map is 8-bit and 0 is the background
_SAMPLE_STEP = 0.006  # distance of the points at which visibility is asked, in product units
_AROUND = 0.008 * np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])  # where a panel asks for its family


@dataclass(frozen=True)
class Part:
    """A filled shape. With a `root` it is a panel: painted only where its root's family is seen."""

    outline: Curve  # [N, 2], closed
    material: str  # a name in photo.MATERIALS
    bulge: float  # how far from its edge the surface rounds off, product units
    root: int  # index of the part it lies on, its own index if it lies on none
    spine: Curve | None  # thin parts: the pen follows this line, not the outline
    optional: bool  # a detail that a person may leave out of a sketch


@dataclass(frozen=True)
class Line:
    """A line on a part (seam, crease, pattern); seen only where that very part is seen."""

    curve: Curve  # [N, 2], open
    part: int
    width: float  # product units, in the photo
    optional: bool


class Stroke(NamedTuple):
    """A visible run of an outline, spine or line, sampled at equal steps."""

    curve: Curve  # [N, 2]
    part: int
    width: float  # 0 for an outline
    optional: bool


@dataclass
class Drawing:
    """Parts in z-order (later hides earlier) and lines on them; the builder that categories use."""

    parts: list[Part] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def part(
        self,
        outline: Curve,
        material: str,
        *,
        bulge: float = 0.02,
        spine: Curve | None = None,
        optional: bool = False,
    ) -> int:
        """Adds a part on top of everything and returns its index."""
        self.parts.append(Part(outline, material, bulge, len(self.parts), spine, optional))
        return len(self.parts) - 1

    def panel(
        self, on: int, outline: Curve, material: str, *, bulge: float = 0.008, spine: Curve | None = None,
        optional: bool = False,
    ) -> int:  # fmt: skip
        """Adds a shape cut off at the edges of the part `on`, as a toe cap is; returns its index."""
        self.parts.append(Part(outline, material, bulge, self.parts[on].root, spine, optional))
        return len(self.parts) - 1

    def line(self, on: int, curve: Points, *, width: float = 0.005, optional: bool = True) -> None:
        """Adds a line on the part `on`, cut off at its edges."""
        self.lines.append(Line(np.asarray(curve, dtype=np.float64), on, width, optional))

    def mapped(self, move: Callable[[Curve], Curve], scale: float) -> "Drawing":
        """The drawing with every point moved and every width and bulge scaled."""
        parts = [
            replace(
                part,
                outline=move(part.outline),
                bulge=part.bulge * scale,
                spine=None if part.spine is None else move(part.spine),
            )
            for part in self.parts
        ]
        lines = [replace(line, curve=move(line.curve), width=line.width * scale) for line in self.lines]
        return Drawing(parts, lines)

    def bounds(self) -> tuple[Curve, Curve]:
        """Least and greatest coordinates `[2]`, `[2]`; panels may reach beyond their root and don't count."""
        points = np.concatenate([part.outline for i, part in enumerate(self.parts) if part.root == i])
        return points.min(axis=0), points.max(axis=0)

    def fitted(self, extent: float) -> "Drawing":
        """The drawing centred in the unit square, the longer side of its bounding box `extent` long."""
        low, high = self.bounds()
        scale = extent / float((high - low).max())
        centre = (low + high) / 2
        return self.mapped(lambda curve: (curve - centre) * scale + 0.5, scale)


def label_map(drawing: Drawing, size: int) -> Image.Image:
    """8-bit image `[size, size]` of the unit square: 0 background, `i + 1` where part `i` is seen."""
    if len(drawing.parts) > MAX_PARTS:
        raise ValueError(f"a drawing of {len(drawing.parts)} parts; at most {MAX_PARTS} fit an 8-bit label map")
    labels = Image.new("L", (size, size), 0)
    draw = ImageDraw.Draw(labels)
    for index, part in enumerate(drawing.parts):
        points = (part.outline * size).round(2)
        if part.root == index:
            draw.polygon(points.ravel().tolist(), fill=index + 1)
            continue
        left, top = np.clip(np.floor(points.min(axis=0)), 0, size - 1).astype(int).tolist()
        right, bottom = np.clip(np.ceil(points.max(axis=0)) + 1, 1, size).astype(int).tolist()
        mask = Image.new("L", (right - left, bottom - top), 0)
        ImageDraw.Draw(mask).polygon((points - [left, top]).ravel().tolist(), fill=255)
        family = [0] + [255 if other.root == part.root else 0 for other in drawing.parts[:index]]
        seen = labels.crop((left, top, right, bottom)).point(family + [0] * (256 - len(family)))
        labels.paste(index + 1, (left, top), ImageChops.darker(mask, seen))
    return labels


def visible_strokes(drawing: Drawing, labels: NDArray[np.uint8]) -> list[Stroke]:
    """What a pen would draw: visible runs of every outline (or spine) and line, in drawing order.

    `labels` `[S, S]` is the drawing's label map. Runs shorter than about a hundredth of the square are
    dropped: they are what rounding leaves along edges that two parts share.
    """
    strokes: list[Stroke] = []
    roots = np.array([part.root for part in drawing.parts])
    for index, part in enumerate(drawing.parts):
        curve = np.concatenate([part.outline, part.outline[:1]]) if part.spine is None else part.spine
        points = _dense(curve)
        seen = _labels_at(labels, points)
        # An outline runs along the border of its part, so what lies just outside it is no obstacle. Panels
        # don't hide the outline of what they lie on; in return their own ends where that one runs.
        if part.root == index:
            visible = (seen <= index) | (roots[seen] == index)
        else:
            visible = seen <= index
            for offset in _AROUND:
                near = _labels_at(labels, points + offset)
                visible &= (near > index) | ((near >= 0) & (roots[near] == part.root))
        closed = part.spine is None
        strokes += [Stroke(run, index, 0.0, part.optional) for run in _runs(points, visible, closed)]
    for line in drawing.lines:
        points = _dense(line.curve)
        visible = _labels_at(labels, points) == line.part
        strokes += [Stroke(run, line.part, line.width, line.optional) for run in _runs(points, visible, False)]
    return strokes


def _dense(curve: Curve) -> Curve:
    length = arc_length(curve)
    at = np.linspace(0.0, length[-1], max(3, int(length[-1] / _SAMPLE_STEP) + 1))
    return np.stack([np.interp(at, length, curve[:, 0]), np.interp(at, length, curve[:, 1])], axis=1)


def _labels_at(labels: NDArray[np.uint8], points: Curve) -> NDArray[np.int64]:
    size = len(labels)
    column, row = np.clip((points * size).astype(np.int64), 0, size - 1).T
    found: NDArray[np.int64] = labels[row, column].astype(np.int64) - 1
    return found


def _runs(points: Curve, visible: NDArray[np.bool_], closed: bool) -> list[Curve]:
    if visible.all():
        return [points]
    if closed:  # start where something is hidden, so that no run is cut at the seam of the loop
        start = int(np.argmin(visible))
        points = np.roll(points[:-1], -start, axis=0)
        visible = np.roll(visible[:-1], -start)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], visible, [False]]).astype(np.int8)))
    return [points[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= 3]
