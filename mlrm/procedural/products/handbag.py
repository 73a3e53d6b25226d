"""A handbag seen from the front."""

# ruff: noqa: RUF005 (curve + [dx, dy] moves a curve; nothing is concatenated)

import numpy as np

from mlrm.procedural.drawing import Drawing
from mlrm.procedural.parameters import Category, Choice, Range, Whole
from mlrm.procedural.shapes import (
    Curve,
    arc,
    box,
    closed_line,
    ellipse,
    inset,
    join,
    portion,
    ribbon,
    rounded,
    spline,
)


def _chain(d: Drawing, curve: Curve, links: int) -> None:
    step = 1.0 / links
    for i in range(links):
        d.part(ribbon(portion(curve, i * step, (i + 1.25) * step if i < links - 1 else 1.0, count=4),
                      0.024 if i % 2 else 0.014), "metal", bulge=0.008)  # fmt: skip


def build_handbag(
    *,
    height: float,
    top_width: float,
    bottom_width: float,
    corner: float,
    sag: float,
    handle: str,
    handle_height: float,
    handle_width: float,
    handle_span: float,
    flap: str,
    flap_depth: float,
    clasp: str,
    surface: str,
    density: int,
    pocket: str,
    gusset: float,
    trim: str,
) -> Drawing:
    """A handbag, from clutch to shopper."""
    d = Drawing()
    top, low = 0.0, height
    left, right = -top_width / 2, top_width / 2
    side = bottom_width / 2
    ear = handle_span * top_width / 2
    loop = spline(
        [
            (-ear, top + 0.06),
            (-ear * 0.96, top - 0.55 * handle_height),
            (-0.5 * ear, top - 0.94 * handle_height),
            (0.0, top - handle_height),
            (0.5 * ear, top - 0.94 * handle_height),
            (ear * 0.96, top - 0.55 * handle_height),
            (ear, top + 0.06),
        ]
    )
    if handle == "two":
        d.part(ribbon(loop * [0.9, 1.0] + [0.02, -0.04], handle_width), "second", bulge=0.012)
    elif handle == "shoulder":
        sling = spline(
            [
                (left, top + 0.05),
                (0.75 * left, top - 0.6 * handle_height),
                (0.0, top - 1.25 * handle_height),
                (0.75 * right, top - 0.6 * handle_height),
                (right, top + 0.05),
            ]
        )
        d.part(ribbon(sling, 0.65 * handle_width), "second", bulge=0.01)
    if gusset > 0.02:
        wing = join(
            spline([(left, 0.06), (left - gusset, 0.25 * low), (-side - gusset, 0.8 * low), (-side, low - 0.02)]),
            spline([(side, low - 0.02), (side + gusset, 0.8 * low), (right + gusset, 0.25 * low), (right, 0.06)]),
        )
        d.part(wing, "second", bulge=0.02)
    rim = arc((left, top), (right, top), sag)
    outline = rounded(join(rim[1:-1:4], [(right, top), (side, low), (-side, low), (left, top)]),
                      [0.02] * len(rim[1:-1:4]) + [0.02, corner, corner, 0.02])  # fmt: skip
    body = d.part(outline, "main", bulge=0.05)
    _surface(d, body, surface, density, max(top_width, bottom_width), low)
    if trim == "corners":
        for way in (-1, 1):
            d.panel(body, ellipse((way * side, low), 0.14, 0.14), "second", bulge=0.01)
    elif trim == "base":
        base = d.panel(body, box(-1.0, 0.78 * low, 1.0, low + 0.1), "second", bulge=0.015)
        d.line(base, [(-1.0, 0.78 * low + 0.015), (1.0, 0.78 * low + 0.015)])
    elif trim == "stitch":
        d.line(body, closed_line(inset(outline, 0.025)))
    if pocket != "none":
        wide, high = 0.3 * bottom_width, 0.36 * low
        face = box(-wide, low - high - 0.06, wide, low - 0.06, 0.05)
        front = d.part(face, "main", bulge=0.015)
        if pocket == "zip":
            d.line(front, [(-wide, low - high - 0.02), (wide, low - high - 0.02)], optional=False)
            d.panel(front, box(wide - 0.06, low - high - 0.035, wide - 0.045, low - high + 0.05, 0.006), "metal")
        else:
            d.line(front, closed_line(inset(face, 0.018)))
    if flap != "none":
        reach = flap_depth * low
        edge = {
            "straight": rounded(
                [(right, 0.0), (right - 0.01, reach), (left + 0.01, reach), (left, 0.0)], [0, 0.06, 0.06, 0]
            ),
            "curved": arc((right, 0.3 * reach), (left, 0.3 * reach), 0.45 * reach / top_width),
            "pointed": rounded(
                [(right, 0.3 * reach), (0.0, 1.15 * reach), (left, 0.3 * reach), (0.0, -0.1)],
                [0.02, 0.08, 0.02, 0],
            ),
            "tab": rounded([(0.11, 0.0), (0.09, reach), (-0.09, reach), (-0.11, 0.0)], [0, 0.08, 0.08, 0]),
        }[flap]
        cover = join(rim - [0.0, 0.012], edge)
        if flap == "tab":
            cover = join([(-0.11, -0.012), (0.11, -0.012)], edge)
        elif flap == "pointed":
            cover = join(rim - [0.0, 0.012], edge[:21])
        lid = d.part(cover, "main" if density % 2 else "second", bulge=0.025)
        d.line(lid, closed_line(inset(cover, 0.02)))
        at = np.array([0.0, {"straight": 0.9, "curved": 1.02, "pointed": 0.85, "tab": 0.72}[flap] * reach])
    else:
        d.line(body, rim + [0.0, 0.03], optional=False)
        at = np.array([0.0, 0.05 + sag * top_width])
    _clasp(d, clasp, at)
    if handle in ("one", "two"):
        d.part(ribbon(loop, handle_width), "second", bulge=0.012)
        for way in (-1, 1):
            foot = box(way * ear - 0.035, top + 0.02, way * ear + 0.035, top + 0.13, 0.025)
            tab = d.part(foot, "second", bulge=0.01)
            d.line(tab, closed_line(inset(foot, 0.01)))
            d.part(ellipse((way * ear, top + 0.03), 0.02, 0.02, steps=16), "metal", bulge=0.008, optional=True)
    elif handle == "chain":
        _chain(d, loop, 22)
    return d


