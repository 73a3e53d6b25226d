"""A shoe with a high heel, seen from the side, toe to the right."""

# ruff: noqa: RUF005 (curve + [dx, dy] moves a curve; nothing is concatenated)

import numpy as np

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.parameters import Category, Choice, Range
from mlrm.procedural.products.shoe_parts import GROUND, TOES, add_heel_block, sole_line
from mlrm.procedural.shapes import (
    Curve,
    arc,
    ellipse,
    join,
    parallel,
    point_at,
    ribbon,
    rounded,
    spline,
)


def build_heel(
    *, height: float, form: str, platform: float, toe: str, toe_height: float, vamp: float, side: float,
    counter: float, strap: str, strap_width: float, ornament: str, edge: str,
) -> Drawing:  # fmt: skip
    """A woman's shoe with a high heel."""
    d = Drawing()
    reach, blunt = TOES[toe]
    rear, tip, plate = 0.14, 0.84 + reach, platform + 0.018
    bed = sole_line(height, plate, tip, 0.015, rear)
    seat, floor = GROUND - plate - height, GROUND - plate

    def above(x: float, rise: float) -> tuple[float, float]:
        return x, float(np.interp(x, bed[:, 0], bed[:, 1])) - rise

    quarter = (rear - 0.005, seat - counter)
    throat = above(vamp, toe_height + 0.025)
    open_side = strap == "slingback"
    back = spline([(rear, seat), (rear - 0.025, seat - 0.5 * counter), quarter])
    if open_side:
        quarter = above(rear + 0.26, 0.02)
        back = np.array([above(rear + 0.2, 0.0), quarter])
    topline = spline(
        [
            quarter,
            above(0.5 * quarter[0] + 0.5 * vamp - 0.08, side),
            above(vamp - 0.06, 0.7 * toe_height),
            throat,
        ]
    )
    far = spline([quarter, above(0.45 * quarter[0] + 0.5 * vamp, side + 0.05), throat])
    front = spline(
        [
            throat,
            above(0.5 * (vamp + tip), 0.94 * toe_height),
            (tip - 0.025, floor - blunt * toe_height * 0.8),
            (tip, floor - 0.012),
        ]
    )
    d.part(join(far, topline[::-1]), "lining", bulge=0.03)
    if strap == "slingback":
        level = seat - 0.55 * counter
        around = spline([quarter, (rear + 0.12, level + 0.03), (rear - 0.03, level)])
        d.part(join(bed[:22], [(rear + 0.2, seat + 0.05)], bed[:22][::-1] + [0.0, -0.014]), "lining", bulge=0.005)
        d.part(ribbon(around, strap_width), "main", bulge=0.01)
        d.part(
            ribbon(spline([around[-1], (rear + 0.1, level - 0.045), above(rear + 0.3, 0.06)]), strap_width),
            "lining",
            bulge=0.01,
        )
    if strap in ("bar", "double bar"):
        for i in range(1 + (strap == "double bar")):
            x = vamp - 0.05 - 0.1 * i
            behind = spline([above(x, side + 0.1), above(x + 0.035, side + 0.07), above(x + 0.045, 0.01)])
            d.part(ribbon(behind, strap_width), "lining", bulge=0.01)
    bed_part = bed if not open_side else bed[bed[:, 0] >= rear + 0.2]
    body = d.part(join(back, topline, front, bed_part[::-1]), "main", bulge=0.05)
    if edge == "piping":
        d.panel(body, ribbon(parallel(topline, 0.008), 0.02), "second", bulge=0.006)
    elif edge == "stitch":
        d.line(body, parallel(topline, 0.018))
    elif edge == "cap":
        cut = arc(above(tip - 0.17, toe_height + 0.05), above(tip - 0.14, -0.03), 0.15)
        d.panel(body, join(cut, [(tip + 0.1, floor + 0.1), (tip + 0.1, floor - 0.3)]), "second", bulge=0.03)
    if strap in ("ankle", "t-bar"):
        level = seat - counter - 0.09
        if strap == "t-bar":
            d.part(
                ribbon(spline([throat, (vamp - 0.1, throat[1] - 0.12), (rear + 0.24, level + 0.01)]), strap_width),
                "main",
                bulge=0.01,
            )
        loop = spline([(rear - 0.01, level + 0.01), (rear + 0.1, level + 0.035), (rear + 0.23, level + 0.012)])
        top_loop = spline([(rear + 0.23, level + 0.012), (rear + 0.11, level - 0.03), (rear - 0.01, level + 0.01)])
        d.part(ribbon(top_loop, 0.8 * strap_width), "lining", bulge=0.006)
        d.part(
            ribbon([(rear + 0.005, seat - counter + 0.02), (rear - 0.008, level - 0.01)], 0.03),
            "main",
            bulge=0.01,
        )
        d.part(ribbon(loop, strap_width), "main", bulge=0.01)
        d.part(ellipse(point_at(loop, 0.6), 0.018, 0.02, steps=16), "metal", bulge=0.006)
    elif strap in ("bar", "double bar"):
        for i in range(1 + (strap == "double bar")):
            x = vamp - 0.12 - 0.1 * i
            low = above(x, 0.02)
            top = above(x + 0.07, side + 0.1)
            bar = spline([low, above(x + 0.005, 0.6 * side + 0.05), above(x + 0.03, side + 0.09), top])
            d.part(ribbon(bar, strap_width), "main", bulge=0.01)
            d.part(ellipse(point_at(bar, 0.45), 0.014, 0.014, steps=14), "metal", bulge=0.006)
    _ornament(d, ornament, np.array(throat) + [0.02, 0.02])
    if form == "wedge":
        fill = join(bed[:45], [(rear + 0.47, GROUND)], [(rear + 0.02, GROUND)])
        wedge = d.part(fill, "heel", bulge=0.04)
        d.line(wedge, [(rear, GROUND - 0.02), (0.9, GROUND - 0.02)])
    else:
        top_width, foot, lean = {
            "stiletto": (0.1, 0.022, 0.025),
            "block": (0.13, 0.115, 0.0),
            "cone": (0.15, 0.045, 0.03),
            "flared": (0.09, 0.12, -0.02),
        }[form]
        add_heel_block(d, rear, height + 0.7 * plate, top_width, foot, lean)
    nose = spline([(tip + 0.006, floor), (tip - 0.02, GROUND - 0.35 * plate), (tip - 0.09, GROUND)])
    sole_edge = join(bed, nose, [(rear + 0.5, GROUND)],
                     parallel(bed[:32], 0.018)[::-1])  # fmt: skip
    d.part(sole_edge, "sole", bulge=0.012)
    return d


