"""Plane curves that products are drawn from: arrays of points, x to the right and y down, in product units.

Every function takes and gives `[N, 2]` float64 arrays (*curves*). A closed curve doesn't repeat its first
point.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Curve = NDArray[np.float64]  # [N, 2]
Points = Sequence[ArrayLike] | Curve  # the same, or a list of points


def spline(points: Points, *, closed: bool = False, steps: int = 10) -> Curve:
    """Smooth curve (Catmull-Rom) through `points` `[N, 2]`, `steps` samples between two neighbours."""
    knots = np.asarray(points, dtype=np.float64)
    if closed:
        padded = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    t = (np.arange(steps) / steps)[None, :, None]
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-1:]])


def arc(start: ArrayLike, stop: ArrayLike, sag: float, *, steps: int = 16) -> Curve:
    """Parabolic arc between two points; its middle lies `sag` chord lengths to the right of its way."""
    a, b = np.asarray(start, dtype=np.float64), np.asarray(stop, dtype=np.float64)
    t = np.linspace(0.0, 1.0, steps)[:, None]
    normal = np.array([a[1] - b[1], b[0] - a[0]])
    return a + (b - a) * t + normal * (4 * sag) * t * (1 - t)


def ellipse(
    centre: ArrayLike, rx: float, ry: float, start: float = 0.0, stop: float = 360.0, *, steps: int = 40
) -> Curve:
    """Ellipse, or its part between two angles in degrees (0 is to the right, 90 is down)."""
    whole = abs(stop - start) >= 360.0
    angle = np.radians(np.linspace(start, stop, steps, endpoint=not whole))
    return np.asarray(centre) + np.stack([rx * np.cos(angle), ry * np.sin(angle)], axis=1)


def rounded(points: Points, radius: float | ArrayLike, *, steps: int = 7) -> Curve:
    """Closed polygon whose corners are rounded; `radius`: one for all corners or one for each."""
    corners = np.asarray(points, dtype=np.float64)
    radii = np.broadcast_to(np.asarray(radius, dtype=np.float64), (len(corners),))
    t = np.linspace(0.0, 1.0, steps)[:, None]
    pieces = []
    for i, corner in enumerate(corners):
        before, after = corners[i - 1] - corner, corners[(i + 1) % len(corners)] - corner
        lengths = np.linalg.norm(before), np.linalg.norm(after)
        start = corner + before * min(radii[i] / lengths[0], 0.5)
        stop = corner + after * min(radii[i] / lengths[1], 0.5)
        pieces.append((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * stop)
    return np.concatenate(pieces)


def box(left: float, top: float, right: float, bottom: float, radius: float = 0.0) -> Curve:
    """Axis-aligned rectangle with rounded corners."""
    return rounded([(left, top), (right, top), (right, bottom), (left, bottom)], radius)


def join(*curves: Points) -> Curve:
    """Curves one after the other; where one ends and the next begins there is a corner."""
    return np.concatenate([np.asarray(curve, dtype=np.float64).reshape(-1, 2) for curve in curves])


def resample(curve: Curve, count: int) -> Curve:
    """`count` points at equal arc length along an open curve, both ends included."""
    length = arc_length(curve)
    at = np.linspace(0.0, length[-1], count)
    return np.stack([np.interp(at, length, curve[:, 0]), np.interp(at, length, curve[:, 1])], axis=1)


def arc_length(curve: Curve) -> NDArray[np.float64]:
    """Length of the way from the first point to each point, `[N]`."""
    steps = curve[1:] - curve[:-1]
    return np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])


def point_at(curve: Curve, fraction: float) -> Curve:
    """The point `[2]` at a fraction (0..1) of the curve's length."""
    length = arc_length(curve)
    at = fraction * length[-1]
    return np.array([np.interp(at, length, curve[:, 0]), np.interp(at, length, curve[:, 1])])


def portion(curve: Curve, start: float, stop: float, *, count: int = 24) -> Curve:
    """The part of an open curve between two fractions of its length."""
    length = arc_length(curve)
    at = np.linspace(start, stop, count) * length[-1]
    return np.stack([np.interp(at, length, curve[:, 0]), np.interp(at, length, curve[:, 1])], axis=1)


def mix(first: Curve, second: Curve, fraction: float, *, count: int = 32) -> Curve:
    """Curve between two open curves: 0 is the first, 1 is the second."""
    between: Curve = (1 - fraction) * resample(first, count) + fraction * resample(second, count)
    return between


def tangents(curve: Curve) -> Curve:
    """Unit tangents `[N, 2]` of an open curve."""
    ahead = np.concatenate([curve[1:], curve[-1:]]) - np.concatenate([curve[:1], curve[:-1]])
    unit: Curve = ahead / np.maximum(np.hypot(ahead[:, 0], ahead[:, 1]), 1e-12)[:, None]
    return unit


def normals(curve: Curve) -> Curve:
    """Unit normals `[N, 2]` of an open curve, to the right of the way it goes (y down)."""
    tangent = tangents(curve)
    return np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)


def parallel(curve: Curve, distance: float) -> Curve:
    """Open curve moved sideways by `distance`, to the right of the way it goes."""
    return curve + normals(curve) * distance


def ribbon(curve: Points, width: float, end_width: float | None = None) -> Curve:
    """Closed outline of a band along an open curve, `width` at its start and `end_width` at its end."""
    spine = np.asarray(curve, dtype=np.float64)
    stop = width if end_width is None else end_width
    half = np.linspace(width, stop, len(spine))[:, None] / 2
    side = normals(spine) * half
    return np.concatenate([spine + side, (spine - side)[::-1]])


def turned(profile: Curve, centre: float = 0.0) -> Curve:
    """Outline of a turned (lathe) form: `profile` `[N, 2]` holds radius and y from top to bottom."""
    right = profile + np.array([centre, 0.0])
    left = profile[::-1] * [-1.0, 1.0] + np.array([centre, 0.0])
    return np.concatenate([right, left])


def radius_at(profile: Curve, y: float) -> float:
    """Radius of a lathe profile (see `turned`) at height `y`."""
    order = np.argsort(profile[:, 1], kind="stable")
    return float(np.interp(y, profile[order, 1], profile[order, 0]))


def closed_line(curve: Curve) -> Curve:
    """A closed curve as an open one that comes back to its first point."""
    return np.concatenate([curve, curve[:1]])


def inset(curve: Curve, distance: float) -> Curve:
    """A closed outline drawn `distance` inside (by scaling about its middle)."""
    middle = (curve.min(axis=0) + curve.max(axis=0)) / 2
    half = (curve.max(axis=0) - curve.min(axis=0)) / 2
    smaller: Curve = middle + (curve - middle) * (1 - distance / half)
    return smaller


def hull(points: Curve) -> Curve:
    """Convex hull of `[N, 2]` points as a closed curve (Andrew's monotone chain)."""
    ordered = sorted(map(tuple, points.tolist()))

    def chain(sequence: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
        out: list[tuple[float, ...]] = []
        for p in sequence:
            while len(out) > 1 and (
                (out[-1][0] - out[-2][0]) * (p[1] - out[-2][1]) <= (out[-1][1] - out[-2][1]) * (p[0] - out[-2][0])
            ):
                out.pop()
            out.append(p)
        return out[:-1]

    return np.array(chain(ordered) + chain(ordered[::-1]))
