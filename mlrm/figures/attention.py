"""Figure 4: where the regions of one model, or of two side by side, look; and how far they overlap and reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from mlrm.figures.pairs import Pictures, Seen
from mlrm.figures.style import FAINT, INK, RULE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TAKEN = 0.5
"""A cell is a region's from this value of its map on; of LAMA's and CAMA's that many as `threshold_cells` says."""
NOT_BACKGROUND = 24
"""Of 255: a pixel that differs more from the picture's border, in any channel, belongs to the object."""
CELL, HEAD, LINE = 1.12, 0.95, 0.19
"""Inches: a picture with its gap, the title above, a line of the legend below."""
LEGEND = (
    "in a map: the region's weight. overlap: of two regions, shared over joint.",
    "cells: of the grid, at least one region's. object: share of the ink, or of what",
    "stands before a photo's background, in these cells. Means over all {count} pairs.",
)


@dataclass(frozen=True)
class Reach:
    """Of maps [B, R, h, w], means over the images; all in 0..1."""

    overlap: float
    """Of two regions, shared over joint: sum of the smaller value over sum of the larger; 1 for equal maps."""
    cells: float
    """Share of the grid's cells that at least one region takes."""
    object: float
    """Share of the object (a drawing's ink, what stands before a photo's background) that lies in those cells."""

    def text(self) -> str:
        """For people."""
        return f"overlap {self.overlap:.2f}, cells {100 * self.cells:.0f} %, object {100 * self.object:.0f} %"


def reach(maps: Tensor, images: Sequence[Tensor]) -> Reach:
    """maps: [B, R, h, w] of B images, uint8 [3, size, size]."""
    regions, height, width = maps.shape[1:]
    pairs = torch.triu_indices(regions, regions, 1)
    first, second = maps[:, pairs[0]].flatten(2), maps[:, pairs[1]].flatten(2)
    shared = torch.minimum(first, second).sum(2) / torch.maximum(first, second).sum(2)
    taken = (maps >= TAKEN).any(1)  # [B, h, w]
    mass = torch.stack(
        [functional.adaptive_avg_pool2d(object_mask(image)[None].float(), (height, width))[0] for image in images]
    )
    held = (mass * taken).sum((1, 2)) / mass.sum((1, 2)).clamp_min(1e-12)
    return Reach(float(shared.mean()) if regions > 1 else 0.0, float(taken.double().mean()), float(held.mean()))


def object_mask(image: Tensor) -> Tensor:
    """Which pixels of an image, uint8 [3, H, W], differ from its border's median colour: bool [H, W]."""
    border = torch.cat([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], 1).float()
    background = border.median(1).values[:, None, None]
    return (image.float() - background).abs().amax(0) > NOT_BACKGROUND


def numbers(pictures: Pictures, seen: Seen) -> dict[str, Any]:
    """`Reach` over all sketches and over all photos, to five decimals: the rest differs between processors."""
    sides = {"sketches": (seen.sketches, pictures.sketches), "photos": (seen.photos, pictures.photos)}
    found = {side: asdict(reach(_maps(features.maps), images)) for side, (features, images) in sides.items()}
    return {side: {name: round(share, 5) for name, share in shares.items()} for side, shares in found.items()}


def _title(seen: Seen) -> str:
    return f"{seen.model.config.region_maps.upper()}, {seen.name}"


def draw(pictures: Pictures, models: Sequence[Seen], shown: Sequence[int]) -> Figure:
    """The maps of the sketches `shown` and of their photos, a row each; a block of columns for each model."""
    regions = [_maps(seen.photos.maps).shape[1] for seen in models]
    columns = 1 + sum(regions)
    gaps = len(models)
    rows = 2 * len(shown)
    width, height = (
        CELL * (columns + 0.35 * gaps) + 0.2,
        CELL * (rows + 0.12 * len(shown)) + HEAD + (len(LEGEND) + 2) * LINE,
    )
    figure = new_figure(width, height, constrained=False)

    def cell(row: int, column: int, gap: int) -> Axes:
        x = 0.1 + CELL * (column + 0.35 * gap)
        y = HEAD + CELL * (row + 0.12 * (row // 2))
        side = 0.94 * CELL
        axes = figure.add_axes((x / width, 1 - (y + side) / height, side / width, side / height))
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_color(RULE)
        return axes

    for place, number in enumerate(shown):
        own = pictures.photo_of[number]
        pair = (("sketch", pictures.sketches[number], number), ("photo", pictures.photos[own], own))
        for below, (side, image, index) in enumerate(pair):
            row = 2 * place + below
            cell(row, 0, 0).imshow(image.permute(1, 2, 0).numpy())
            column = 1
            for block, (seen, count) in enumerate(zip(models, regions, strict=True), start=1):
                features = seen.sketches if side == "sketch" else seen.photos
                for region in range(count):
                    axes = cell(row, column + region, block)
                    _overlay(axes, image, _maps(features.maps)[index, region])
                    weight = f"{features.region_weights[index, region]:.2f}"
                    axes.text(
                        0.96,
                        0.04,
                        weight,
                        transform=axes.transAxes,
                        ha="right",
                        va="bottom",
                        size=7.5,
                        color=INK,
                        bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1.2},
                    )
                column += count
    _headings(figure, pictures, models, regions, width, height)
    return figure


def _headings(
    figure: Figure, pictures: Pictures, models: Sequence[Seen], regions: Sequence[int], width: float, height: float
) -> None:
    column = 1
    for block, (seen, count) in enumerate(zip(models, regions, strict=True), start=1):
        x = (0.1 + CELL * (column + 0.35 * block)) / width
        figure.text(x, 1 - 0.12 / height, _title(seen), size=12, weight="bold", color=INK, va="top")
        for line, (side, found) in enumerate(numbers(pictures, seen).items()):
            text = f"{side}: {Reach(**found).text()}"
            figure.text(x, 1 - (0.4 + LINE * line) / height, text, size=8.5, color=FAINT, va="top")
        column += count
    top = (len(LEGEND) + 0.5) * LINE
    figure.text(0.1 / width, top / height, "attention of a region:  0", size=8, color=FAINT, va="center")
    bar = figure.add_axes((1.5 / width, (top - 0.06) / height, 1.1 / width, 0.12 / height))
    bar.imshow(torch.linspace(0, 1, 128)[None].numpy(), cmap="plasma", aspect="auto")
    bar.set_axis_off()
    figure.text(2.68 / width, top / height, "1", size=8, color=FAINT, va="center")
    for line, text in enumerate(LEGEND, start=1):
        note = text.format(count=len(pictures.sketches))
        figure.text(0.1 / width, (top - line * LINE) / height, note, size=8, color=FAINT, va="center")


def _overlay(axes: Axes, image: Tensor, region_map: Tensor) -> None:
    """One region map [h, w] over its image in grey: exact at its cells' centres, one colour one value everywhere."""
    grey = image.float().mean(0) / 255 * 0.75
    axes.imshow(grey.numpy(), cmap="gray", vmin=0, vmax=1)
    smooth = functional.interpolate(region_map[None, None], image.shape[1:], mode="bicubic")[0, 0].clamp(0, 1)
    ramp = (2 * smooth).clamp_max(1)
    opacity = 0.8 * ramp * ramp * (3 - 2 * ramp)
    axes.imshow(smooth.numpy(), cmap="plasma", vmin=0, vmax=1, alpha=opacity.numpy())


def _maps(maps: Tensor | None) -> Tensor:
    assert maps is not None  # what a model computes has them
    return maps.float()
