"""Eyeglasses seen from the front and a little above."""

# ruff: noqa: RUF005 (curve + [dx, dy] moves a curve; nothing is concatenated)

import numpy as np

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.parameters import Category, Choice, Range
from mlrm.procedural.shapes import arc, ellipse, ribbon, rounded, spline

_LENSES = {  # upper edge from the nose outwards, then the lower edge back; in units of half the lens
    "round": [(-1, 0), (-0.71, -0.71), (0, -1), (0.71, -0.71), (1, 0), (0.71, 0.71), (0, 1), (-0.71, 0.71)],
    "square": [
        (-0.98, -0.4),
        (-0.8, -0.92),
        (0, -1),
        (0.85, -0.95),
        (1, -0.5),
        (0.9, 0.7),
        (0.5, 1),
        (-0.5, 1),
        (-0.9, 0.65),
    ],
    "aviator": [
        (-0.95, -0.55),
        (-0.6, -0.95),
        (0.2, -0.95),
        (0.95, -0.75),
        (0.9, 0.1),
        (0.4, 0.85),
        (-0.15, 1.05),
        (-0.7, 0.6),
    ],
    "cat": [
        (-0.98, -0.1),
        (-0.6, -0.7),
        (0.2, -0.85),
        (1.12, -1.15),
        (1.0, -0.2),
        (0.6, 0.7),
        (-0.1, 0.95),
        (-0.75, 0.65),
    ],
    "browline": [
        (-0.98, -0.5),
        (-0.5, -0.95),
        (0.4, -1),
        (1.05, -0.85),
        (0.95, 0.0),
        (0.6, 0.75),
        (-0.1, 0.98),
        (-0.8, 0.55),
    ],
    "hexagon": [(-1, -0.05), (-0.55, -0.95), (0.55, -0.95), (1, -0.05), (0.55, 0.95), (-0.55, 0.95)],
}


def build_glasses(
    *,
    lens: str,
    lens_width: float,
    lens_height: float,
    gap: float,
    frame: float,
    rim: str,
    tilt: float,
    bridge: str,
    bridge_at: float,
    hinge: float,
    temple_length: float,
    temple_spread: float,
    temple_width: float,
    tip: float,
    tint: str,
    pads: str,
) -> Drawing:
    """Eyeglasses, temples open, seen from the front and a little above."""
    d = Drawing()
    knots = np.array(_LENSES[lens]) * [lens_width, lens_height]
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    form = rounded(knots, 0.03) if lens == "hexagon" else spline(knots, closed=True, steps=7)
    form = form @ turn.T
    centre = np.array([gap / 2 + lens_width, 0.0])
    wire = 0.35 * frame if rim in ("wire", "rimless") else frame
    outer = form * (1 + wire / np.array([lens_width, lens_height]))
    joint = np.array([gap / 2 + 2 * lens_width + wire, hinge * lens_height])
    glass = "smoke" if tint == "dark" else "glass"
    for way in (-1, 1):
        mirror = np.array([way, 1.0])
        end = joint + [-temple_spread, -temple_length]
        arm = spline([joint + [0.01, 0.0], 0.5 * (joint + end) + [0.035, 0.0], end, end + [-0.05, 0.04 + tip]])
        d.part(ribbon(arm, temple_width + 0.012, 0.8 * temple_width) * mirror, "main", bulge=0.012)
        d.part(
            ribbon(
                spline([end + [0.004, 0.0], end + [-0.02, 0.012], end + [-0.05, 0.04 + tip]]),
                1.15 * temple_width,
            )
            * mirror,
            "second",
            bulge=0.01,
        )
    high = bridge_at * lens_height
    inner = gap / 2 + 0.16 * lens_width
    thick = 0.75 * frame if rim == "full" else 0.022
    if bridge in ("keyhole", "saddle"):
        rise = -0.16 if bridge == "keyhole" else -0.32
        d.part(ribbon(arc((-inner, high), (inner, high), rise), 1.3 * thick), "main", bulge=0.012)
    else:
        d.part(ribbon(arc((-inner, high), (inner, high), -0.06), thick), "metal", bulge=0.01)
        if bridge == "double":
            top = high - 0.45 * lens_height
            d.part(ribbon(arc((-inner - 0.06, top), (inner + 0.06, top), -0.02), thick), "metal", bulge=0.01)
    for way in (-1, 1):
        mirror = np.array([way, 1.0])
        block = joint + np.array([(-0.1, -0.03), (0.02, -0.035), (0.02, 0.035), (-0.1, 0.03)])
        d.part(rounded(block, 0.012) * mirror, "main", bulge=0.01)
        if pads == "pads":
            wire_line = arc((gap / 2 + 0.02, 0.1 * lens_height), (gap / 2 - 0.025, 0.42 * lens_height), 0.2) * mirror
            d.part(ribbon(wire_line, 0.01), "metal", bulge=0.004, spine=wire_line)
            d.part(ellipse(wire_line[-1] + [0.0, 0.02], 0.014, 0.032, steps=18), "glass", bulge=0.008)
        if rim == "rimless":
            pane = d.part((form + centre) * mirror, glass, bulge=0.006)
            for x in (-0.85, 0.85):
                d.panel(pane, ellipse((centre + [x * lens_width, high]) * mirror, 0.01, 0.01, steps=10), "metal")
        else:
            d.part((outer + centre) * mirror, "metal" if rim == "wire" else "main", bulge=0.014)
            pane = d.part((form + centre) * mirror, glass, bulge=0.006)
        if rim == "half":
            below = form[:, 1] > 0.05 * lens_height
            first = int(np.flatnonzero(below & ~np.roll(below, -1))[0]) + 1  # the brow begins after it
            upper = np.roll(form, -first, axis=0)[: int(np.sum(~below))]
            brow = d.part(ribbon(upper * 1.03 + centre, 1.7 * frame) * mirror, "second", bulge=0.016)
            d.line(brow, (upper * 1.05 + centre) * mirror)
        if tint == "line":
            d.line(
                pane,
                (
                    arc(
                        centre + [-0.4 * lens_width, 0.5 * lens_height],
                        centre + [0.1 * lens_width, -0.6 * lens_height],
                        0.05,
                    )
                )
                * mirror,
            )
            d.line(
                pane,
                (
                    arc(
                        centre + [-0.15 * lens_width, 0.55 * lens_height],
                        centre + [0.3 * lens_width, -0.5 * lens_height],
                        0.05,
                    )
                )
                * mirror,
            )
        if rim == "full" and hinge < -0.3:
            d.part(
                ellipse((joint + [-0.06, 0.0]) * mirror, 0.012, 0.012, steps=12),
                "metal",
                bulge=0.005,
                optional=True,
            )
    return d


GLASSES = Category(
    "glasses",
    {
        "lens": Choice(*_LENSES),
        "lens_width": Range(0.17, 0.23),
        "lens_height": Range(0.11, 0.2),
        "gap": Range(0.09, 0.16),
        "frame": Range(0.018, 0.045),
        "rim": Choice("full", "full", "wire", "half", "rimless"),
        "tilt": Range(-0.08, 0.14),
        "bridge": Choice("keyhole", "saddle", "bar", "double"),
        "bridge_at": Range(-0.5, 0.1),
        "hinge": Range(-0.75, -0.1),
        "temple_length": Range(0.12, 0.3),
        "temple_spread": Range(0.02, 0.14),
        "temple_width": Range(0.018, 0.036),
        "tip": Range(0.0, 0.06),
        "tint": Choice("clear", "line", "dark"),
        "pads": Choice("none", "pads"),
    },
    build_glasses,
)
