"""A `Drawing` as a shop's product photo: colours, soft light from the upper left, a contact shadow."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from mlrm.procedural.drawing import Drawing, Part, Stroke, label_map, visible_strokes

Colour = tuple[int, int, int]
_SUPERSAMPLE = 2
_FLAT = 200  # grey level of a surface that faces the viewer; more is highlight, less is shade
_SHADOW = 90  # grey levels that a part's shadow takes from what lies right behind it

# Lookup tables for `Image.point`, indexed by grey level.
_TO_FACTOR = [min(255, v * 255 // _FLAT) for v in range(256)]
_TO_SHINE = [max(0, v - _FLAT) for v in range(256)]
_TO_MASK = [0] + [255] * 255
_TO_SHADOW = [v * _SHADOW // 255 for v in range(256)]
_RAMP = [_FLAT + 10 - v * 26 // 255 for v in range(256)]

_DYES: tuple[Colour, ...] = (
    (46, 44, 46),
    (70, 72, 78),
    (128, 130, 134),
    (200, 200, 198),
    (236, 233, 226),
    (214, 196, 166),
    (176, 128, 82),
    (120, 76, 48),
    (82, 52, 38),
    (150, 36, 40),
    (200, 70, 60),
    (222, 120, 62),
    (226, 184, 76),
    (92, 110, 70),
    (48, 84, 70),
    (64, 128, 132),
    (84, 132, 184),
    (44, 66, 112),
    (36, 42, 66),
    (104, 74, 128),
    (206, 134, 150),
    (224, 190, 190),
    (150, 170, 160),
)
_WOODS: tuple[Colour, ...] = (
    (206, 168, 118), (176, 128, 80), (132, 86, 52), (88, 58, 40), (58, 46, 42), (226, 214, 196), (60, 62, 66),
)  # fmt: skip
_METALS: tuple[Colour, ...] = ((190, 192, 198), (204, 174, 110), (110, 108, 112), (206, 150, 124))
MATERIALS = (
    "main",
    "second",
    "accent",
    "wood",
    "metal",
    "sole",
    "heel",
    "lining",
    "lace",
    "dark",
    "shade",
    "glass",
    "smoke",
    "strap",
    "hand",
)
_GLOSSY = frozenset({"metal", "glass", "smoke", "main", "heel"})


def paint(drawing: Drawing, generator: np.random.Generator, size: int) -> Image.Image:
    """RGB photo `size` x `size` of a drawing; colours, placement and light come from `generator`."""
    palette = _palette(generator)
    placed = _place(drawing, generator)
    backdrop = generator.uniform(236, 255), generator.uniform(224, 255)
    gloss = float(generator.uniform(0.15, 1.0))
    canvas = size * _SUPERSAMPLE

    labels = label_map(placed, canvas)
    strokes = visible_strokes(placed, np.asarray(labels))
    surface = _surface(placed, labels, strokes, palette)
    light = _light(placed, labels, gloss)
    lit = ImageChops.multiply(surface, _grey(light.point(_TO_FACTOR)))
    lit = ImageChops.add(lit, _grey(light.point(_TO_SHINE))).reduce(_SUPERSAMPLE)

    # Around the product `lit` is white; take away what the backdrop lacks of it, edges by share.
    silhouette = labels.point(_TO_MASK).reduce(_SUPERSAMPLE)
    lack = ImageChops.multiply(ImageChops.invert(_background(silhouette, backdrop)), ImageChops.invert(silhouette))
    picture = ImageChops.subtract(lit, _grey(lack))
    noise = generator.normal(0.0, 1.3, size=(size, size, 1))
    return Image.fromarray(np.clip(np.asarray(picture) + noise + 0.5, 0, 255).astype(np.uint8))


def _grey(channel: Image.Image) -> Image.Image:
    return Image.merge("RGB", [channel] * 3)


def _palette(generator: np.random.Generator) -> dict[str, Colour]:
    main, second, accent = (_DYES[i] for i in generator.choice(len(_DYES), size=3, replace=False))
    if generator.random() < 0.35:  # tone in tone: the eye has only seams and shading to go by
        shift = 0.82 if sum(main) > 300 else 1.3
        second = (int(main[0] * shift) + 4, int(main[1] * shift) + 4, int(main[2] * shift) + 4)
    sole = ((238, 236, 230), (52, 50, 50), (196, 160, 112), accent)[int(generator.integers(4))]
    wood = _WOODS[int(generator.integers(len(_WOODS)))]
    metal = _METALS[int(generator.integers(len(_METALS)))]
    return {
        "main": main, "second": second, "accent": accent, "wood": wood, "metal": metal, "sole": sole,
        "heel": main if generator.random() < 0.6 else wood, "lining": (92, 84, 78), "dark": (48, 46, 48),
        "lace": (238, 238, 234) if sum(second) < 480 else (70, 68, 70),
        "shade": ((244, 238, 222), (232, 214, 180), main)[int(generator.integers(3))],
        "glass": (214, 226, 230), "smoke": (74, 70, 72), "strap": second,
        "hand": (40, 40, 44) if sum(main) > 330 else (232, 232, 228),
    }  # fmt: skip


def _place(drawing: Drawing, generator: np.random.Generator) -> Drawing:
    fitted = drawing.fitted(float(generator.uniform(0.72, 0.88)))
    low, high = fitted.bounds()
    room = np.minimum(low, 1 - high) - 0.03
    shift = generator.uniform(-1.0, 1.0, size=2) * np.minimum(room, 0.06)
    return fitted.mapped(lambda curve: curve + shift, 1.0)


def _surface(drawing: Drawing, labels: Image.Image, strokes: list[Stroke], palette: dict[str, Colour]) -> Image.Image:
    """The colours without light: a colour for each part, and its seams and pattern lines."""
    colours = [(255, 255, 255), *(palette[part.material] for part in drawing.parts)]
    flat = labels.copy()
    flat.putpalette([channel for colour in colours for channel in colour])
    surface = flat.convert("RGB")
    draw = ImageDraw.Draw(surface)
    size = labels.width
    for stroke in strokes:
        if stroke.width == 0.0:  # an outline: light and colour show it already
            continue
        colour = colours[stroke.part + 1]
        bright = sum(colour) > 200
        width = max(2, round(stroke.width * size))
        raised = [round(v * 0.85 + 38) for v in colour]
        groove = [round(v * 0.55) for v in colour] if bright else [v + 42 for v in colour]
        points = stroke.curve * size
        draw.line((points + 0.6 * width).ravel().tolist(), fill=tuple(raised), width=width)
        draw.line(points.ravel().tolist(), fill=tuple(groove), width=width)
    return surface


def _light(drawing: Drawing, labels: Image.Image, gloss: float) -> Image.Image:
    """How bright each pixel is, `_FLAT` facing the viewer: parts round off at their edges."""
    size = labels.width
    light = Image.linear_gradient("L").resize((size, size)).point(_RAMP)
    members = [[i for i, other in enumerate(drawing.parts) if other.root == root] for root in range(len(drawing.parts))]
    for index, part in enumerate(drawing.parts):
        box, relief, near = _relief(part, size, gloss if part.material in _GLOSSY else 0.1)
        region = labels.crop(box)
        table = [0] * 256
        for member in members[index] if part.root == index else [index]:
            table[member + 1] = 255
        # The part's own soft shadow falls on whatever was painted before it, then its surface covers it.
        light.paste(_FLAT - _SHADOW, box, near.point(_TO_SHADOW))
        if part.root == index:
            light.paste(relief, box, region.point(table))
        else:
            light.paste(ImageChops.add(light.crop(box), relief, 1, -_FLAT), box, region.point(table))
    light.paste(_FLAT, (0, 0), ImageChops.invert(labels.point(_TO_MASK)))
    return light


def _relief(part: Part, size: int, gloss: float) -> tuple[tuple[int, int, int, int], Image.Image, Image.Image]:
    """Box of the part on the canvas, its shading there, and its blurred mask (for the shadow it casts)."""
    coarse = _SUPERSAMPLE  # shading is smooth: half the canvas's resolution will do
    scale = size / coarse
    points = part.outline * scale
    radius = max(0.8, part.bulge * scale * 0.6)
    pad = 6
    left, top = (np.floor(points.min(axis=0)) - pad).astype(int).tolist()
    right, bottom = (np.ceil(points.max(axis=0)) + pad).astype(int).tolist()
    limit = size // coarse  # a panel may reach, or even lie, beyond the picture
    left, top = min(max(left, 0), limit - 2), min(max(top, 0), limit - 2)
    right, bottom = min(max(right, left + 2), limit), min(max(bottom, top + 2), limit)
    mask = Image.new("L", (right - left, bottom - top), 0)
    ImageDraw.Draw(mask).polygon((points - [left, top]).ravel().tolist(), fill=255, outline=255)
    soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32) / 255
    slope = np.zeros_like(soft)
    slope[:, 1:-1] += (soft[:, 2:] - soft[:, :-2]) * 0.8
    slope[1:-1] += soft[2:] - soft[:-2]
    slope *= radius  # the step at an edge has the same height whatever the radius
    shine = np.clip(slope - 0.25, 0.0, None) ** 2 * 90 * gloss
    relief = _FLAT + np.where(slope > 0, 30, 85) * slope + shine
    box = left * coarse, top * coarse, right * coarse, bottom * coarse
    full = (box[2] - box[0], box[3] - box[1])
    shaded = Image.fromarray(np.clip(relief, 60, 255).astype(np.uint8)).resize(full, Image.Resampling.BILINEAR)
    near = mask.filter(ImageFilter.BoxBlur(2)).resize(full, Image.Resampling.BILINEAR)
    return box, shaded, near


def _background(silhouette: Image.Image, levels: tuple[float, float]) -> Image.Image:
    """A light grey backdrop with the silhouette's shadow flattened onto the floor."""
    size = silhouette.width
    ramp = np.linspace(levels[0], min(levels), size, dtype=np.float32)[:, None].repeat(size, axis=1)
    left, top, right, bottom = silhouette.getbbox() or (0, 0, size, size)
    depth = max(6, (bottom - top) // 9)
    cast = Image.new("L", (size, size), 0)
    cast.paste(
        silhouette.crop((left, top, right, bottom)).resize((right - left, depth)),
        (left, bottom - depth * 2 // 3),
    )
    wide = cast.filter(ImageFilter.GaussianBlur(size / 42))
    close = silhouette.crop((left, bottom - depth // 2, right, bottom)).resize((right - left, max(3, depth // 3)))
    contact = Image.new("L", (size, size), 0)
    contact.paste(close, (left, bottom - 2))
    contact = contact.filter(ImageFilter.GaussianBlur(size / 110))
    shadow: NDArray[np.float32] = (
        np.asarray(wide, dtype=np.float32) * 0.24 + np.asarray(contact, dtype=np.float32) * 0.26
    )
    return Image.fromarray(np.clip(ramp - shadow, 0, 255).astype(np.uint8))
