"""A stool: a seat on legs or on a column."""

import numpy as np

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.parameters import Category, Choice, Range, Whole
from mlrm.procedural.products.space import VIEW, View, add_bar, add_slab, flat, rectangle
from mlrm.procedural.shapes import ellipse, ribbon, rounded


def _half_ring(d: Drawing, view: View, radius: float, y: float, yaw: float, start: float) -> None:
    """The rear (`start` 0) or front (180) half of a foot ring."""
    first = float(np.degrees(yaw)) + start
    half = ellipse((0.0, 0.0), radius, radius, first, first + 180)
    d.part(ribbon(view(flat(half, y)), 0.022), "metal", bulge=0.01)


def build_stool(
    *,
    yaw: float,
    pitch: float,
    height: float,
    size: float,
    shape: str,
    thickness: float,
    legs: int,
    leg: float,
    leg_end: float,
    splay: float,
    ring: float,
    rungs: str,
    base: str,
    cushion: float,
    handle: str,
) -> Drawing:
    """A stool: a seat on legs or on a column."""
    d, view = Drawing(), View(yaw, pitch)
    half, under = size / 2, height - thickness
    if base == "column":
        foot = ellipse((0.0, 0.0), half * (1.0 + splay), half * (1.0 + splay))
        add_slab(d, view, foot, 0.0, 0.03, "metal")
        if rungs != "none":
            _half_ring(d, view, 0.75 * half, ring * under, yaw, 0.0)
        add_bar(d, view, [(0.0, 0.02, 0.0), (0.0, under, 0.0)], leg + 0.01, material="metal")
        if rungs != "none":
            _half_ring(d, view, 0.75 * half, ring * under, yaw, 180.0)
    else:
        angles = np.radians(np.arange(legs) * 360 / legs + (45 if legs == 4 else 75))
        inset = half * (0.8 if shape == "round" else 1.05)
        tops = inset * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        order = sorted(range(legs), key=lambda i: -tops[i, 1] * np.cos(yaw) + tops[i, 0] * np.sin(yaw))

        def at(i: int, y: float) -> tuple[float, float, float]:
            spread = 1 + splay * 2.2 * (1 - y / under)
            return tops[i, 0] * spread, y, tops[i, 1] * spread

        radius = inset * (1 + splay * 2.2 * (1 - ring))
        if rungs == "hoop":
            _half_ring(d, view, radius, ring * under, yaw, 0.0)
        for rank, i in enumerate(order):
            add_bar(d, view, [at(i, under), at(i, 0.0)], leg, leg * leg_end)
            if rungs == "rungs" and rank > 0:
                for j in order[:rank]:
                    if legs == 3 or abs(i - j) % 2 == 1:
                        y = (ring + 0.12 * ((i + j) % 4 == 1)) * under
                        add_bar(d, view, [at(i, y), at(j, y)], 0.55 * leg)
        if rungs == "hoop":
            _half_ring(d, view, radius, ring * under, yaw, 180.0)
    outline = ellipse((0.0, 0.0), half, half) if shape == "round" else rectangle(size, -half, half, 0.25 * half, 0.0)
    if shape == "saddle":
        outline = rectangle(1.25 * size, -0.7 * half, 0.7 * half, 0.1)
    seat = add_slab(d, view, outline, under, height, "wood")
    if cushion > 0.03:
        seat = add_slab(d, view, 0.97 * outline, height, height + cushion, "main", puff=0.03)
        d.line(seat, view(flat(0.8 * outline, height + cushion)))
    elif handle == "slot":
        d.panel(
            seat,
            view(flat(rounded([(-0.09, -0.02), (0.09, -0.02), (0.09, 0.02), (-0.09, 0.02)], 0.02), height)),
            "dark",
        )
    elif handle == "rings":
        d.line(seat, view(flat(0.75 * outline, height)))
        d.line(seat, view(flat(0.45 * outline, height)))
    elif handle == "boards":
        for x in np.linspace(-half, half, 5)[1:-1]:
            d.line(seat, view([(x, height, -half), (x, height, half)]))
    return d


STOOL = Category(
    "stool",
    VIEW
    | {
        "height": Range(0.42, 0.78),
        "size": Range(0.3, 0.42),
        "shape": Choice("round", "square", "saddle"),
        "thickness": Range(0.025, 0.07),
        "legs": Whole(3, 4),
        "leg": Range(0.028, 0.055),
        "leg_end": Range(0.5, 1.1),
        "splay": Range(0.02, 0.22),
        "ring": Range(0.2, 0.5),
        "rungs": Choice("none", "rungs", "rungs", "hoop"),
        "base": Choice("legs", "legs", "legs", "column"),
        "cushion": Range(-0.04, 0.1),
        "handle": Choice("plain", "slot", "rings", "boards"),
    },
    build_stool,
)
