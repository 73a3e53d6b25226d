"""A boot seen from the side, toe to the right."""

# ruff: noqa: RUF005 (curve + [dx, dy] moves a curve; nothing is concatenated)

import numpy as np

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.parameters import Category, Choice, Range, Whole
from mlrm.procedural.products.shoe_parts import GROUND, TOES, add_heel_block, add_laces, sole_line
from mlrm.procedural.shapes import (
    arc,
    box,
    join,
    mix,
    parallel,
    point_at,
    portion,
    resample,
    ribbon,
    spline,
)


def build_boot(
    *,
    shaft: float,
    shaft_width: float,
    slope: float,
    ankle: float,
    heel: float,
    heel_width: float,
    sole: float,
    toe: str,
    toe_height: float,
    closure: str,
    rows: int,
    cuff: str,
    cap: str,
    wrinkles: int,
) -> Drawing:
    """A boot from ankle to knee height."""
    d = Drawing()
    reach, blunt = TOES[toe]
    rear, tip = 0.2, 0.83 + reach
    bed = sole_line(heel, sole, tip, 0.012, rear)
    seat, floor = GROUND - sole - heel, GROUND - sole
    top = seat - 0.17 - shaft
    back, front = (rear - 0.02, top), (rear - 0.02 + shaft_width, top - slope)
    neck = seat - 0.15
    heel_side = spline([(rear, seat), (rear - 0.02, seat - 0.06), (rear + 0.015, neck), back])
    waist = (rear + 0.015 + ankle, neck - 0.02)
    front_side = spline([front, (0.6 * waist[0] + 0.4 * front[0], 0.5 * (neck + top)), waist,
                         (waist[0] + 0.09, floor - toe_height - 0.08), (tip - 0.13, floor - toe_height),
                         (tip - 0.015, floor - blunt * toe_height * 0.75), (tip, floor - 0.012)])  # fmt: skip
    rim = arc(back, front, -0.04)
    d.part(join(arc(back, front, 0.06), rim[::-1]), "lining", bulge=0.02)
    body = d.part(join(heel_side, rim, front_side, bed[::-1]), "main", bulge=0.08)

    if cap != "none":
        cut = arc((tip - 0.21, floor - toe_height - 0.04), (tip - 0.2, floor + 0.02), 0.18)
        tip_part = d.panel(body, join(cut, [(tip + 0.1, floor + 0.1), (tip + 0.1, floor - 0.4)]), "second", bulge=0.03)
        d.line(tip_part, parallel(cut, -0.015))
        counter = arc((rear - 0.06, seat - 0.13), (rear + 0.17, seat + 0.03), -0.2)
        d.panel(body, join(counter, [(rear - 0.1, seat + 0.1)]), "second", bulge=0.03)
    vamp = spline([waist, (waist[0] - 0.03, neck + 0.06), (rear + 0.32, floor - 0.25 * toe_height - 0.02),
                   (rear + 0.36, floor)])  # fmt: skip
    if closure == "laces":
        d.line(body, parallel(portion(front_side, 0.0, 0.58), 0.055), optional=False)
        d.line(body, vamp)
        add_laces(d, front_side, rows, 0.06, 0.56, 0.04)
    elif closure == "zip":
        track = mix(heel_side[::-1], front_side, 0.42)[2:18]
        d.panel(body, ribbon(track, 0.022), "dark", optional=True)
        d.panel(
            body,
            box(track[0, 0] - 0.011, track[0, 1], track[0, 0] + 0.011, track[0, 1] + 0.05, 0.008),
            "metal",
        )
    elif closure == "gore":
        x, y = rear + 0.07, neck + 0.05
        gore = join([(x - 0.01, top - 0.05)], spline([(x, y - 0.1), (x + 0.04, y), (x + 0.1, y - 0.1)]),
                    [(x + 0.12, top - 0.05)])  # fmt: skip
        elastic = d.panel(body, gore, "dark")
        for offset in np.linspace(0.0, 0.1, 6):
            d.line(elastic, [(x + offset, top - 0.05), (x + offset, y)], width=0.004)
    else:
        for i in range(min(rows, 3)):
            y = neck + 0.01 - i * min(0.11, shaft / 3)
            band = arc((rear - 0.05, y + 0.02), (rear + 0.42, y - 0.03), -0.05)
            strap = d.panel(body, ribbon(band, 0.035), "second")
            d.line(strap, parallel(band, 0.011))
            x, yy = point_at(band, 0.38)
            d.part(box(x - 0.024, yy - 0.026, x + 0.024, yy + 0.026, 0.006), "metal", bulge=0.006)
            d.part(box(x - 0.011, yy - 0.014, x + 0.013, yy + 0.014, 0.003), "second", bulge=0.006, optional=True)
    for i in range(wrinkles):
        a = (waist[0] - 0.01 + 0.015 * i, neck - 0.035 + 0.036 * i)
        d.line(body, arc(a, (a[0] - 0.09 - 0.01 * i, a[1] + 0.025), 0.15), width=0.006)

    if cuff == "fold":
        low = [(rear - 0.035, top + 0.09), (front[0] + 0.015, top + 0.09 - slope)]
        fold = d.part(join(parallel(rim, -0.004), arc(low[1], low[0], 0.05)), "second", bulge=0.025)
        d.line(fold, arc(low[0], low[1], -0.05) + [0.0, -0.014])
    elif cuff == "fur":
        edge = resample(np.array([back, front]), 11)
        edge[:, 0] += np.linspace(-0.03, 0.03, 11)
        tuft = np.array([(0.0, i % 2) for i in range(11)])
        upper_edge = spline(edge - [0.0, 0.03] - 0.012 * tuft, steps=5)
        lower_edge = spline(edge + [0.0, 0.04] + 0.014 * tuft, steps=5)
        d.part(join(upper_edge, lower_edge[::-1]), "lace", bulge=0.03)
    elif cuff == "tab":
        d.part(
            ribbon(
                spline(
                    [
                        (back[0] + 0.045, top + 0.05),
                        (back[0] + 0.018, top - 0.03),
                        (back[0] + 0.006, top + 0.05),
                    ]
                ),
                0.018,
            ),
            "second",
            bulge=0.006,
        )
    add_heel_block(d, rear, heel + 0.6 * sole, heel_width, heel_width * 0.85)
    welt = join(
        bed,
        [(tip + 0.012, floor)],
        spline([(tip + 0.01, floor + 0.5 * sole), (tip - 0.08, GROUND)]),
        parallel(bed, sole)[::-1][12:],
    )
    under = d.part(welt, "sole", bulge=0.012)
    d.line(under, parallel(bed, 0.4 * sole))
    return d


BOOT = Category(
    "boot",
    {
        "shaft": Range(0.05, 0.42), "shaft_width": Range(0.27, 0.38), "slope": Range(-0.02, 0.06),
        "ankle": Range(0.22, 0.27), "heel": Range(0.0, 0.16), "heel_width": Range(0.08, 0.17),
        "sole": Range(0.025, 0.07), "toe": Choice(*TOES), "toe_height": Range(0.115, 0.165),
        "closure": Choice("laces", "zip", "gore", "buckles"), "rows": Whole(1, 8),
        "cuff": Choice("plain", "fold", "fur", "tab"), "cap": Choice("none", "cap"), "wrinkles": Whole(0, 3),
    },
    build_boot,
)  # fmt: skip
