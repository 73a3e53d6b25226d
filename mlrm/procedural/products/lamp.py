"""A lamp with a shade, for a table or for the floor."""

import numpy as np

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.parameters import Category, Choice, Range, Whole
from mlrm.procedural.products.turning import TILT, add_belt, add_ring, decorate, with_foot
from mlrm.procedural.shapes import (
    Curve,
    box,
    ellipse,
    join,
    parallel,
    ribbon,
    spline,
    turned,
)


def build_lamp(
    *,
    shade: str,
    shade_height: float,
    shade_top: float,
    shade_width: float,
    trim: str,
    pleats: int,
    stem: str,
    stem_height: float,
    stem_width: float,
    knots: int,
    belly: float,
    belly_at: float,
    base: str,
    base_width: float,
    finial: str,
    cord: str,
) -> Drawing:
    """A lamp with a shade, for a table or for the floor."""
    d = Drawing()
    low = shade_height + stem_height
    if cord == "cable":
        cable = spline(
            [
                (0.3 * base_width, low + 0.02),
                (base_width + 0.08, low + 0.05),
                (base_width + 0.2, low + 0.0),
                (base_width + 0.32, low + 0.06),
            ]
        )
        d.part(ribbon(cable, 0.012), "dark", bulge=0.004, spine=cable)
    bottom = shade_height + 0.35 * stem_height if base == "tripod" else low
    _base(d, base, base_width, bottom, low, stem_width)
    length = bottom - shade_height
    if stem == "arc":
        bend = spline(
            [
                (0.0, low - 0.01),
                (-0.13, low - 0.4 * stem_height),
                (-0.12, shade_height + 0.2 * stem_height),
                (0.0, shade_height - 0.1),
            ]
        )
        d.part(ribbon(bend, stem_width), "metal", bulge=0.012)
    elif stem == "vase":
        at = shade_height + belly_at * length
        form = spline(
            [
                (0.035, shade_height - 0.06),
                (0.04, shade_height + 0.15 * length),
                (belly, at),
                (0.5 * belly, 0.5 * (at + bottom) + 0.1 * length),
                (0.6 * base_width, bottom + 0.01),
            ]
        )
        body = d.part(turned(with_foot(form)), "main", bulge=0.1)
        decorate(d, body, form, ("rings", "flutes", "zigzag", "belt", "dots", "plain")[knots % 6], 3,
                  at - 0.2 * length, at + 0.2 * length)  # fmt: skip
    elif stem == "balls":
        d.part(box(-0.4 * stem_width, shade_height - 0.08, 0.4 * stem_width, bottom), "metal", bulge=0.01)
        for y in np.linspace(shade_height + 0.12 * length, bottom - 0.12 * length, knots + 1):
            d.part(
                ellipse((0.0, y), belly * 0.7, min(belly * 0.7, 0.42 * length / (knots + 1))),
                "main",
                bulge=0.06,
            )
    else:
        d.part(box(-0.5 * stem_width, shade_height - 0.08, 0.5 * stem_width, bottom), "metal", bulge=0.012)
        for y in np.linspace(shade_height, bottom, knots + 2)[1:-1]:
            d.part(ellipse((0.0, y), 1.3 * stem_width, 0.022), "metal", bulge=0.01)
    wall = _shade(shade, shade_top * shade_width, shade_width, shade_height)
    if finial == "ball":
        d.part(box(-0.008, -0.07, 0.008, 0.02), "metal", bulge=0.004)
        d.part(ellipse((0.0, -0.07), 0.024, 0.026), "metal", bulge=0.012)
    elif finial == "spike":
        d.part(turned(spline([(0.003, -0.12), (0.02, -0.05), (0.01, 0.02)])), "metal", bulge=0.01)
    hood = d.part(turned(with_foot(wall)), "shade", bulge=0.12)
    _trim(d, hood, wall, trim, pleats)
    if shade != "dome":
        d.panel(hood, ellipse((0.0, 0.0), wall[0, 0], 0.6 * TILT * wall[0, 0]), "lining", bulge=0.02)
    if cord == "pull":
        x = 0.4 * shade_width
        line = np.array(
            [
                (x, shade_height + 0.5 * TILT * shade_width),
                (x + 0.004, shade_height + 0.12),
                (x, shade_height + 0.22),
            ]
        )
        d.part(ribbon(line, 0.008), "metal", bulge=0.003, spine=line)
        d.part(ellipse(line[-1], 0.014, 0.02, steps=14), "metal", bulge=0.008)
    return d


