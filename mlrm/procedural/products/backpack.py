"""A backpack seen from the front."""

# ruff: noqa: RUF005 (curve + [dx, dy] moves a curve; nothing is concatenated)

import numpy as np

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.parameters import Category, Choice, Range, Whole
from mlrm.procedural.shapes import (
    arc,
    box,
    closed_line,
    ellipse,
    inset,
    join,
    parallel,
    ribbon,
    rounded,
    spline,
)


def build_backpack(
    *,
    height: float,
    width: float,
    shoulder: float,
    waist: float,
    pocket: str,
    pocket_height: float,
    pocket_width: float,
    lid: str,
    lid_depth: float,
    straps: int,
    buckle: str,
    side_pocket: float,
    handle: float,
    mesh: str,
    cord: str,
    patch: str,
    base: float,
) -> Drawing:
    """A backpack."""
    d = Drawing()
    half, low = width / 2, height
    for way in (-1, 1):
        hang = spline([(way * 0.35 * half, 0.03), (way * 0.9 * half, 0.02), (way * (half + 0.06), 0.3 * low),
                       (way * (half + 0.05), 0.6 * low), (way * 0.9 * half, 0.9 * low)])  # fmt: skip
        d.part(ribbon(hang, 0.06, 0.03), "second", bulge=0.012)
    grip = spline([(-0.1, 0.02), (-0.085, -0.5 * handle), (0.0, -handle), (0.085, -0.5 * handle), (0.1, 0.02)])
    d.part(ribbon(grip, 0.028), "second", bulge=0.01)
    if side_pocket > 0.02:
        for way in (-1, 1):
            bottle = spline(
                [
                    (way * 0.9 * half, 0.6 * low),
                    (way * (half + side_pocket), 0.62 * low),
                    (way * (half + 1.1 * side_pocket), 0.85 * low),
                    (way * 0.85 * half, 0.97 * low),
                ]
            )
            net = d.part(bottle, "second", bulge=0.02)
            d.line(net, parallel(bottle, -0.02)[:12])
    right = spline([(0.0, 0.0), (shoulder * half, 0.01), (0.97 * half, 0.2 * low), (half * waist, 0.55 * low),
                    (half, 0.85 * low), (0.9 * half, 0.98 * low), (0.0, low)])  # fmt: skip
    outline = join(right, right[::-1][1:-1] * [-1.0, 1.0])
    body = d.part(outline, "main", bulge=0.08)
    if base > 0.05:
        bottom = d.panel(body, box(-1.0, low * (1 - base), 1.0, low + 0.1), "second", bulge=0.02)
        d.line(bottom, [(-1.0, low * (1 - base) + 0.014), (1.0, low * (1 - base) + 0.014)])
    if mesh == "seams":
        for way in (-1, 1):
            d.line(body, right * [way * 0.78, 1.0], optional=False)
    elif mesh == "yoke":
        d.line(body, arc((-half, 0.28 * low), (half, 0.28 * low), 0.12), optional=False)
        d.line(body, arc((-half, 0.31 * low), (half, 0.31 * low), 0.12))

    wide, p_low = pocket_width * half, low - 0.05
    p_top = p_low - pocket_height * low
    if pocket != "none":
        _pocket(d, pocket, wide, p_top, p_low, "main" if straps % 2 else "second")
    reach = lid_depth * low
    if lid == "zip":
        track = right[right[:, 1] < 0.55 * low] * [0.88, 1.0] + [0.0, 0.05]
        d.line(body, join(track[::-1] * [-1.0, 1.0], track[1:]), width=0.01, optional=False)
        d.panel(
            body,
            box(track[-1, 0] - 0.01, track[-1, 1], track[-1, 0] + 0.012, track[-1, 1] + 0.07, 0.006),
            "metal",
        )
    else:
        if lid == "flap":
            cover = rounded(
                [(-0.96 * half, 0.02), (0.96 * half, 0.02), (0.98 * half, reach), (-0.98 * half, reach)],
                [0.12, 0.12, 0.1, 0.1],
            )
        elif lid == "roll":
            cover = box(-1.02 * half, -0.05, 1.02 * half, 0.4 * reach, 0.04)
        else:
            cover = join(arc((-0.98 * half, 0.2 * low), (0.98 * half, 0.2 * low), -0.1),
                         spline([(0.98 * half, 0.2 * low), (0.5 * half, 0.95 * reach), (0.0, reach + 0.05),
                                 (-0.5 * half, 0.95 * reach), (-0.98 * half, 0.2 * low)]))  # fmt: skip
            cover[:16, 1] -= 0.16 * low
        flap = d.part(cover, "main", bulge=0.04)
        d.line(flap, closed_line(inset(cover, 0.022)))
        if lid == "roll":
            d.line(flap, [(-1.1 * half, 0.08), (1.1 * half, 0.08)], optional=False)
        for x in (np.arange(straps) - (straps - 1) / 2) * 1.0 * half / max(straps - 1, 1):
            start = 0.1 * low if lid != "roll" else -0.05
            stop = min((reach if lid != "roll" else 0.4 * reach) + 0.17, p_low - 0.02)
            band = d.part(box(x - 0.026, start, x + 0.026, stop, 0.02), "second", bulge=0.008)
            d.line(band, [(x, start), (x, stop - 0.08)])
            y = stop - 0.09
            _buckle(d, buckle, x, y)
    if cord == "bungee" and pocket == "none":
        line = np.array([(0.5 * half * (-1) ** i, (0.45 + 0.09 * i) * low) for i in range(6)])
        d.part(ribbon(line, 0.012), "accent", bulge=0.004, spine=line)
    if patch != "none":
        at = np.array([0.0, 0.5 * (p_top + p_low) + 0.07 if pocket != "none" else 0.66 * low])
        badge = ellipse(at, 0.06, 0.06) if patch == "round" else box(-0.08, at[1] - 0.04, 0.08, at[1] + 0.04, 0.012)
        label = d.part(badge, "accent", bulge=0.006)
        d.line(label, closed_line(inset(badge, 0.012)))
        d.line(
            label,
            spline([at + [-0.035, 0.02], at + [0.0, -0.025], at + [0.035, 0.02]]),
        )
    return d


