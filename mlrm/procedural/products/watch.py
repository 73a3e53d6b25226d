"""A wrist watch seen from the front."""

from itertools import pairwise

import numpy as np

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.parameters import Category, Choice, Range, Whole
from mlrm.procedural.shapes import Curve, arc, box, ellipse, join, parallel, ribbon, rounded


def build_watch(
    *,
    case: str,
    radius: float,
    aspect: float,
    bezel: float,
    ticks: str,
    indices: str,
    marks: str,
    hour: float,
    minute: float,
    hand: float,
    subdials: int,
    date: str,
    crown: float,
    pushers: str,
    lug: float,
    strap: str,
    strap_width: float,
    strap_length: float,
    strap_taper: float,
) -> Drawing:
    """A wrist watch, its strap up and down."""
    d = Drawing()
    tall = radius * aspect

    def shape(scale: float) -> Curve:
        rx, ry = radius * scale, tall * scale
        if case == "round":
            return ellipse((0.0, 0.0), rx, rx, steps=64)
        if case == "square":
            return box(-rx, -ry, rx, ry, 0.3 * radius)
        if case == "tonneau":
            return join(
                arc((-0.72 * rx, -ry), (0.72 * rx, -ry), -0.06),
                arc((0.72 * rx, -ry), (0.72 * rx, ry), -0.14),
                arc((0.72 * rx, ry), (-0.72 * rx, ry), -0.06),
                arc((-0.72 * rx, ry), (-0.72 * rx, -ry), -0.14),
            )
        return rounded([(rx * np.cos(a), rx * np.sin(a)) for a in np.radians(np.arange(8) * 45 + 22.5)], 0.02)

    reach = radius if case in ("round", "octagon") else tall
    wide, far = strap_width * radius, reach + strap_length
    for way in (-1, 1):
        _strap(d, strap, way, wide, 0.82 * reach, far, strap_taper)
        for side in (-1, 1):
            foot = [
                (side * (wide + 0.035), way * 0.6 * reach),
                (side * (wide + 0.04), way * (reach + 0.2 * lug)),
                (side * (wide + 0.012), way * (reach + lug)),
                (side * (wide - 0.025), way * 0.6 * reach),
            ]
            d.part(rounded(foot, 0.015), "metal", bulge=0.012)
    edge = 0.72 * radius * 1.28 if case == "tonneau" else radius
    button = d.part(box(edge - 0.03, -crown, edge + 0.055, crown, 0.012), "metal", bulge=0.012)
    for y in np.linspace(-crown, crown, 6)[1:-1]:
        d.line(button, [(edge, y), (edge + 0.06, y)])
    if pushers == "two":
        for way in (-1, 1):
            angle = way * 0.62
            at = np.array([np.cos(angle), np.sin(angle)]) * radius
            d.part(ribbon([0.9 * at, at, 1.14 * at], 0.045), "metal", bulge=0.01)
    body = d.part(shape(1.0), "metal", bulge=0.025)
    ring = d.panel(body, shape(0.97 - 0.3 * bezel), "metal", bulge=0.012)
    if ticks == "notches":
        for a in np.radians(np.arange(0, 360, 15)):
            d.line(
                body,
                [
                    radius * (1.02 - 0.28 * bezel) * np.array([np.cos(a), np.sin(a)]),
                    1.02 * radius * np.array([np.cos(a), np.sin(a)]),
                ],
            )
    inner = 0.93 - bezel
    dial = d.panel(ring, shape(inner), "main", bulge=0.012)
    if ticks == "track":
        d.line(dial, join(shape(0.9 * inner), shape(0.9 * inner)[:1]))
    face = radius * inner * (0.72 if case == "tonneau" else 1.0)
    step = {"two": 6, "four": 3, "twelve": 1}[marks]
    for i in range(12):
        if indices == "none" or i % step:
            continue
        ray = np.array([np.sin(np.radians(30 * i)), -np.cos(np.radians(30 * i))])
        if indices == "dots":
            d.panel(dial, ellipse(0.8 * face * ray, 0.024, 0.024, steps=12), "accent", bulge=0.004)
        else:
            start = 0.62 if indices == "long" else 0.72
            d.panel(
                dial,
                ribbon([start * face * ray, 0.8 * face * ray, 0.86 * face * ray], 0.03 if i % 3 == 0 else 0.018),
                "accent",
                bulge=0.004,
            )
    for i in range(subdials):
        angle = np.radians({1: [90], 2: [0, 180], 3: [0, 180, 90]}[subdials][i])
        at = 0.4 * face * np.array([np.cos(angle), np.sin(angle)])
        small = d.panel(dial, ellipse(at, 0.2 * face, 0.2 * face), "second", bulge=0.006)
        d.line(small, [at, at + 0.15 * face * np.array([np.cos(i + hour), np.sin(i + hour)])])
    if date == "window" and subdials == 0:
        d.panel(dial, box(0.42 * face, -0.045, 0.66 * face, 0.045, 0.005), "lace", bulge=0.004)
    for angle, length, width in ((hour, 0.48, hand), (minute, 0.74, 0.7 * hand)):
        ray = np.array([np.sin(angle), -np.cos(angle)])
        d.part(
            ribbon([-0.1 * face * ray, 0.3 * length * face * ray, length * face * ray], width, 0.4 * width),
            "hand",
            bulge=0.005,
        )
    d.part(ellipse((0.0, 0.0), 0.024, 0.024, steps=14), "metal", bulge=0.006)
    return d


