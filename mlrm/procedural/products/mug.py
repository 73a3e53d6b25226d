"""A mug or cup."""

import numpy as np

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.parameters import Category, Choice, Range, Whole
from mlrm.procedural.products.turning import DECOR, TILT, add_mouth, add_ring, decorate, with_foot
from mlrm.procedural.shapes import (
    ellipse,
    join,
    radius_at,
    ribbon,
    spline,
    turned,
)


def build_mug(
    *, height: float, top: float, middle: float, bottom: float, lip: float, handle: str, handle_size: float,
    handle_at: float, handle_width: float, decor: str, count: int, foot: float, saucer: float,
) -> Drawing:  # fmt: skip
    """A mug or cup."""
    d = Drawing()
    profile = spline([(top, 0.0), (middle, 0.5 * height), (bottom, height)])
    if foot > 0.02:
        profile = join(profile[:-1], spline([(0.78 * bottom, height), (0.82 * bottom, height + foot)]))
    if saucer > 0.05:
        plate = d.part(ellipse((0.0, profile[-1, 1]), top + saucer, TILT * (top + saucer) + 0.03), "second", bulge=0.02)
        d.panel(
            plate,
            ellipse((0.0, profile[-1, 1] - 0.01), 0.75 * (top + saucer), TILT * 0.75 * (top + saucer)),
            "second",
        )
    high, low = handle_at * height, min(0.92, handle_at + 0.62) * height
    a, b = np.array([radius_at(profile, high) - 0.02, high]), np.array([radius_at(profile, low) - 0.02, low])
    reach = a[0] + handle_size
    bow = {
        "round": spline(
            [
                a,
                (reach - 0.05, high - 0.01),
                (reach + 0.03, 0.5 * (high + low) - 0.03),
                (reach - 0.06, low - 0.02),
                b,
            ]
        ),
        "ear": spline([a, (reach - 0.03, high - 0.07), (reach + 0.05, high + 0.08), (reach - 0.08, low - 0.06), b]),
        "square": join(
            [a],
            spline([(reach - 0.04, high), (reach, high + 0.04), (reach, low - 0.04), (reach - 0.04, low)]),
            [b],
        ),
        "angular": join([a], [(reach, high - 0.02)], [(reach - 0.03, high + 0.06)], [b]),
    }[handle]
    d.part(ribbon(bow, handle_width, 0.85 * handle_width), "main", bulge=0.02)
    body = d.part(turned(with_foot(profile)), "main", bulge=0.16)
    decorate(d, body, profile, decor, count, 0.18 * height, 0.85 * height)
    if foot > 0.02:
        add_ring(d, body, profile, height, optional=False)
    add_mouth(d, top, 0.0, lip)
    return d


MUG = Category(
    "mug",
    {
        "height": Range(0.5, 0.95),
        "top": Range(0.3, 0.46),
        "middle": Range(0.28, 0.44),
        "bottom": Range(0.2, 0.4),
        "lip": Range(0.012, 0.035),
        "handle": Choice("round", "ear", "square", "angular"),
        "handle_size": Range(0.18, 0.32),
        "handle_at": Range(0.12, 0.3),
        "handle_width": Range(0.045, 0.08),
        "decor": Choice(*DECOR, "heart"),
        "count": Whole(2, 6),
        "foot": Range(-0.04, 0.07),
        "saucer": Range(-0.4, 0.3),
    },
    build_mug,
)
