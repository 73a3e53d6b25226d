"""`python -m mlrm.unfinished`: how good searches are while a sketch is being drawn."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from kernels import GalleryBlock, distance_topk
from mlrm.accuracy import Accuracy, accuracy, encode, ranks
from mlrm.checkpoint import SHIPPED, load
from mlrm.cli import data_option, errors_shown, progress_bar, run
from mlrm.datasets import read_pairs
from mlrm.decoding import decode, refuse_corrupt
from mlrm.devices import find_device
from mlrm.errors import ConfigError
from mlrm.features import Features
from mlrm.model import MLRM, Domain
from mlrm.partial_drawings import recorded, traced
from mlrm.strokes import Stroke, first_share, fitted, render
from mlrm.transforms import image_to_tensor

EXAMPLE = "Example: python -m mlrm.unfinished --data shoes --data chairs --strokes chairv2_strokes.npz --plot ink.png"
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
BATCH = 16
FIRST = 10

Drawings = Sequence[Sequence[Stroke]]
Progress = Callable[[str, int, int], None]
Framing = Callable[[Sequence[Stroke]], Sequence[Stroke]]
FRAMINGS: dict[str, Framing] = {"as drawn": lambda strokes: strokes, "fitted": fitted}
"""Where a drawing lies in the picture: where it was drawn, or as the service fits it."""


@dataclass(frozen=True)
class Found:
    """Of drawings with a share of their ink: how well they find their photos, or what the finished ones find.

    kept: of the ten photos that the finished drawings find first, the share that is among the ten found already.
    """

    data: str
    framing: str
    share: float
    accuracy: Accuracy | None
    kept: float

    def to_dict(self) -> dict[str, Any]:
        """All numbers by name."""
        numbers = self.accuracy.to_dict() if self.accuracy else {}
        return {"data": self.data, "framing": self.framing, "ink": self.share, "kept": self.kept} | numbers


class Unfinished:
    """Searches by unfinished drawings with one model, which is in eval mode and on `device`."""

    def __init__(self, model: MLRM, device: torch.device, progress: Progress) -> None:
        self._model, self._device, self._progress = model, device, progress

    @property
    def region_weight_power(self) -> int:
        """p of the model's distance."""
        return self._model.config.region_weight_power

    def photos(self, name: str, files: Sequence[Path]) -> Features:
        """Features of photos; raises `DatasetError` naming every file that can't be used."""
        size = self._model.config.image_size
        images, errors = decode(
            list(files), lambda image: image_to_tensor(image, size), partial(self._progress, f"{name}: decode")
        )
        refuse_corrupt(name, errors)
        return self._features(name, images, "photo")

    def found(self, name: str, drawings: Drawings, photos: Features, photo_of: Sequence[int] | None) -> list[Found]:
        """What drawings find with each share of their ink, in each framing. photo_of: each drawing's own photo."""
        results = []
        for framing, framed in FRAMINGS.items():
            last: list[set[int]] | None = None
            for share in sorted(SHARES, reverse=True):
                features = self.sketches(name, [framed(first_share(one, share)) for one in drawings])
                first = self._first(features, photos)
                last = last or first
                kept = sum(len(a & b) for a, b in zip(first, last, strict=True)) / sum(map(len, last))
                rank = None
                if photo_of is not None:
                    rank = ranks(features, photos, photo_of, self.region_weight_power)
                numbers = None if rank is None else accuracy(rank, len(photos))
                results.append(Found(name, framing, share, numbers, kept))
        return sorted(results, key=lambda one: (one.framing, one.share))

    def _first(self, sketches: Features, photos: Features) -> list[set[int]]:
        _, rows = distance_topk(
            sketches, GalleryBlock.of(photos), k=FIRST, region_weight_power=self.region_weight_power
        )
        return [set(row) for row in rows.tolist()]

    def sketches(self, name: str, drawings: Drawings) -> Features:
        """Features of drawings as they lie."""
        size = self._model.config.image_size
        images = [image_to_tensor(render(strokes, size), size) for strokes in drawings]
        return self._features(name, images, "sketch")

    def _features(self, name: str, images: Sequence[torch.Tensor], domain: Domain) -> Features:
        def encoder(batch: torch.Tensor) -> Features:
            features: Features = self._model(batch.to(self._device), domain)
            return features.to("cpu")

        return encode(encoder, images, BATCH, lambda done: self._progress(f"{name}: {domain}s", done, len(images)))


@errors_shown
def main(
    checkpoint: Annotated[Path | None, typer.Argument(help="Checkpoint; default: the one shipped.")] = None,
    data: Annotated[list[Path] | None, data_option("Folder of pairs; repeat for more.")] = None,
    strokes: Annotated[
        Path | None, typer.Option(help="Recorded drawings, searched among all photos of --data.", exists=True)
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers here too.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the curves into this file.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """How acc@k of the test sketches grows with their ink, erased or as it was recorded."""
    if not data:
        raise ConfigError("no data: give at least one --data FOLDER")
    where = find_device(device)
    results: list[Found] = []
    galleries: list[Features] = []
    with progress_bar() as progress:
        model = load(checkpoint or SHIPPED).to(where)
        weights, search = model.fingerprint(), Unfinished(model, where, progress)
        for folder in data:
            pairs = read_pairs(folder, "test")
            photos = search.photos(pairs.name, pairs.photos)
            drawings, errors = decode(list(pairs.sketches), traced, partial(progress, f"{pairs.name}: trace"))
            refuse_corrupt(pairs.name, errors)
            results += search.found(pairs.name, drawings, photos, pairs.photo_of)
            galleries.append(photos)
        if strokes is not None:
            lines = list(recorded(strokes, "test").values())
            results += search.found(strokes.stem, lines, Features.cat(galleries), None)
    Console().print(_table(results))
    if json_file:
        record = {"weights": weights, "results": [found.to_dict() for found in results]}
        json_file.write_text(json.dumps(record, indent=1) + "\n")
    if plot:
        from mlrm.unfinished_plot import draw

        draw([found.to_dict() for found in results], plot, weights)


def _table(results: Sequence[Found]) -> Table:
    table = Table(title=f"with a share of the ink: acc@k, and how many of the last {FIRST} are found already")
    for column in ("data", "framing", "ink %", "@1 %", "@5 %", "@10 %", "kept %"):
        table.add_column(column, justify="left" if column in ("data", "framing") else "right")
    for one in results:
        numbers = (one.accuracy.acc1, one.accuracy.acc5, one.accuracy.acc10) if one.accuracy else ()
        shares = [f"{100 * number:.1f}" for number in numbers] or ["", "", ""]
        table.add_row(one.data, one.framing, f"{100 * one.share:.0f}", *shares, f"{100 * one.kept:.1f}")
    return table


if __name__ == "__main__":
    run(main, EXAMPLE)