def _pocket(d: Drawing, kind: str, half: float, top: float, low: float, material: str) -> None:
    shape = {
        "square": box(-half, top, half, low, 0.05),
        "arch": join(
            [(half, low), (-half, low)],
            spline(
                [
                    (-half, top + 0.12),
                    (-0.7 * half, top + 0.02),
                    (0.0, top),
                    (0.7 * half, top + 0.02),
                    (half, top + 0.12),
                ]
            ),
        ),
        "two": box(-half, top, half, low, 0.05),
    }[kind]
    face = d.part(shape, material, bulge=0.03)
    if kind == "arch":
        d.line(face, closed_line(inset(shape, 0.03)), optional=False)
    else:
        fold = 0.07 if kind == "square" else 0.0
        d.line(face, [(-half, top + 0.05 + fold), (half, top + 0.05 + fold)], width=0.009, optional=False)
        d.panel(
            face,
            box(0.7 * half, top + 0.045 + fold, 0.7 * half + 0.016, top + 0.12 + fold, 0.006),
            "metal",
        )
    if kind == "two":
        middle = (top + low) / 2 + 0.03
        d.line(face, [(-half, middle), (half, middle)], width=0.009, optional=False)
        d.panel(face, box(-0.7 * half, middle - 0.006, -0.7 * half + 0.016, middle + 0.07, 0.006), "metal")


def _buckle(d: Drawing, kind: str, x: float, y: float) -> None:
    if kind == "frame":
        d.part(box(x - 0.042, y - 0.03, x + 0.042, y + 0.03, 0.01), "metal", bulge=0.008)
        d.part(box(x - 0.025, y - 0.016, x + 0.025, y + 0.016, 0.006), "second", bulge=0.008)
    elif kind == "clip":
        d.part(
            rounded(
                [
                    (x - 0.036, y - 0.035),
                    (x + 0.036, y - 0.035),
                    (x + 0.03, y + 0.04),
                    (x - 0.03, y + 0.04),
                ],
                0.012,
            ),
            "dark",
            bulge=0.01,
        )
    else:
        d.part(ellipse((x, y + 0.04), 0.018, 0.018, steps=16), "metal", bulge=0.008)


BACKPACK = Category(
    "backpack",
    {
        "height": Range(0.78, 1.2),
        "width": Range(0.58, 0.88),
        "shoulder": Range(0.35, 0.75),
        "waist": Range(0.94, 1.06),
        "pocket": Choice("none", "square", "arch", "two"),
        "pocket_height": Range(0.28, 0.45),
        "pocket_width": Range(0.55, 0.85),
        "lid": Choice("zip", "zip", "flap", "pointed", "roll"),
        "lid_depth": Range(0.32, 0.5),
        "straps": Whole(1, 3),
        "buckle": Choice("frame", "clip", "stud"),
        "side_pocket": Range(-0.05, 0.12),
        "handle": Range(0.05, 0.13),
        "mesh": Choice("plain", "seams", "yoke"),
        "cord": Choice("none", "bungee"),
        "patch": Choice("none", "round", "square"),
        "base": Range(-0.1, 0.3),
    },
    build_backpack,
)
