"""`python -m mlrm.first_lines`: from how much ink on a search finds more than chance would."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mlrm.accuracy import accuracy, ranks
from mlrm.checkpoint import SHIPPED, load
from mlrm.cli import data_option, errors_shown, progress_bar, run, say
from mlrm.decoding import decode, refuse_corrupt
from mlrm.devices import find_device
from mlrm.errors import ConfigError
from mlrm.evaluated_pairs import read_evaluated
from mlrm.partial_drawings import traced
from mlrm.strokes import first_length, fitted
from mlrm.unfinished import FIRST, Drawings, Unfinished

EXAMPLE = "Example: python -m mlrm.first_lines --data shoes --data chairs --split validation"
LENGTHS = (0.125, 0.25, 0.375, 0.5, 0.75, 1.0, 1.5)
"""Of the lines drawn so far, in sides of the canvas; a finished QMUL sketch has about seven."""
_SURE = 1.96
"""Standard deviations above chance that count as more than chance: one in forty such results would be luck."""


@dataclass(frozen=True)
class First:
    """Of drawings cut off at a length: the share whose own photo is among the first ten, and what chance would give."""

    data: str
    length: float
    sketches: int
    photos: int
    acc10: float

    @property
    def chance(self) -> float:
        """acc@10 of photos in random order."""
        return min(1.0, FIRST / self.photos)

    @property
    def luck(self) -> float:
        """The acc@10 that chance hardly ever exceeds."""
        deviation: float = (self.chance * (1 - self.chance) / self.sketches) ** 0.5
        return self.chance + _SURE * deviation

    @property
    def beats_chance(self) -> bool:
        """Whether so many hits would be a rare luck."""
        return self.acc10 > self.luck


def enough(results: Sequence[First]) -> float | None:
    """The least length from which on every set of drawings is found better than by chance; None where there is none."""
    lengths = sorted({one.length for one in results})
    poor = [one.length for one in results if not one.beats_chance]
    return next((length for length in lengths if not poor or length > max(poor)), None)


def first_lines(
    name: str, search: Unfinished, drawings: Drawings, photos: Sequence[Path], of: list[int]
) -> list[First]:
    """What drawings find that are cut off at each length, as the service frames them. of: each drawing's own photo."""
    features, results = search.photos(name, photos), []
    for length in LENGTHS:
        found = search.sketches(name, [fitted(first_length(one, length)) for one in drawings])
        numbers = accuracy(ranks(found, features, of, search.region_weight_power), len(photos))
        results.append(First(name, length, len(drawings), len(photos), numbers.acc10))
    return results


@errors_shown
def main(
    checkpoint: Annotated[Path | None, typer.Argument(help="Checkpoint; default: the one shipped.")] = None,
    data: Annotated[list[Path] | None, data_option("Folder of pairs; repeat for more.")] = None,
    split: Annotated[str, typer.Option(help="test, train, or validation: what training set aside.")] = "test",
    validation: Annotated[
        list[int] | None, typer.Option(help="Photos that training set aside, for each --data; default 20 %.")
    ] = None,
    split_seed: Annotated[int, typer.Option(help="The training's, which decided what was set aside.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers here too.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """From which length of line on searches beat chance, on pairs whose sketches are traced and cut off."""
    if not data:
        raise ConfigError("no data: give at least one --data FOLDER")
    parts = read_evaluated(data, split, validation, split_seed, [])
    where = find_device(device)
    results: list[First] = []
    with progress_bar() as progress:
        model = load(checkpoint or SHIPPED).to(where)
        search = Unfinished(model, where, progress)
        for pairs in parts:
            drawings, errors = decode(list(pairs.sketches), traced, partial(progress, f"{pairs.name}: trace"))
            refuse_corrupt(pairs.name, errors)
            results += first_lines(pairs.name, search, drawings, pairs.photos, list(pairs.photo_of))
    table = Table(title="own photo among the first ten, by the length of the lines in sides of the canvas")
    for column in ("data", "length", "acc@10 %", "chance %", "more than chance"):
        table.add_column(column, justify="left" if column == "data" else "right")
    for one in results:
        numbers = (
            f"{one.length}",
            f"{100 * one.acc10:.1f}",
            f"{100 * one.chance:.1f}",
            "yes" if one.beats_chance else "",
        )
        table.add_row(one.data, *numbers)
    Console().print(table)
    say(f"enough for all: {enough(results)}")
    if json_file:
        record = {
            "weights": model.fingerprint(),
            "enough": enough(results),
            "results": [asdict(one) for one in results],
        }
        json_file.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    run(main, EXAMPLE)
