"""An upholstered armchair."""

# ruff: noqa: RUF005 (curve + [dx, dy] moves a curve; nothing is concatenated)

import numpy as np

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.parameters import Category, Choice, Range, Whole
from mlrm.procedural.products.space import VIEW, View, add_bar, add_slab, add_upright, rectangle
from mlrm.procedural.shapes import Curve, Points, arc, ellipse, hull, join, rounded, spline


def build_armchair(
    *,
    yaw: float,
    pitch: float,
    width: float,
    depth: float,
    seat_height: float,
    cushion: float,
    back_height: float,
    crest: str,
    wings: float,
    arm_height: float,
    arm_width: float,
    arm: str,
    tufts: str,
    rows: int,
    base: str,
    leg_height: float,
    pillow: str,
) -> Drawing:
    """An upholstered armchair."""
    d, view = Drawing(), View(yaw, pitch)
    half, low = width / 2, 0.0 if base == "skirt" else leg_height
    inner = half - arm_width
    if base != "skirt":
        for x, z in ((-1, depth - 0.05), (1, depth - 0.05), (-1, 0.06), (1, 0.06)):
            spread = 0.03 if base == "splayed" else 0.0
            add_bar(d, view, [(x * (half - 0.06), low + 0.02, z), (x * (half - 0.06 + spread), 0.0, z)], 0.05,
                 0.05 if base == "block" else 0.025, "wood")  # fmt: skip
    top = seat_height + back_height
    crown = {
        "flat": rounded([(-half, low), (half, low), (half, top), (-half, top)], [0.01, 0.01, 0.06, 0.06]),
        "round": join(
            [(-half, low)],
            spline(
                [
                    (-half, top - 0.25),
                    (-0.6 * half, top - 0.02),
                    (0.0, top + 0.05),
                    (0.6 * half, top - 0.02),
                    (half, top - 0.25),
                ]
            ),
            [(half, low)],
        ),
        "camel": join(
            [(-half, low)],
            spline(
                [
                    (-half, top - 0.1),
                    (-0.75 * half, top - 0.06),
                    (-0.4 * half, top + 0.02),
                    (0.0, top + 0.06),
                    (0.4 * half, top + 0.02),
                    (0.75 * half, top - 0.06),
                    (half, top - 0.1),
                ]
            ),
            [(half, low)],
        ),
    }[crest]
    back = add_upright(d, view, crown, depth - 0.16, 0.16, "main", puff=0.03)

    def on_back(points: Points) -> Curve:
        xy = np.asarray(points, dtype=np.float64)
        return view(np.stack([xy[:, 0], xy[:, 1], np.full(len(xy), depth - 0.16)], axis=1))

    if tufts == "buttons":
        for row in range(rows):
            y = seat_height + cushion + (row + 0.6) * (back_height - cushion) / (rows + 0.4)
            for x in (np.arange(3 - row % 2) - (2 - row % 2) / 2) * 0.62 * inner:
                d.panel(back, on_back(ellipse((x, y), 0.014, 0.014, steps=12)), "dark", bulge=0.004)
                d.line(back, on_back(arc((x - 0.05, y + 0.05), (x + 0.05, y - 0.05), 0.1, steps=8)))
                d.line(back, on_back(arc((x - 0.05, y - 0.05), (x + 0.05, y + 0.05), -0.1, steps=8)))
    elif tufts == "channels":
        for x in np.linspace(-inner, inner, rows + 3)[1:-1]:
            d.line(back, on_back([(x, low), (x * 1.05, top + 0.1)]))
    elif tufts == "inset":
        d.line(back, on_back(0.82 * (crown - [0.0, top]) + [0.0, top - 0.02]), optional=False)
    if wings > 0.05:
        ear = top - {"flat": 0.03, "round": 0.27, "camel": 0.11}[crest]  # where the crown leaves the side
        for side in (-half, half):
            wing = view(
                [
                    (side, y, z)
                    for y, z in spline(
                        [
                            (seat_height, depth - 0.1),
                            (0.5 * (seat_height + ear), depth - 0.16 - wings),
                            (ear - 0.06, depth - 0.16 - 0.9 * wings),
                            (ear, depth - 0.12),
                        ]
                    )
                ]
            )
            d.part(wing, "main", bulge=0.03)

    def arm_rest(side: int) -> None:
        x0, x1 = side * inner, side * half
        high = seat_height + arm_height
        if arm == "roll":
            section = join(
                [(x0, low), (x1, low)],
                ellipse(
                    ((x0 + x1) / 2 + side * 0.015, high - 0.05),
                    0.5 * arm_width + 0.025,
                    0.06,
                    20 if side > 0 else 160,
                    -200 if side > 0 else 380,
                ),
            )
            section[2:, 1] = 2 * (high - 0.05) - section[2:, 1]
        elif arm == "slope":
            section = rounded([(x0, low), (x1, low), (x1, high), (x0, high)], [0.01, 0.01, 0.045, 0.045])
        else:
            section = rounded([(x0, low), (x1, low), (x1, high), (x0, high)], 0.015)
        shape = np.stack([section[:, 0], section[:, 1], np.zeros(len(section))], axis=1)
        far = shape + [0.0, 0.0, depth - 0.05]
        if arm == "slope":
            far[:, 1] += 0.09 * (section[:, 1] - low) / (high - low)
        body = d.part(hull(view(np.concatenate([shape, far]))), "main", bulge=0.03)
        face = d.panel(body, view(shape), "main", bulge=0.03)
        if arm == "roll":
            middle = ((x0 + x1) / 2 + side * 0.015, high - 0.05)
            d.line(face, view(np.insert(ellipse(middle, 0.3 * arm_width, 0.03, 0, 300), 2, 0.0, axis=1)))

    arm_rest(-1)
    frame = rectangle(2 * inner, 0.0, depth - 0.16, 0.01)
    add_slab(d, view, frame, low, seat_height, "main")
    pad = rectangle(2 * inner, -0.015, depth - 0.16, 0.05)
    add_slab(d, view, pad, seat_height, seat_height + cushion, "main", puff=0.03)
    if pillow != "none":
        place = 0.0 if pillow == "centre" else -0.4 * inner
        _pillow(d, view, np.array([place, seat_height + cushion + 0.15]), depth - 0.26)
    arm_rest(1)
    if base == "skirt":
        front = -0.012
        face = [(-half, 0.16, front), (half, 0.16, front), (half, 0.0, front), (-half, 0.0, front)]
        skirt = d.part(view(face), "main", bulge=0.02)
        for x in np.linspace(-half, half, rows + 3)[1:-1]:
            d.line(skirt, view([(x, 0.13, front), (x, 0.0, front)]))
    return d


