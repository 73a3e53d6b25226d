"""A sneaker seen from the side, toe to the right."""

# ruff: noqa: RUF005 (curve + [dx, dy] moves a curve; nothing is concatenated)

import numpy as np

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.parameters import Category, Choice, Range, Whole
from mlrm.procedural.products.shoe_parts import GROUND, add_laces
from mlrm.procedural.shapes import (
    Curve,
    arc,
    box,
    ellipse,
    join,
    mix,
    parallel,
    point_at,
    portion,
    ribbon,
    rounded,
    spline,
)


def build_sneaker(
    *,
    sole: float,
    wedge: float,
    toe_height: float,
    toe_length: float,
    collar: float,
    dip: float,
    mouth: float,
    tongue: float,
    closure: str,
    rows: int,
    toe_cap: str,
    side: str,
    marks: int,
    counter: float,
    tread: str,
) -> Drawing:
    """A sneaker; heights are in parts of the shoe's length."""
    d = Drawing()
    base, heel_base = GROUND - sole, GROUND - sole - wedge
    back, front = (0.09, heel_base - collar), (mouth, heel_base - collar - 0.04)
    tip = 0.9 + toe_length
    bed = spline([(0.07, heel_base), (0.3, heel_base + 0.3 * wedge), (0.6, base), (tip, base - 0.015)])
    toe_top = (tip - 0.19, base - toe_height)
    middle = (0.5 * mouth + 0.5 * toe_top[0] + 0.02, 0.36 * front[1] + 0.64 * toe_top[1])
    instep = spline([front, middle, toe_top, (tip - 0.05, base - 0.66 * toe_height), (tip, base - 0.015)])
    heel = spline([(0.075, heel_base), (0.06, heel_base - 0.35 * collar), (0.075, heel_base - 0.75 * collar), back])
    opening = spline([back, (0.18, back[1] + dip * 0.8), (0.5 * mouth + 0.1, back[1] + dip), front])

    d.part(join(spline([back, (0.5 * mouth, back[1] - 0.005), front]), opening[::-1]), "lining", bulge=0.03)
    flap = spline(
        [
            (mouth - 0.06, front[1] + 0.05),
            (mouth - 0.05, front[1] - tongue),
            (mouth + 0.01, front[1] - tongue - 0.01),
            (middle[0] - 0.03, middle[1] - 0.022),
            (toe_top[0] - 0.03, toe_top[1] + 0.02),
        ]
    )
    d.part(flap, "second", bulge=0.015)
    upper = d.part(join(heel, opening, instep, bed[::-1]), "main", bulge=0.06)

    if toe_cap == "cap":
        cut = spline([point_at(instep, 0.66), (tip - 0.2, base - 0.45 * toe_height), (tip - 0.26, base + 0.03)])
        cap = d.panel(upper, join(cut, [(tip + 0.1, base + 0.1), (tip + 0.1, base - 0.3)]), "sole", bulge=0.03)
        d.line(cap, parallel(cut, -0.015))
    elif toe_cap == "mudguard":
        guard = spline([(tip + 0.03, base - 0.8 * toe_height), (tip - 0.12, base - 0.55 * toe_height),
                        (0.6, base - 0.05), (0.5, base + 0.05)])  # fmt: skip
        d.panel(upper, join(guard, [(tip + 0.1, base + 0.1)]), "second", bulge=0.02)
    elif toe_cap == "perforated":
        for u in np.linspace(0.62, 0.85, 5):
            for depth in (0.03, 0.06):
                p = point_at(instep, u) + [-0.012, depth]
                d.panel(upper, ellipse(p, 0.006, 0.006, steps=10), "dark", bulge=0.002, optional=True)

    edge_in = parallel(portion(instep, 0.0, 0.58), 0.065)
    if closure == "laces":
        stay = d.panel(upper, join(portion(instep, 0.0, 0.58), edge_in[::-1]), "second", bulge=0.01)
        d.line(stay, parallel(edge_in, -0.012))
    if counter > 0.02:
        cut = spline(
            [
                (0.02, back[1] + 0.1 * collar),
                (0.13, back[1] + 0.35 * collar),
                (0.12 + counter, heel_base - 0.1),
                (0.14 + 1.3 * counter, heel_base + 0.1),
            ]
        )
        patch = d.panel(upper, join(cut, [(0.0, heel_base + 0.1)]), "second", bulge=0.015)
        d.line(patch, parallel(cut, 0.014))
    d.line(upper, parallel(opening, 0.028))
    _side_design(d, upper, side, marks, np.array([0.42, base - 0.03]), 0.6 * (base - middle[1]))

    if closure == "laces":
        add_laces(d, instep, rows, 0.04, 0.54, 0.045)
    elif closure == "straps":
        for u in np.linspace(0.1, 0.48, min(rows, 3)):
            a = point_at(instep, u) + [0.0, -0.008]
            strap = d.part(ribbon(arc(a, a + [-0.11, 0.15], 0.1), 0.07, 0.06), "second", bulge=0.012)
            d.line(strap, ribbon(arc(a, a + [-0.105, 0.14], 0.1), 0.05, 0.042))
    else:
        a, b = np.array(front), point_at(instep, 0.16)
        c, e = np.array([mouth + 0.02, front[1] + 0.17]), np.array([mouth - 0.05, front[1] + 0.14])
        gore = d.panel(upper, rounded([a, b, c, e], 0.015), "dark")
        for u in np.linspace(0.2, 0.8, 4):
            d.line(gore, [a + (b - a) * u, e + (c - e) * u], width=0.004)

    under = spline([(tip + 0.012, base - 0.02), (tip + 0.01, GROUND - 0.5 * sole), (tip - 0.07, GROUND)])
    rear = spline([(0.1, GROUND), (0.05, GROUND - 0.5 * sole), (0.062, heel_base - 0.012)])
    sole_part = d.part(join(parallel(bed, -0.006), under, rear), "sole", bulge=0.02)
    if tread in ("line", "blocks"):
        d.line(sole_part, mix(bed, np.array([(0.07, GROUND), (tip, GROUND)]), 0.5), optional=False)
    if tread in ("teeth", "blocks"):
        for x in np.arange(0.1, tip - 0.05, 0.05):
            d.line(sole_part, [(x, GROUND - 0.38 * sole), (x + 0.008, GROUND)], width=0.007)
    if tread == "air":
        d.panel(sole_part, box(0.13, GROUND - 0.7 * (sole + wedge), 0.33, GROUND - 0.015, 0.03), "glass")
    return d


