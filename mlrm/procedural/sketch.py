"""A `Drawing` as a person would sketch it from memory: black pen on white, everything a little off."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mlrm.procedural.drawing import Drawing, Stroke, label_map, visible_strokes
from mlrm.procedural.shapes import Curve, arc_length, tangents

_SUPERSAMPLE = 3
_LABEL_SIZE = 512
_CORNER = np.cos(np.radians(38.0))  # a pen stops where the line turns by more


@dataclass(frozen=True)
class _Hand:
    """One person's way of drawing, on one day."""

    affine: NDArray[np.float64]  # [2, 2]: rotation, scale and shear of the whole
    shift: NDArray[np.float64]  # [2]
    waves: NDArray[np.float64]  # [W, 6]: frequency x, y, phase x, y, amplitude x, y of the smooth warp
    looseness: float  # 0.5 careful .. 1.5 hasty
    patience: float  # share of the details that are drawn
    pen: float  # width of the pen, in parts of the picture
    ink: int  # grey level

    @classmethod
    def draw(cls, generator: np.random.Generator) -> "_Hand":
        angle, shear = generator.normal(0.0, [0.035, 0.035])
        stretch = generator.normal(1.0, 0.04, size=2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        looseness = float(generator.uniform(0.6, 1.4))
        waves = np.concatenate(
            [
                generator.uniform(2.0, 7.0, size=(3, 2)),
                generator.uniform(0.0, 2 * np.pi, size=(3, 2)),
                generator.normal(0.0, 0.006 * looseness, size=(3, 2)),
            ],
            axis=1,
        )
        return cls(
            affine=turn @ np.array([[stretch[0], shear], [0.0, stretch[1]]]) * generator.uniform(0.93, 1.02),
            shift=generator.normal(0.0, 0.015, size=2),
            waves=waves,
            looseness=looseness,
            patience=float(generator.uniform(0.55, 1.0)),
            pen=float(generator.uniform(0.006, 0.0105)),
            ink=int(generator.integers(0, 56)),
        )

    def place(self, points: Curve) -> Curve:
        """Moves points of the unit square as this person misjudges proportions."""
        centred = points - 0.5
        fx, fy, px, py, ax, ay = self.waves.T
        warp_x = np.sin(centred[:, 1:] * fx + px) @ ax
        warp_y = np.sin(centred[:, :1] * fy + py) @ ay
        moved = (centred + np.stack([warp_x, warp_y], axis=1)) @ self.affine.T + self.shift
        placed: Curve = np.clip(moved, -0.49, 0.49) + 0.5
        return placed


def trace(drawing: Drawing, generator: np.random.Generator, size: int) -> Image.Image:
    """RGB sketch `size` x `size` of a drawing in the unit square, by the hand that `generator` gives."""
    hand = _Hand.draw(generator)
    fitted = drawing.fitted(0.86)
    labels = np.asarray(label_map(fitted, _LABEL_SIZE))
    canvas = size * _SUPERSAMPLE
    paper = Image.new("L", (canvas, canvas), 255)
    draw = ImageDraw.Draw(paper)
    for stroke in visible_strokes(fitted, labels):
        if stroke.optional and generator.random() > hand.patience:
            continue
        for piece in _pieces(stroke):
            _pen(draw, hand, generator, piece, canvas)
            if arc_length(piece)[-1] > 0.15 and generator.random() < 0.08 * hand.looseness:
                _pen(draw, hand, generator, piece, canvas)  # a line drawn twice, to mend it
    return paper.reduce(_SUPERSAMPLE).convert("RGB")


def _pieces(stroke: Stroke) -> list[Curve]:
    """Cuts a visible run at its corners; a loop without corners in two, as nobody closes one in one go."""
    curve = stroke.curve
    way = curve[3:] - curve[:-3]
    way /= np.maximum(np.hypot(way[:, 0], way[:, 1]), 1e-12)[:, None]
    turn = np.sum(way[3:] * way[:-3], axis=1) if len(way) > 6 else np.ones(0)
    cuts, last = [0], 0
    for i in np.flatnonzero(turn < _CORNER) + 4:
        near = turn[max(0, i - 7) : i - 1]
        if i - last >= 6 and len(curve) - i >= 6 and turn[i - 4] <= near.min():
            cuts.append(int(i))
            last = int(i)
    closed = bool(np.abs(curve[0] - curve[-1]).max() < 1e-9)
    if len(cuts) == 1 and closed:
        cuts.append(len(curve) // 2)
    cuts.append(len(curve) - 1)
    return [curve[a : b + 1] for a, b in pairwise(cuts) if b - a >= 2]


def _pen(draw: ImageDraw.ImageDraw, hand: _Hand, generator: np.random.Generator, curve: Curve, canvas: int) -> None:
    """Draws one stroke: displaced, wobbling, a little too long or too short, its width varying."""
    points = hand.place(curve)
    length = arc_length(points)
    total = float(length[-1])
    loose = hand.looseness * min(1.0, 0.35 + 1.6 * total)  # short strokes are easily put in place
    offset = generator.normal(0.0, 0.0032 * loose, size=2)
    scale, angle = 1 + generator.normal(0.0, 0.012 * loose), generator.normal(0.0, 0.016 * loose)
    middle = points.mean(axis=0)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (points - middle) @ turn.T + middle + offset

    frequency = generator.uniform(6.0, 34.0, size=(3, 2))
    phase = generator.uniform(0.0, 2 * np.pi, size=(3, 2))
    height = generator.normal(0.0, 0.0016 * loose, size=(3, 2))
    points += np.sum(height * np.sin(length[:, None, None] * frequency + phase), axis=1)

    tangent = tangents(points)
    ends = generator.normal(0.002, 0.005 * loose, size=2).clip(-0.06 * total, 0.02)
    points[0] -= tangent[0] * ends[0]
    points[-1] += tangent[-1] * ends[1]

    pressure = 1 + 0.22 * np.sin(length * generator.uniform(8.0, 20.0) + phase[0, 0]) + generator.normal(0.0, 0.1)
    width = (hand.pen * canvas / 2 * pressure.clip(0.5, 1.6))[:, None]
    side = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) * width
    points *= canvas
    draw.polygon(np.concatenate([points + side, (points - side)[::-1]]).ravel().tolist(), fill=hand.ink)
    for end, radius in ((points[0], width[0, 0]), (points[-1], width[-1, 0])):
        draw.ellipse([*(end - 0.9 * radius).tolist(), *(end + 0.9 * radius).tolist()], fill=hand.ink)
