"""`python -m mlrm.ablate`: what each part of the model is worth, by training without it.

Every cell starts from the same trunk and sees the same number of steps on the same cached maps; its accuracy is that
of the last average, on validation parts. Cells are independent: a stopped study goes on with the next one.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer

from mlrm.ablation_cells import BY_PRODUCTS, CELLS, Cell
from mlrm.cli import data_option, errors_shown, progress_bar, run, say
from mlrm.config import TRUNKS, MLRMConfig
from mlrm.datasets import PairDataset
from mlrm.devices import computes_bfloat16, find_device
from mlrm.errors import ConfigError
from mlrm.freed_memory import keep_freed_memory
from mlrm.model import MLRM
from mlrm.pretrained import digest_trunk_weights, load_trunk_weights
from mlrm.run_record import digest_data
from mlrm.studies import missing, named, read_results, require_runs, write_results
from mlrm.train_options import TrainOptions
from mlrm.trainer import Trainer
from mlrm.training_data import named_folder, read_training
from mlrm.training_log import TrainingLog
from mlrm.training_pairs import CachedEarlyMaps, TrainingPairs

EXAMPLE = "Example: python -m mlrm.ablate --data shoes --data chairs --out ablations.json; run again, it goes on"
Progress = Callable[[str, int, int], None]


@dataclass
class Study:
    """What all cells share: data, budget, the trunk they start from and the maps of its frozen early stages."""

    pairs: TrainingPairs
    held_out: dict[str, PairDataset]
    config: MLRMConfig
    options: TrainOptions
    trunk_weights: str
    device: torch.device
    progress: Progress
    early_maps: CachedEarlyMaps | None = None

    def run(self, cell: Cell, seed: int) -> dict[str, Any]:
        """Train one cell: accuracies by name, as in a training log, its seconds, cached maps aside, and precision."""
        pairs, options = self.pairs.part(cell.share, seed), replace(self.options, seed=seed, **cell.training)
        whole, own = (part.steps_per_epoch(options.batch) for part in (self.pairs, pairs))
        epochs = round(options.epochs * whole / own)
        options = replace(options, epochs=epochs, evaluate_every=epochs)
        torch.manual_seed(seed)
        model = MLRM(replace(self.config, **cell.config))
        load_trunk_weights(model, self.trunk_weights)
        cell.change(model)
        with TemporaryDirectory() as folder:
            out = Path(folder)
            trainer = Trainer(model, pairs, self.held_out, options, out, self.device, self.progress)
            if self.early_maps is None and options.cache_variants:
                self.early_maps = trainer.cached_early_maps()
            trainer.early_maps = self.early_maps
            started = time.perf_counter()
            trainer.run()
            seconds = time.perf_counter() - started
            row = TrainingLog(out).rows()[-1]
        precision = "bfloat16" if options.mixed_precision and computes_bfloat16(self.device) else "float32"
        found = {name: float(value) for name, value in row.items() if "/acc" in name}
        return found | {"seconds": round(seconds, 1), "precision": precision}


def chosen(names: list[str] | None) -> tuple[Cell, ...]:
    """The cells of these groups or names; those of the study if none is named.

    Raises `ConfigError` for one that isn't known.
    """
    if not names:
        return CELLS
    return named(names, (*CELLS, *BY_PRODUCTS))


@errors_shown
def main(
    data: Annotated[list[Path], data_option("Folder of pairs; repeat for more.")],
    out: Annotated[Path, typer.Option(help="JSON file of results; runs that it holds are not repeated.")],
    more_sketches: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER: more views of folder NAME's training products.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="A group of cells, or one by its name; repeat.")] = None,
    trunk: Annotated[str, typer.Option(help=f"One of {', '.join(TRUNKS)}.")] = "efficientnet_lite0",
    trunk_weights: Annotated[str, typer.Option(help="auto, none, or a weight file all cells start from.")] = "auto",
    image_size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = MLRMConfig.image_size,
    validation: Annotated[
        list[int] | None, typer.Option(help="Photos set aside to validate, for each --data; default 20 %.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="The budget of a cell.")] = 6,
    batch: int = TrainOptions.batch,
    cache_variants: Annotated[int, typer.Option(help="Augmented variants cached an image.")] = 4,
    seeds: Annotated[int, typer.Option(help="Runs of each cell.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Train a cell for each question about the model, on a fixed short budget, and write their accuracies."""
    cells = chosen(only)
    require_runs(seeds, out)
    where = find_device(device)
    if where.type == "cpu":
        keep_freed_memory()
    config = MLRMConfig.paper(trunk=trunk, image_size=image_size, l2norm=True)
    options = TrainOptions(epochs=epochs, batch=batch, cache_variants=cache_variants, evaluate_every=epochs, lr=5e-4)
    more = [named_folder("--more-sketches", entry) for entry in more_sketches or []]
    with progress_bar() as progress:
        pairs, held_out = read_training(data, more, validation, image_size, 0, progress)
        if not held_out:
            raise ConfigError("--validation leaves nothing to measure on; expected at least one photo")
        setting = {
            "files": digest_data(pairs.files, held_out),
            "gallery": {name: len(part.photos) for name, part in held_out.items()},
            "config": json.loads(config.to_json()),
            "options": asdict(options),
            "steps": epochs * pairs.steps_per_epoch(batch),
            "trunk_weights": digest_trunk_weights(trunk, trunk_weights),
        }
        for cell in cells:  # too few products are an error now, not after hours
            pairs.part(cell.share, 0).steps_per_epoch(batch)
        results = read_results(out, setting)
        study = Study(pairs, held_out, config, options, trunk_weights, where, progress)
        runs = missing(results, cells, seeds)
        say(f"{len(results)} runs in {out}, {len(runs)} to do")
        for number, (cell, seed) in enumerate(runs, start=1):
            found = study.run(cell, seed)
            results.append({"cell": cell.name, "group": cell.group, "seed": seed} | found)
            write_results(out, setting, results)
            shares = [f"{name} {100 * value:.1f} %" for name, value in found.items() if name.endswith("/acc1")]
            say(f"{number}/{len(runs)} {cell.name}, seed {seed}: {', '.join(shares)}, {found['seconds']:.0f} s")


if __name__ == "__main__":
    run(main, EXAMPLE)
