"""A chair: legs or a pedestal, one of seven backs, with or without arms."""

# ruff: noqa: RUF005 (curve + [dx, dy] moves a curve; nothing is concatenated)

import numpy as np

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.parameters import Category, Choice, Range, Whole
from mlrm.procedural.products.space import VIEW, View, add_bar, add_slab, add_upright, flat, rectangle
from mlrm.procedural.shapes import arc, ellipse, join, rounded, spline


def build_chair(
    *,
    yaw: float,
    pitch: float,
    width: float,
    depth: float,
    seat_height: float,
    seat_thickness: float,
    corner: float,
    taper: float,
    back: str,
    back_height: float,
    lean: float,
    slats: int,
    crest: float,
    post: float,
    legs: str,
    leg: float,
    splay: float,
    stretcher: str,
    arms: str,
    cushion: float,
) -> Drawing:
    """A chair without upholstery of its own."""
    d, view = Drawing(), View(yaw, pitch)
    half, rear = width / 2 - 0.03, width / 2 * (1 - taper) - 0.03
    under = seat_height - seat_thickness
    corners = [(-rear, depth - 0.03), (rear, depth - 0.03), (-half, 0.03), (half, 0.03)]
    if legs == "pedestal":
        _pedestal(d, view, depth / 2, under, leg, 0.27 + splay)
    else:
        feet = [(x * (1 + 2 * splay), z + splay * (0.25 if z > 0.1 else -0.25)) for x, z in corners]
        end = {"straight": leg, "tapered": 0.5 * leg, "metal": 0.5 * leg}[legs]
        material = "metal" if legs == "metal" else "wood"
        thickness = 0.5 * leg if legs == "metal" else leg

        def on_leg(i: int, share: float) -> tuple[float, float, float]:
            (x, z), (fx, fz) = corners[i], feet[i]
            return x + (fx - x) * share, under * (1 - share), z + (fz - z) * share

        def rung(i: int, j: int, share: float) -> None:
            add_bar(d, view, [on_leg(i, share), on_leg(j, share)], 0.6 * leg, material=material)

        for i in (0, 1):
            add_bar(d, view, [on_leg(i, 0.0), on_leg(i, 1.0)], thickness, end, material)
        if stretcher in ("box", "ladder"):
            rung(0, 1, 0.55)
        if stretcher in ("box", "sides", "h", "ladder"):
            rung(0, 2, 0.65)
            rung(1, 3, 0.65)
        if stretcher == "h":
            a, b, c, e = (np.array(on_leg(i, 0.65)) for i in range(4))
            add_bar(d, view, [(a + c) / 2, (b + e) / 2], 0.6 * leg, material=material)
        for i in (2, 3):
            add_bar(d, view, [on_leg(i, 0.0), on_leg(i, 1.0)], thickness, end, material)
        if stretcher in ("box", "front"):
            rung(2, 3, 0.45)
        if stretcher == "ladder":
            rung(2, 3, 0.35)
            rung(2, 3, 0.65)
    _chair_back(d, view, back, rear, depth - 0.03, seat_height, back_height, lean, slats, crest, post)
    plate = rectangle(width, 0.0, depth, corner, taper)
    if arms != "none":
        _arm(d, view, -1, half, rear, depth, seat_height, lean, arms, post)
    seat = add_slab(d, view, plate, under, seat_height, "wood" if cushion < 0.03 else "second")
    if cushion >= 0.03:
        inner = rectangle(width - 0.04, 0.02, depth - 0.05, corner + 0.03, taper)
        seat = add_slab(d, view, inner, seat_height, seat_height + 0.6 * cushion, "main", puff=0.02)
        d.line(
            seat,
            view(
                flat(
                    rectangle(width - 0.08, 0.05, depth - 0.08, corner + 0.02, taper),
                    seat_height + 0.6 * cushion,
                )
            ),
        )
    if arms != "none":
        _arm(d, view, 1, half, rear, depth, seat_height, lean, arms, post)
    return d


