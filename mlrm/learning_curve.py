"""`python -m mlrm.learning_curve`: what more data and more training would bring, by training on less.

Every run is `mlrm.pretrain` from the same weights with the same short budget, on a part of the products. It is read by
bands, on validation sketches and on the further sketches of the same products, and that several times on its way.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer

from mlrm.cli import data_option, errors_shown, progress_bar, run, say
from mlrm.config import TRUNKS, MLRMConfig
from mlrm.datasets import PairDataset, check
from mlrm.decoding import refuse_corrupt
from mlrm.devices import computes_bfloat16, find_device
from mlrm.evaluated_pairs import VALIDATION, read_evaluated
from mlrm.figures.style import require_matplotlib
from mlrm.freed_memory import keep_freed_memory
from mlrm.intervals import over_products
from mlrm.learning_cells import CELLS, Cell, counts
from mlrm.learning_results import MEASURES, spelled
from mlrm.model import MLRM
from mlrm.pretrained import digest_trunk_weights, load_trunk_weights
from mlrm.pretrainer import Pretrainer, PretrainOptions
from mlrm.run_record import digest_data
from mlrm.studies import missing, named, read_results, require_runs, write_results
from mlrm.training_data import name_of, named_folder, read_training
from mlrm.training_pairs import TrainingPairs

EXAMPLE = (
    "Example: python -m mlrm.learning_curve --data shoes --data chairs --pseudo shoes=pseudo --out curve.json; "
    "run again, it goes on"
)
Progress = Callable[[str, int, int], None]
Ruler = Mapping[str, Sequence[PairDataset]]
"""By category the data sets whose sketches are ranked, each among its own photos."""


def read_ruler(data: Sequence[Path], validation: Sequence[int] | None, more_sketches: Sequence[str]) -> Ruler:
    """The validation pairs of each folder and the further views of their products; errors as `read_evaluated`'s."""
    parts = read_evaluated(data, VALIDATION, validation, 0, more_sketches)
    names = [name_of(folder) for folder in data]
    names += [named_folder("--more-sketches", entry)[0] for entry in more_sketches]
    ruler: dict[str, list[PairDataset]] = {}
    for name, part in zip(names, parts, strict=True):
        ruler.setdefault(name, []).append(part)
    return ruler


def shown_products(parts: Sequence[PairDataset]) -> list[int]:
    """For each sketch of a category's data sets the number of the product it shows, one number in all of them."""
    number = {key: place for place, key in enumerate(sorted({key for part in parts for key in part.keys}))}
    return [number[part.keys[photo]] for part in parts for photo in part.photo_of]


@dataclass
class Study:
    """What all runs share: data, what they are read on, budget, the weights they start from."""

    pairs: TrainingPairs
    ruler: Ruler
    config: MLRMConfig
    options: PretrainOptions
    trunk_weights: str
    device: torch.device
    progress: Progress

    def run(self, cell: Cell, seed: int) -> dict[str, Any]:
        """Train on one cell's part; its numbers of products, what it reads after every so many steps, and seconds."""
        part = cell.part(self.pairs, seed)
        torch.manual_seed(seed)
        model = MLRM(self.config)
        load_trunk_weights(model, self.trunk_weights)
        model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        points: list[dict[str, Any]] = []
        started = time.perf_counter()
        with TemporaryDirectory() as folder:
            options, out = replace(self.options, seed=seed), Path(folder) / "trunk.safetensors"
            # Nothing is held out by its own, smaller, ruler: after each of its stops it is read here.
            pretrainer = Pretrainer(model, part, {}, options, out, self.device, self.progress)

            def read(line: str) -> None:
                point = {"step": pretrainer.step, "loss": round(pretrainer.rows[-1]["loss"], 4)}
                points.append(point | {name: self._read(pretrainer, parts) for name, parts in self.ruler.items()})
                say(f"{cell.name}, seed {seed}: {line}, {_said(points[-1], self.ruler)}")

            pretrainer.run(read)
        seconds = round(time.perf_counter() - started, 1)
        return {"products": counts(self.pairs, part), "points": points, "seconds": seconds}

    def _read(self, pretrainer: Pretrainer, parts: Sequence[PairDataset]) -> dict[str, Any]:
        """Each measure with its interval, and the ranks that they are made of."""
        rank = torch.cat([pretrainer.ranks(part) for part in parts]).tolist()
        shown = shown_products(parts)
        found = {name: over_products(measure(rank), shown) for name, measure in MEASURES.items()}
        return {name: [round(number, 4) for number in one] for name, one in found.items()} | {"ranks": spelled(rank)}