def _base(d: Drawing, base: str, width: float, hub: float, low: float, stem_width: float) -> None:
    if base == "tripod":
        for x in (-0.15, -1.0, 1.0):
            d.part(
                ribbon(
                    [
                        (0.0, hub),
                        (0.6 * x * width, 0.45 * hub + 0.55 * low),
                        (1.1 * x * width, low + 0.06 * (x == -0.15)),
                    ],
                    1.3 * stem_width,
                    0.8 * stem_width,
                ),
                "wood",
                bulge=0.012,
            )
        d.part(ellipse((0.0, hub), 1.6 * stem_width, 1.3 * stem_width), "metal", bulge=0.015)
    elif base == "disc":
        plate = d.part(
            join(
                ellipse((0.0, low), width, TILT * width, 180, 360),
                ellipse((0.0, low + 0.03), width, TILT * width, 0, 180),
            ),
            "metal",
            bulge=0.015,
        )
        d.panel(plate, ellipse((0.0, low), width, TILT * width), "metal")
    elif base == "dome":
        dome = spline([(stem_width, low - 0.1), (0.5 * width, low - 0.07), (width, low)])
        d.part(turned(with_foot(dome)), "metal", bulge=0.05)
    else:
        block = d.part(box(-width, low - 0.07, width, low + 0.03, 0.01), "wood", bulge=0.012)
        d.line(block, [(-1.0, low - 0.045), (1.0, low - 0.045)])


def _shade(kind: str, top: float, width: float, height: float) -> Curve:
    """Profile (radius, y) of a lamp shade."""
    return {
        "cone": spline(
            [
                (top, 0.0),
                (0.5 * (top + width), 0.5 * height),
                (width, height),
            ]
        ),
        "drum": spline([(0.93 * width, 0.0), (0.96 * width, 0.5 * height), (width, height)]),
        "bell": spline(
            [
                (top, 0.0),
                (top + 0.04, 0.4 * height),
                (0.75 * width, 0.8 * height),
                (width, height),
            ]
        ),
        "dome": spline(
            [
                (0.05, 0.0),
                (0.6 * width, 0.15 * height),
                (0.93 * width, 0.55 * height),
                (width, height),
            ]
        ),
    }[kind]


def _trim(d: Drawing, hood: int, wall: Curve, trim: str, pleats: int) -> None:
    width, height = float(wall[-1, 0]), float(wall[-1, 1])
    if trim == "bands":
        for y in (0.06, height - 0.05):
            add_ring(d, hood, wall, y, optional=False)
    elif trim == "border":
        add_belt(d, hood, wall, 0.82 * height, height + 0.5, "accent")
    elif trim == "pleats":
        decorate(d, hood, wall, "flutes", pleats, 0.0, height)
    elif trim == "fringe":
        for a in np.linspace(-1.0, 1.0, 25):
            x, y = a * width, height + TILT * width * np.sqrt(1 - a**2)
            line = np.array([(x, y - 0.005), (x, y + 0.05)])
            d.part(ribbon(line, 0.012), "accent", bulge=0.003, spine=line, optional=abs(a) < 0.9)
        add_ring(d, hood, wall, height - 0.06)
    elif trim == "zigzag":
        decorate(d, hood, wall, "zigzag", max(3, pleats - 2), 0.15 * height, 0.8 * height)
    if pleats % 3 == 0 and trim == "pleats":
        d.line(hood, parallel(ellipse((0.0, height), width, TILT * width, 180, 0), 0.03))


LAMP = Category(
    "lamp",
    {
        "shade": Choice("cone", "drum", "bell", "dome"),
        "shade_height": Range(0.24, 0.42),
        "shade_top": Range(0.3, 0.7),
        "shade_width": Range(0.22, 0.38),
        "trim": Choice("plain", "bands", "border", "pleats", "fringe", "zigzag"),
        "pleats": Whole(5, 11),
        "stem": Choice("rod", "arc", "vase", "vase", "balls"),
        "stem_height": Range(0.4, 0.9),
        "stem_width": Range(0.028, 0.06),
        "knots": Whole(0, 5),
        "belly": Range(0.08, 0.17),
        "belly_at": Range(0.35, 0.7),
        "base": Choice("disc", "dome", "block", "tripod"),
        "base_width": Range(0.13, 0.24),
        "finial": Choice("none", "ball", "spike"),
        "cord": Choice("none", "cable", "pull"),
    },
    build_lamp,
)