def _ornament(d: Drawing, kind: str, at: Curve) -> None:
    if kind == "bow":
        for way in (-1, 1):
            wing = spline([at, at + [0.08 * way, -0.06], at + [0.1 * way, 0.0], at + [0.075 * way, 0.045], at])
            loop_part = d.part(wing, "second", bulge=0.015)
            d.line(loop_part, [at + [0.015 * way, -0.004], at + [0.055 * way, -0.014]])
        d.part(ellipse(at, 0.02, 0.024, steps=16), "second", bulge=0.01)
    elif kind == "buckle":
        d.part(
            rounded(at + [(-0.05, -0.03), (0.05, 0.0), (0.05, 0.05), (-0.05, 0.02)], 0.01),
            "metal",
            bulge=0.008,
        )
        d.part(
            rounded(at + [(-0.03, -0.01), (0.032, 0.01), (0.032, 0.032), (-0.03, 0.012)], 0.006),
            "main",
            bulge=0.008,
        )
    elif kind == "flower":
        for angle in np.radians(np.arange(5) * 72):
            d.part(
                ellipse(at + 0.032 * np.array([np.cos(angle), np.sin(angle)]), 0.025, 0.025, steps=16),
                "second",
                bulge=0.01,
            )
        d.part(ellipse(at, 0.015, 0.015, steps=14), "accent", bulge=0.008)


HEEL = Category(
    "heel",
    {
        "height": Range(0.1, 0.34),
        "form": Choice("stiletto", "block", "cone", "flared", "wedge"),
        "platform": Range(0.0, 0.06),
        "toe": Choice(*TOES),
        "toe_height": Range(0.075, 0.12),
        "vamp": Range(0.54, 0.7),
        "side": Range(0.03, 0.085),
        "counter": Range(0.1, 0.2),
        "strap": Choice("none", "ankle", "bar", "double bar", "t-bar", "slingback"),
        "strap_width": Range(0.016, 0.034),
        "ornament": Choice("none", "none", "bow", "buckle", "flower"),
        "edge": Choice("plain", "piping", "stitch", "cap"),
    },
    build_heel,
)