def _said(point: Mapping[str, Any], names: Iterable[str]) -> str:
    def shares(read: Mapping[str, Any]) -> str:
        return ", ".join(f"{measure} {100 * read[measure][0]:.1f} %" for measure in MEASURES)

    return "; ".join(f"{name} {shares(point[name])}" for name in names)


@errors_shown
def main(
    data: Annotated[list[Path], data_option("Folder of pairs; repeat for more.")],
    out: Annotated[
        Path, typer.Option(help="JSON file of results, with a picture beside it; runs that it holds are not repeated.")
    ],
    pseudo: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER: photos that nobody sketched, as mlrm.pseudo_sketches writes them."),
    ] = None,
    more_sketches: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER: more views of folder NAME's products, to train on and to validate on."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="all, photos, sketched, or a cell's name; repeat.")] = None,
    trunk: Annotated[str, typer.Option(help=f"One of {', '.join(TRUNKS)}.")] = "efficientnet_lite0",
    trunk_weights: Annotated[str, typer.Option(help="auto, none, or a weight file all runs start from.")] = "auto",
    validation: Annotated[
        list[int] | None, typer.Option(help="Photos set aside to validate, for each --data; default 20 %.")
    ] = None,
    steps: Annotated[int, typer.Option(help="The budget of a run.")] = 300,
    batch: int = PretrainOptions.batch,
    validate_every: Annotated[int, typer.Option(help="Steps between the points of a run.")] = 100,
    seeds: Annotated[int, typer.Option(help="Runs of each cell, on another part each.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """How accuracy on validation grows with photos that nobody sketched, with sketched products and with steps.

    The most telling runs come first; each is kept when it ends, and the picture drawn anew.
    """
    cells = named(only, CELLS) if only else CELLS
    require_runs(seeds, out)
    require_matplotlib()
    from mlrm.learning_plot import draw

    where = find_device(device)
    if where.type == "cpu":
        keep_freed_memory()
    config = MLRMConfig.paper(trunk=trunk)
    options = PretrainOptions(steps=steps, batch=batch, validate_every=validate_every)
    more, drawn = more_sketches or [], pseudo or []
    with progress_bar() as progress:
        pairs, _ = read_training(
            data,
            [named_folder("--more-sketches", entry) for entry in more],
            validation,
            config.image_size,
            0,
            progress,
            [named_folder("--pseudo", entry) for entry in drawn],
        )
        ruler = read_ruler(data, validation, more)
        for part in (part for parts in ruler.values() for part in parts):
            say(part.summary())
            refuse_corrupt(part.name, check(part))
        read_on = {f"{name}: {part.name}": part for name, parts in ruler.items() for part in parts}
        setting = {
            "files": digest_data(pairs.files, read_on),
            "gallery": {name: len(part.photos) for name, part in read_on.items()},
            "sketched_products": {name: spelled(shown_products(parts)) for name, parts in ruler.items()},
            "config": asdict(config),
            "options": asdict(options),
            "trunk_weights": digest_trunk_weights(trunk, trunk_weights),
            "precision": "bfloat16" if computes_bfloat16(where) else "float32",
        }
        for cell in cells:  # too few products are an error now, not after hours
            cell.part(pairs, 0)
        results = read_results(out, setting)
        study = Study(pairs, ruler, config, options, trunk_weights, where, progress)
        runs = missing(results, cells, seeds)
        say(f"{len(results)} runs in {out}, {len(runs)} to do")
        for number, (cell, seed) in enumerate(runs, start=1):
            found = study.run(cell, seed)
            results.append({"cell": cell.name, "group": cell.group, "seed": seed} | found)
            write_results(out, setting, results)
            draw({"setting": setting, "results": results}, out.with_suffix(".png"))
            say(f"{number}/{len(runs)} {cell.name}, seed {seed}: {found['seconds']:.0f} s")
        if not runs:
            draw({"setting": setting, "results": results}, out.with_suffix(".png"))


if __name__ == "__main__":
    run(main, EXAMPLE)
