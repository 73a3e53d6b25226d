"""Furniture in parallel projection, seen from the front, the right and a little above.

Space: x to the right, y up, z away from the viewer; lengths in parts of about a metre.
"""

import numpy as np

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.parameters import Domain, Range
from mlrm.procedural.shapes import Curve, Points, hull, ribbon, rounded


class View:
    """Projects points of space `[N, 3]` into the plane of the picture."""

    def __init__(self, yaw: float, pitch: float) -> None:
        self._cos, self._sin = np.cos(yaw), np.sin(yaw)
        self._up, self._away = np.cos(pitch), np.sin(pitch)

    def __call__(self, points: Points) -> Curve:
        """Points of space `[N, 3]` -> points of the picture `[N, 2]`."""
        x, y, z = np.atleast_2d(np.asarray(points, dtype=np.float64)).T
        depth = z * self._cos - x * self._sin
        return np.stack([x * self._cos + z * self._sin, -y * self._up - depth * self._away], axis=1)


def flat(outline: Curve, y: float) -> Curve:
    """Lays a plane outline (x, z) down at height `y`: `[N, 2]` -> `[N, 3]`."""
    return np.stack([outline[:, 0], np.full(len(outline), y), outline[:, 1]], axis=1)


def add_slab(
    d: Drawing, view: View, outline: Curve, bottom: float, top: float, material: str, *, puff: float = 0.0
) -> int:
    """A horizontal plate with plane outline `[N, 2]` (x, z); returns the index of its top."""
    upper, lower = view(flat(outline, top)), view(flat(outline, bottom))
    side = d.part(hull(np.concatenate([upper, lower])), material, bulge=0.015 + puff)
    return d.panel(side, upper, material, bulge=0.02 + puff)


def add_upright(
    d: Drawing,
    view: View,
    outline: Curve,
    z: float,
    depth: float,
    material: str,
    *,
    lean: float = 0.0,
    base: float = 0.0,
    puff: float = 0.0,
) -> int:
    """An upright plate, outline `[N, 2]` (x, y), its front at `z`; returns the index of its front."""

    def plane(offset: float) -> Curve:
        return view(np.stack([outline[:, 0], outline[:, 1], z + offset + lean * (outline[:, 1] - base)], axis=1))

    body = d.part(hull(np.concatenate([plane(0.0), plane(depth)])), material, bulge=0.015 + puff)
    return d.panel(body, plane(0.0), material, bulge=0.02 + puff)


def add_bar(
    d: Drawing,
    view: View,
    points: Points,
    width: float,
    end_width: float | None = None,
    material: str = "wood",
) -> None:
    """A bar along points of space `[N, 3]`; its widths are those in the picture."""
    spine = view(points)
    if len(spine) == 2:
        spine = spine[0] + np.linspace(0.0, 1.0, 6)[:, None] * (spine[1] - spine[0])
    d.part(ribbon(spine, width, end_width), material, bulge=0.5 * width, spine=spine if width < 0.016 else None)


def rectangle(width: float, front: float, back: float, corner: float, taper: float = 0.0) -> Curve:
    """Plane outline (x, z) of a seat, narrower at the back by the share `taper`."""
    half, rear = width / 2, width / 2 * (1 - taper)
    return rounded([(-half, front), (half, front), (rear, back), (-rear, back)], corner)


# Where a piece of furniture is seen from, in radians; joins the parameters of each.
VIEW: dict[str, Domain] = {"yaw": Range(0.42, 0.68), "pitch": Range(0.2, 0.34)}
