"""Forms turned on a wheel or a lathe, seen from a little above, and what is painted on them."""

# ruff: noqa: RUF005 (curve + [dx, dy] moves a curve; nothing is concatenated)

import numpy as np
from numpy.typing import NDArray

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.shapes import (
    Curve,
    arc,
    ellipse,
    join,
    point_at,
    radius_at,
    spline,
)

TILT = 0.2  # height of a horizontal circle as seen, in parts of its width


def add_ring(d: Drawing, on: int, profile: Curve, y: float, *, optional: bool = True) -> None:
    """A horizontal line around a turned form."""
    radius = radius_at(profile, y)
    d.line(on, ellipse((0.0, y), radius, TILT * radius, 180, 0), optional=optional)


def add_belt(d: Drawing, on: int, profile: Curve, top: float, bottom: float, material: str) -> int:
    """A painted band around a turned form."""
    a, b = radius_at(profile, top), radius_at(profile, bottom)
    band = join(ellipse((0.0, top), 1.03 * a, TILT * a, 180, 0), ellipse((0.0, bottom), 1.03 * b, TILT * b, 0, 180))
    return d.panel(on, band, material, bulge=0.002)


def with_foot(profile: Curve) -> Curve:
    """Closes a profile with the round bottom that is seen from a little above."""
    radius, y = profile[-1]
    return join(profile, ellipse((0.0, y), radius, TILT * radius, 0, 90, steps=12))


def on_wall(profile: Curve, heights: NDArray[np.floating], angles: NDArray[np.floating]) -> Curve:
    """Points on the wall of a turned form; angle 0 faces the viewer, `heights` and `angles` are `[N]`."""
    radii = np.array([radius_at(profile, y) for y in heights])
    return np.stack([radii * np.sin(angles), heights + TILT * radii * np.cos(angles)], axis=1)


def decorate(d: Drawing, on: int, profile: Curve, kind: str, count: int, high: float, low: float) -> None:
    """Paints the wall of a turned form between two heights."""
    span = low - high
    width = max(radius_at(profile, y) for y in np.linspace(high, low, 5))
    if kind == "rings":
        for y in np.linspace(high, low, count + 1):
            add_ring(d, on, profile, y)
    elif kind == "belt":
        add_belt(d, on, profile, high + 0.3 * span, high + 0.7 * span, "accent")
    elif kind == "belts":
        for y in np.linspace(high, low, count + 1):
            add_belt(d, on, profile, y, y + 0.4 * span / (count + 1), "accent")
    elif kind == "dipped":
        add_belt(d, on, profile, high + (0.3 + 0.06 * count) * span, low + 1.0, "accent")
    elif kind == "dots":
        for row, y in enumerate(np.linspace(high, low, max(2, count - 1))):
            radius = radius_at(profile, y)
            for angle in np.radians(np.arange(-75, 76, 30) + 15 * (row % 2)):
                at = radius * np.sin(angle), y + TILT * radius * np.cos(angle)
                d.panel(on, ellipse(at, 0.028 * max(np.cos(angle), 0.3), 0.028, steps=14), "accent", bulge=0.002)
    elif kind == "zigzag":
        for base in (high + 0.25 * span, high + 0.6 * span):
            angle = np.linspace(-np.pi / 2, np.pi / 2, 4 * count + 1)
            heights = base + 0.16 * span * (np.arange(len(angle)) % 2)
            d.line(
                on,
                on_wall(profile, heights, angle),
                width=0.012,
                optional=False,
            )
    elif kind == "flutes":
        heights = np.linspace(high - 0.05, low + 0.1, 14)
        for turn in np.linspace(-np.pi / 2, np.pi / 2, count + 4)[1:-1]:
            d.line(on, on_wall(profile, heights, np.full(14, turn)))
    elif kind == "leaf":
        root = np.array([0.0, low + TILT * width])
        stem = spline([root, root + [-0.04, -0.5 * span], root + [0.02, -span]])
        d.line(on, stem, width=0.009, optional=False)
        for i, u in enumerate(np.linspace(0.2, 1.0, count + 1)):
            base_point, way = point_at(stem, u), 1 if i % 2 else -1
            end = base_point + np.array([way * 0.42 * width, -0.16 * span])
            d.panel(on, join(arc(base_point, end, 0.22), arc(end, base_point, 0.22)), "accent", bulge=0.003)
    elif kind == "heart":
        size, middle = 0.3 * width, np.array([0.0, 0.5 * (high + low) + TILT * width])
        half = spline([(0.0, 0.75), (0.75, 0.0), (0.8, -0.5), (0.4, -0.75), (0.0, -0.4)])
        d.panel(on, middle + size * join(half, half[::-1] * [-1.0, 1.0]), "accent", bulge=0.003)
    elif kind == "check":
        decorate(d, on, profile, "rings", count, high, low)
        decorate(d, on, profile, "flutes", count, high, low)


def add_mouth(d: Drawing, radius: float, y: float, lip: float) -> None:
    """The open top of a vessel: rim and dark inside."""
    rim = d.part(ellipse((0.0, y), radius, TILT * radius), "main", bulge=0.006)
    d.panel(rim, ellipse((0.0, y), radius - lip, TILT * radius - 0.5 * lip), "lining", bulge=0.03)


DECOR = ("plain", "rings", "belt", "belts", "dipped", "dots", "zigzag", "flutes", "leaf", "check")