def _surface(d: Drawing, on: int, kind: str, density: int, width: float, height: float) -> None:
    step = width / (density + 3)
    reach = width + height
    if kind == "quilted":
        for offset in np.arange(-reach, reach, step * 1.3):
            d.line(on, [(offset, -0.1), (offset + reach, reach - 0.1)])
            d.line(on, [(offset, -0.1), (offset - reach, reach - 0.1)])
    elif kind == "stripes":
        for x in np.arange(-width, width, 2 * step) + step / 2:
            d.panel(on, box(x, -0.2, x + step, height + 0.2), "accent", bulge=0.003)
    elif kind == "woven":
        for i, y in enumerate(np.arange(0.0, height, step)):
            d.line(on, [(-width, y), (width, y)])
            for x in np.arange(-width, width, 2 * step) + (i % 2) * step:
                d.line(on, [(x, y), (x, y + step)])
    elif kind == "panels":
        for x in (-0.25, 0.25):
            d.line(on, arc((x * width * 0.8, -0.1), (x * width, height + 0.1), 0.05 * np.sign(x)), optional=False)
    elif kind == "dots":
        for i, y in enumerate(np.arange(0.5 * step, height, 1.4 * step)):
            for x in np.arange(-width, width, 1.6 * step) + (i % 2) * 0.8 * step:
                d.panel(on, ellipse((x, y), 0.24 * step, 0.24 * step, steps=14), "accent", bulge=0.003)


def _clasp(d: Drawing, kind: str, at: Curve) -> None:
    if kind == "lock":
        d.part(
            rounded(at + [(-0.04, -0.04), (0.04, -0.04), (0.05, 0.05), (-0.05, 0.05)], 0.012),
            "metal",
            bulge=0.01,
        )
        d.part(ellipse(at + [0.0, 0.01], 0.013, 0.013, steps=12), "dark", bulge=0.004)
    elif kind == "turn":
        d.part(ellipse(at, 0.055, 0.03), "metal", bulge=0.01)
        d.part(box(at[0] - 0.01, at[1] - 0.024, at[0] + 0.01, at[1] + 0.024, 0.008), "dark", bulge=0.006)
    elif kind == "ring":
        d.part(ellipse(at, 0.05, 0.05), "metal", bulge=0.01)
        d.part(ellipse(at, 0.033, 0.033), "second", bulge=0.01)
    elif kind == "belt":
        d.part(box(at[0] - 0.04, at[1] - 0.1, at[0] + 0.04, at[1] + 0.16, 0.03), "second", bulge=0.01)
        d.part(box(at[0] - 0.06, at[1] - 0.04, at[0] + 0.06, at[1] + 0.04, 0.015), "metal", bulge=0.008)
        d.part(box(at[0] - 0.04, at[1] - 0.02, at[0] + 0.04, at[1] + 0.02, 0.01), "second", bulge=0.008)
    elif kind == "tassel":
        d.part(ribbon([at, at + [0.01, 0.06], at + [0.0, 0.1]], 0.014), "second", bulge=0.006)
        fringe = d.part(
            rounded(at + [(-0.02, 0.1), (0.02, 0.1), (0.04, 0.26), (-0.04, 0.26)], 0.012),
            "accent",
            bulge=0.015,
        )
        for x in (-0.015, 0.0, 0.015):
            d.line(fringe, [at + [0.4 * x, 0.12], at + [1.4 * x, 0.26]])


HANDBAG = Category(
    "handbag",
    {
        "height": Range(0.42, 0.8),
        "top_width": Range(0.6, 1.0),
        "bottom_width": Range(0.7, 1.05),
        "corner": Range(0.03, 0.28),
        "sag": Range(-0.04, 0.06),
        "handle": Choice("one", "two", "two", "shoulder", "chain", "none"),
        "handle_height": Range(0.2, 0.5),
        "handle_width": Range(0.03, 0.06),
        "handle_span": Range(0.35, 0.75),
        "flap": Choice("none", "none", "straight", "curved", "pointed", "tab"),
        "flap_depth": Range(0.35, 0.7),
        "clasp": Choice("none", "lock", "turn", "ring", "belt", "tassel"),
        "surface": Choice("plain", "plain", "quilted", "stripes", "woven", "panels", "dots"),
        "density": Whole(3, 7),
        "pocket": Choice("none", "none", "zip", "patch"),
        "gusset": Range(-0.04, 0.1),
        "trim": Choice("none", "corners", "base", "stitch"),
    },
    build_handbag,
)