def _pillow(d: Drawing, view: View, middle: Curve, z: float) -> None:
    corners = [(-1, -0.85), (0, -0.7), (1, -0.85), (0.85, 0), (1, 0.85), (0, 0.72), (-1, 0.85), (-0.85, 0)]
    outline = spline(middle + 0.17 * np.array(corners), closed=True, steps=5)
    cloth = d.part(view(np.insert(outline, 2, z, axis=1)), "accent", bulge=0.05)
    for offset in (-0.05, 0.0, 0.05):
        stripe = middle + np.array([(offset - 0.2, -0.2), (offset + 0.2, 0.2)])
        d.line(cloth, view(np.insert(stripe, 2, z, axis=1)))


ARMCHAIR = Category(
    "armchair",
    VIEW
    | {
        "width": Range(0.68, 1.02),
        "depth": Range(0.58, 0.76),
        "seat_height": Range(0.26, 0.34),
        "cushion": Range(0.06, 0.15),
        "back_height": Range(0.34, 0.72),
        "crest": Choice("flat", "round", "camel"),
        "wings": Range(-0.1, 0.2),
        "arm_height": Range(0.14, 0.3),
        "arm_width": Range(0.09, 0.18),
        "arm": Choice("box", "slope", "roll"),
        "tufts": Choice("plain", "buttons", "channels", "inset"),
        "rows": Whole(1, 3),
        "base": Choice("tapered", "block", "splayed", "skirt"),
        "leg_height": Range(0.05, 0.18),
        "pillow": Choice("none", "none", "centre", "side"),
    },
    build_armchair,
)