def _strap(d: Drawing, kind: str, way: int, wide: float, near: float, far: float, taper: float) -> None:
    end = wide * (1 - taper)
    if kind in ("links", "triple"):
        edges = np.linspace(near, far, 9)
        for a, b in pairwise(edges):
            half = np.interp((a + b) / 2, [near, far], [wide, end])
            link = d.part(box(-half, min(way * a, way * b), half, max(way * a, way * b), 0.012), "metal", bulge=0.01)
            if kind == "triple":
                for x in (-0.4 * half, 0.4 * half):
                    d.line(link, [(x, way * a), (x, way * b)], optional=False)
        return
    band = rounded([(-wide, way * near), (wide, way * near), (end, way * far), (-end, way * far)],
                   [0.0, 0.0, 0.08, 0.08])  # fmt: skip
    leather = d.part(band, "strap", bulge=0.025)
    if kind == "stitched":
        for side in (-1, 1):
            d.line(leather, [(side * 0.82 * wide, way * near), (side * 0.8 * end, way * far)])
    elif kind == "nato":
        for x in (-0.35, 0.35):
            d.line(
                leather,
                parallel(
                    np.array(
                        [
                            (x * wide, way * near),
                            (x * 0.9 * wide, way * (near + far) / 2),
                            (x * end, way * far),
                        ]
                    ),
                    0.0,
                ),
                width=0.008,
                optional=False,
            )
    elif kind == "mesh":
        for y in np.arange(near, far, 0.06):
            d.line(leather, arc((-wide, way * y), (wide, way * y), 0.04 * way))
    elif kind == "holes":
        for y in np.linspace(0.5 * (near + far), far - 0.07, 4):
            if way > 0:
                d.panel(leather, ellipse((0.0, y), 0.018, 0.022, steps=14), "dark", bulge=0.004)
    if way < 0 and kind in ("stitched", "holes", "nato"):
        d.part(box(-end - 0.03, -far - 0.05, end + 0.03, -far + 0.06, 0.02), "metal", bulge=0.01)
        d.part(box(-end + 0.01, -far - 0.02, end - 0.01, -far + 0.045, 0.012), "strap", bulge=0.01)
    if way > 0 and kind in ("stitched", "nato"):
        y = 0.55 * near + 0.45 * far
        d.part(box(-wide, y, wide, y + 0.06, 0.01), "strap", bulge=0.012)


WATCH = Category(
    "watch",
    {
        "case": Choice("round", "round", "square", "tonneau", "octagon"),
        "radius": Range(0.27, 0.42),
        "aspect": Range(0.95, 1.25),
        "bezel": Range(0.05, 0.2),
        "ticks": Choice("none", "notches", "track"),
        "indices": Choice("none", "dots", "bars", "long"),
        "marks": Choice("two", "four", "twelve", "twelve"),
        "hour": Range(0.0, 6.28),
        "minute": Range(0.0, 6.28),
        "hand": Range(0.022, 0.055),
        "subdials": Whole(0, 3),
        "date": Choice("none", "window"),
        "crown": Range(0.03, 0.065),
        "pushers": Choice("none", "two"),
        "lug": Range(0.03, 0.1),
        "strap": Choice("plain", "stitched", "nato", "mesh", "holes", "links", "triple"),
        "strap_width": Range(0.5, 0.72),
        "strap_length": Range(0.32, 0.72),
        "strap_taper": Range(0.0, 0.3),
    },
    build_watch,
)