def _side_design(d: Drawing, upper: int, kind: str, marks: int, centre: Curve, height: float) -> None:
    if kind == "stripes":
        for i in range(marks):
            foot = centre + [0.055 * i - 0.03, 0.05]
            d.panel(upper, ribbon(arc(foot, foot + [0.1, -height - 0.05], 0.05), 0.026), "accent")
    elif kind == "wave":
        a, b = centre + [-0.2, -0.6 * height], centre + [0.25, -0.75 * height]
        low = spline([a, centre + [-0.09, -0.06 * height], centre + [0.06, -0.3 * height], b])
        high = spline([b, centre + [0.02, -0.55 * height], centre + [-0.08, -0.4 * height], a])
        d.panel(upper, join(low, high), "accent")
    elif kind == "badge":
        d.panel(upper, ellipse(centre - [0.08, 0.55 * height], 0.05, 0.05), "sole")
        star = ellipse(centre - [0.08, 0.55 * height], 0.034, 0.034, -90, 270, steps=10)
        star[1::2] = (star[1::2] + 1.4 * (centre - [0.08, 0.55 * height])) / 2.4
        d.panel(upper, star, "accent")
    elif kind == "panel":
        top = spline([centre + [-0.18, 0.1], centre + [-0.1, -0.5 * height], centre + [0.04, -0.62 * height],
                      centre + [0.22, 0.1]])  # fmt: skip
        panel = d.panel(upper, top, "accent", bulge=0.015)
        for i in range(marks):
            d.line(panel, parallel(top, 0.018 * (i + 1)))


SNEAKER = Category(
    "sneaker",
    {
        "sole": Range(0.05, 0.11), "wedge": Range(0.0, 0.05), "toe_height": Range(0.1, 0.17),
        "toe_length": Range(-0.04, 0.06), "collar": Range(0.17, 0.4), "dip": Range(0.01, 0.08),
        "mouth": Range(0.32, 0.42), "tongue": Range(0.01, 0.08),
        "closure": Choice("laces", "laces", "straps", "slip-on"), "rows": Whole(3, 7),
        "toe_cap": Choice("none", "cap", "mudguard", "perforated"),
        "side": Choice("plain", "stripes", "wave", "badge", "panel"), "marks": Whole(1, 4),
        "counter": Range(0.0, 0.09), "tread": Choice("plain", "line", "teeth", "blocks", "air"),
    },
    build_sneaker,
)  # fmt: skip