def _chair_back(
    d: Drawing,
    view: View,
    kind: str,
    half: float,
    z: float,
    low: float,
    height: float,
    lean: float,
    count: int,
    crest: float,
    post: float,
) -> None:
    def at(x: float, y: float) -> tuple[float, float, float]:
        return x, low + y, z + lean * y

    def rail(y: float, rise: float, thick: float, reach: float) -> None:
        outline = join(
            arc((-reach, y), (reach, y), 0.5 * rise / reach),
            arc((reach, y - thick), (-reach, y - thick), -0.5 * rise / reach),
        )
        d.part(view([at(x, yy) for x, yy in outline]), "wood", bulge=0.01)

    if kind == "hoop":
        hoop = spline(
            [
                (-half, 0.0),
                (-1.05 * half, 0.6 * height),
                (-0.6 * half, 0.95 * height),
                (0.0, height * (1 + crest)),
                (0.6 * half, 0.95 * height),
                (1.05 * half, 0.6 * height),
                (half, 0.0),
            ]
        )
        for x in np.linspace(-0.72, 0.72, count + 1) * half:
            top = float(np.interp(x, hoop[:, 0][10:51], hoop[:, 1][10:51]))
            add_bar(d, view, [at(0.75 * x, 0.0), at(x, top)], 0.014)
        add_bar(d, view, [at(x, y) for x, y in hoop], post)
        return
    if kind == "shell":
        shell = spline(
            [
                (-half, -0.02),
                (-1.08 * half, 0.5 * height),
                (-0.8 * half, 0.95 * height),
                (0.0, height * (1 + crest)),
                (0.8 * half, 0.95 * height),
                (1.08 * half, 0.5 * height),
                (half, -0.02),
            ]
        )
        front = add_upright(d, view, shell + [0.0, low], z, 0.025, "main", lean=lean, base=low, puff=0.02)
        d.line(front, view([at(0.85 * x, 0.04 + 0.88 * y) for x, y in shell]))
        if count > 4:
            d.panel(front, view([at(x, y) for x, y in ellipse((0.0, 0.68 * height), 0.3 * half, 0.06)]), "dark")
        return
    if kind == "panel":
        plate = rounded(
            [(-half, 0.22 * height), (half, 0.22 * height), (half, height), (-half, height)],
            0.02 + 0.5 * crest,
        )
        for side in (-0.8, 0.8):
            add_bar(d, view, [at(side * half, 0.0), at(side * half, 0.5 * height)], post)
        front = add_upright(d, view, plate + [0.0, low], z - 0.02, 0.04, "main", lean=lean, base=low, puff=0.02)
        for x in np.linspace(-half, half, count + 1)[1:-1]:
            d.line(front, view([at(x, 0.22 * height), at(x, height)]))
        return
    if kind == "ladder":
        for y in np.linspace(0.25, 0.8, max(2, count - 2)) * height:
            rail(y, crest * 0.6, 0.05, half)
    elif kind == "slats":
        rail(0.16 * height, 0.0, 0.035, half)
        for x in np.linspace(-0.72, 0.72, count) * half:
            add_bar(d, view, [at(x, 0.14 * height), at(x, height - 0.02)], min(0.035, 0.8 * half / count))
    elif kind == "cross":
        rail(0.18 * height, 0.0, 0.035, half)
        for side in (-1, 1):
            add_bar(d, view, [at(-side * half, 0.16 * height), at(side * half, 0.92 * height)], 0.028)
    elif kind == "splat":
        rail(0.1 * height, 0.0, 0.035, half)
        y = np.array([0.08, 0.3, 0.5, 0.75, 0.95]) * height
        x = np.array([0.3, 0.14 + 0.04 * count, 0.2, 0.5 - 0.05 * count, 0.45]) * half
        splat = join(spline(np.stack([x, y], axis=1)), spline(np.stack([-x, y], axis=1))[::-1])
        d.part(view([at(a, b) for a, b in splat]), "wood", bulge=0.012)
    for side in (-half, half):
        add_bar(d, view, [at(side, 0.0), at(side, height)], post)
    rail(height + 0.02, crest, 0.075, half + 0.025)


def _arm(
    d: Drawing,
    view: View,
    side: int,
    half: float,
    rear: float,
    depth: float,
    seat: float,
    lean: float,
    kind: str,
    post: float,
) -> None:
    y, x = seat + 0.2, side * (half + 0.015)
    back = (side * (rear + 0.01), y + 0.02, depth - 0.03 + 0.22 * lean)
    add_bar(d, view, [(side * half, seat - 0.01, 0.1), (x, y, 0.06)], 0.8 * post)
    if kind == "straight":
        add_bar(d, view, [back, (x, y, 0.0)], 0.04)
    else:
        along = spline([(0.0, 0.0), (0.5, -0.025), (0.85, 0.0), (1.0, -0.045)])
        points = [np.array(back) * (1 - t) + np.array([x * 1.03, y, -0.02]) * t + [0.0, dy, 0.0] for t, dy in along]
        add_bar(d, view, points, 0.034, 0.045)


def _pedestal(d: Drawing, view: View, z: float, height: float, thick: float, reach: float) -> None:
    for angle in np.radians([100, 28, 172, 244, 316]):
        foot = (reach * np.cos(angle), 0.02, z + reach * np.sin(angle))
        add_bar(d, view, [(0.0, 0.09, z), foot], thick, 0.6 * thick, "metal")
        d.part(ellipse(view([(foot[0], 0.0, foot[2])])[0], 0.02, 0.024, steps=16), "dark", bulge=0.01)
    add_bar(d, view, [(0.0, 0.06, z), (0.0, height, z)], 1.2 * thick, material="metal")
    add_bar(d, view, [(0.0, 0.06, z), (0.0, 0.5 * height, z)], 1.9 * thick, material="dark")


CHAIR = Category(
    "chair",
    VIEW
    | {
        "width": Range(0.42, 0.54),
        "depth": Range(0.4, 0.5),
        "seat_height": Range(0.4, 0.5),
        "seat_thickness": Range(0.02, 0.07),
        "corner": Range(0.01, 0.14),
        "taper": Range(0.0, 0.22),
        "back": Choice("slats", "ladder", "cross", "splat", "hoop", "panel", "shell"),
        "back_height": Range(0.36, 0.62),
        "lean": Range(0.05, 0.24),
        "slats": Whole(3, 7),
        "crest": Range(0.0, 0.1),
        "post": Range(0.026, 0.042),
        "legs": Choice("straight", "straight", "tapered", "tapered", "metal", "pedestal"),
        "leg": Range(0.03, 0.052),
        "splay": Range(0.0, 0.13),
        "stretcher": Choice("none", "none", "box", "sides", "h", "front", "ladder"),
        "arms": Choice("none", "none", "straight", "curved"),
        "cushion": Range(0.0, 0.07),
    },
    build_chair,
)
