"""A vase."""

# ruff: noqa: RUF005 (curve + [dx, dy] moves a curve; nothing is concatenated)

import numpy as np

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.parameters import Category, Choice, Range, Whole
from mlrm.procedural.products.turning import DECOR, add_belt, add_mouth, add_ring, decorate, with_foot
from mlrm.procedural.shapes import (
    join,
    radius_at,
    ribbon,
    spline,
    turned,
)


def build_vase(
    *,
    height: float,
    lip: float,
    neck: float,
    neck_at: float,
    shoulder: float,
    shoulder_at: float,
    belly: float,
    bottom: float,
    flare: float,
    handles: str,
    decor: str,
    count: int,
    foot: float,
    collar: str,
) -> Drawing:
    """A vase."""
    d = Drawing()
    throat, top = neck_at * height, shoulder_at * height
    profile = spline([(neck + flare, 0.0), (neck, 0.55 * throat), (neck, throat), (shoulder, top),
                      (belly, 0.5 * (top + height)), (bottom, height)], steps=12)  # fmt: skip
    if foot > 0.02:
        profile = join(profile, spline([(bottom - 0.01, height + 0.3 * foot), (bottom + 0.6 * foot, height + foot)]))
    if handles != "none":
        for way in (-1, 1):
            a, b = (
                np.array([way * (neck - 0.005), 0.5 * throat]),
                np.array([way * (0.95 * shoulder), top - 0.01]),
            )
            if handles == "loops":
                side = 0.95 * shoulder + 0.06
                bow = spline([a, (way * (0.5 * neck + 0.5 * side), 0.15 * throat), (way * side, 0.6 * throat), b])
            else:
                bow = spline(
                    [
                        b + [0.0, -0.03],
                        (way * (shoulder + 0.11), top - 0.02),
                        (way * (shoulder + 0.08), top + 0.12),
                        (way * (radius_at(profile, top + 0.14) - 0.02), top + 0.14),
                    ]
                )
            d.part(ribbon(bow, 0.034), "main", bulge=0.014)
    body = d.part(turned(with_foot(profile)), "main", bulge=0.16)
    decorate(d, body, profile, decor, count, top + 0.02, top + 0.8 * (height - top))
    if collar == "ring":
        add_ring(d, body, profile, throat, optional=False)
        add_ring(d, body, profile, 0.85 * throat)
    elif collar == "painted":
        add_belt(d, body, profile, -0.05, 0.8 * throat, "second")
    elif collar == "shoulder":
        add_ring(d, body, profile, top - 0.03, optional=False)
    if foot > 0.02:
        add_ring(d, body, profile, height, optional=False)
    add_mouth(d, neck + flare, 0.0, lip)
    return d


VASE = Category(
    "vase",
    {
        "height": Range(0.75, 1.1),
        "lip": Range(0.01, 0.03),
        "neck": Range(0.07, 0.22),
        "neck_at": Range(0.1, 0.34),
        "shoulder": Range(0.18, 0.36),
        "shoulder_at": Range(0.4, 0.6),
        "belly": Range(0.16, 0.38),
        "bottom": Range(0.12, 0.28),
        "flare": Range(0.0, 0.12),
        "handles": Choice("none", "none", "loops", "ears"),
        "decor": Choice(*DECOR),
        "count": Whole(2, 6),
        "foot": Range(-0.04, 0.06),
        "collar": Choice("plain", "ring", "painted", "shoulder"),
    },
    build_vase,
)
