"""What shoes seen from the side share: the ground, the sole's line, laces, heels."""

import numpy as np

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.shapes import (
    Curve,
    arc,
    ellipse,
    join,
    normals,
    point_at,
    portion,
    ribbon,
    spline,
)

GROUND = 0.8


def add_laces(d: Drawing, instep: Curve, count: int, start: float, stop: float, reach: float) -> None:
    """Lace bars over the edge of an instep (a curve from the collar to the toe), with their eyelets."""
    inward = -1.0 if normals(instep)[len(instep) // 2, 1] < 0 else 1.0
    edge = portion(instep, start, stop, count=max(count, 3))
    inner = edge + inward * reach * normals(edge)
    for fraction in np.linspace(0.0, 1.0, count):
        a, b = point_at(edge, fraction), point_at(inner, fraction)
        slant = (b - a) * 0.3
        d.part(ellipse(b, 0.009, 0.009, steps=12), "metal", bulge=0.004, optional=True)
        d.part(ribbon(arc(a - slant, b, 0.12, steps=8), 0.016), "lace", bulge=0.006)


def sole_line(heel: float, thickness: float, tip: float, spring: float, rear: float) -> Curve:
    """Where the upper meets the sole, from the heel to the tip of the toe."""
    y = GROUND - thickness
    return spline(
        [
            (rear, y - heel),
            (rear + 0.14, y - 0.93 * heel),
            (rear + 0.3, y - 0.42 * heel),
            (rear + 0.43, y - 0.03 * heel),
            (rear + 0.55, y),
            (tip, y - spring),
        ]
    )


# How far a toe reaches beyond a plain shoe's, and how high its tip stands, in parts of the toe's height.
TOES = {"round": (0.0, 0.74), "pointed": (0.06, 0.46), "square": (0.0, 0.95), "almond": (0.03, 0.6)}


def add_heel_block(
    d: Drawing, rear: float, height: float, top_width: float, foot_width: float, lean: float = 0.0
) -> None:
    """Puts a heel of the given height under a shoe, its back at `rear`, tapering from top to foot."""
    if height < 0.02:
        return
    top = GROUND - height
    back = spline([(rear - 0.005, top), (rear + 0.01 + lean * 0.6, top + 0.4 * height), (rear + lean, GROUND)])
    breast = spline(
        [
            (rear + lean + foot_width, GROUND),
            (rear + 0.7 * foot_width + 0.3 * top_width + 0.6 * lean, top + 0.45 * height),
            (rear + top_width, top + 0.1 * height),
            (rear + top_width + 0.02, top),
        ]
    )
    block = d.part(join(back, breast), "heel", bulge=0.02)
    d.line(block, [(rear - 0.1, GROUND - 0.016), (rear + 0.4, GROUND - 0.016)], optional=False)
