"""A teapot, spout to the right."""

# ruff: noqa: RUF005 (curve + [dx, dy] moves a curve; nothing is concatenated)

import numpy as np

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.parameters import Category, Choice, Range, Whole
from mlrm.procedural.products.turning import DECOR, TILT, add_ring, decorate, with_foot
from mlrm.procedural.shapes import (
    arc,
    box,
    ellipse,
    join,
    radius_at,
    ribbon,
    spline,
    turned,
)


def build_teapot(
    *,
    height: float,
    neck: float,
    belly: float,
    belly_at: float,
    bottom: float,
    spout: str,
    spout_reach: float,
    spout_width: float,
    handle: str,
    handle_size: float,
    handle_width: float,
    lid: float,
    knob: str,
    knob_size: float,
    foot: float,
    decor: str,
    count: int,
) -> Drawing:
    """A teapot, spout to the right."""
    d = Drawing()
    at = belly_at * height
    profile = spline(
        [
            (neck, 0.0),
            (0.5 * (neck + belly) + 0.05, 0.35 * at),
            (belly, at),
            (0.5 * (belly + bottom) + 0.05, 0.5 * (at + height)),
            (bottom, height),
        ]
    )
    if foot > 0.02:
        profile = join(profile, [(bottom + 0.5 * foot, height + foot)])
    root, tip = np.array([belly - 0.06, at + 0.1]), np.array([belly + spout_reach, 0.02 + 0.1 * height])
    way = {
        "swan": spline([root, (belly + 0.45 * spout_reach, at + 0.02), (belly + 0.55 * spout_reach, 0.5 * at), tip]),
        "straight": spline([root, 0.5 * (root + tip), tip]),
        "beak": spline([root + [0.0, -0.12], 0.5 * (root + tip) + [0.0, 0.04], tip + [-0.35 * spout_reach, 0.0]]),
    }[spout]
    pipe = d.part(ribbon(way, 2.2 * spout_width, 0.8 * spout_width), "main", bulge=0.03)
    d.panel(pipe, ellipse(way[-1], 0.45 * spout_width, 0.2 * spout_width), "dark", bulge=0.004, optional=True)
    if handle == "top":
        bow = spline(
            [
                (-0.85 * belly, 0.35 * at),
                (-0.8 * belly, -0.9 * handle_size),
                (0.0, -1.45 * handle_size),
                (0.8 * belly, -0.9 * handle_size),
                (0.85 * belly, 0.35 * at),
            ]
        )
    else:
        a = np.array([-radius_at(profile, 0.45 * at) + 0.02, 0.45 * at])
        b = np.array([-radius_at(profile, at + 0.45 * (height - at)) + 0.02, at + 0.45 * (height - at)])
        reach = -belly - handle_size
        bow = {
            "round": spline(
                [
                    a,
                    (reach + 0.08, a[1] - 0.06),
                    (reach, 0.5 * (a[1] + b[1]) - 0.03),
                    (reach + 0.1, b[1] - 0.02),
                    b,
                ]
            ),
            "ear": spline(
                [a, (reach + 0.06, a[1] - 0.13), (reach - 0.02, a[1] + 0.02), (reach + 0.14, b[1] - 0.05), b]
            ),
            "square": join([a], spline([(reach + 0.05, a[1] - 0.03), (reach, a[1] + 0.02), (reach + 0.03, b[1])]), [b]),
        }[handle]
    d.part(ribbon(bow, handle_width), "second" if count % 2 else "main", bulge=0.02)
    body = d.part(turned(with_foot(profile)), "main", bulge=0.2)
    decorate(d, body, profile, decor, count, 0.3 * height, 0.82 * height)
    if foot > 0.02:
        add_ring(d, body, profile, height, optional=False)
    dome = spline([(0.02, -lid), (0.55 * neck, -0.8 * lid), (0.97 * neck, 0.0)])
    cover = d.part(turned(with_foot(dome)), "main", bulge=0.06)
    d.line(cover, ellipse((0.0, -0.2 * lid), 0.85 * neck, TILT * 0.85 * neck, 180, 0))
    top = -lid - 0.7 * knob_size
    if knob == "ball":
        d.part(ellipse((0.0, top), knob_size, knob_size), "second", bulge=0.03)
    elif knob == "button":
        d.part(box(-0.4 * knob_size, top, 0.4 * knob_size, -lid + 0.03), "second", bulge=0.01)
        d.part(ellipse((0.0, top), 1.3 * knob_size, 0.5 * knob_size), "second", bulge=0.02)
    elif knob == "drop":
        drop = spline(
            [
                (0.004, top - knob_size),
                (0.35 * knob_size, top - 0.2 * knob_size),
                (0.9 * knob_size, top + 0.4 * knob_size),
                (0.4 * knob_size, -lid + 0.02),
            ]
        )
        d.part(turned(drop), "second", bulge=0.03)
    else:
        loop = arc((-knob_size, -lid + 0.03), (knob_size, -lid + 0.03), -0.7)
        d.part(ribbon(loop, 0.03), "second", bulge=0.01)
    return d


TEAPOT = Category(
    "teapot",
    {
        "height": Range(0.42, 0.8),
        "neck": Range(0.16, 0.28),
        "belly": Range(0.34, 0.48),
        "belly_at": Range(0.35, 0.68),
        "bottom": Range(0.18, 0.36),
        "spout": Choice("swan", "straight", "beak"),
        "spout_reach": Range(0.2, 0.38),
        "spout_width": Range(0.055, 0.09),
        "handle": Choice("round", "ear", "square", "top"),
        "handle_size": Range(0.17, 0.3),
        "handle_width": Range(0.04, 0.07),
        "lid": Range(0.05, 0.16),
        "knob": Choice("ball", "button", "drop", "loop"),
        "knob_size": Range(0.035, 0.065),
        "foot": Range(-0.03, 0.06),
        "decor": Choice(*DECOR),
        "count": Whole(2, 6),
    },
    build_teapot,
)
