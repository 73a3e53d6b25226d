"""`python -m mlrm.train`: from folders of pairs to a checkpoint."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer

from mlrm.checkpoint import load
from mlrm.cli import data_option, errors_shown, progress_bar, run, say
from mlrm.config import TRUNKS, MLRMConfig
from mlrm.datasets import PairDataset, check, read_pairs, split_validation
from mlrm.devices import find_device
from mlrm.errors import ConfigError, DatasetError
from mlrm.model import MLRM
from mlrm.pretrained import load_trunk_weights
from mlrm.train_options import TrainOptions
from mlrm.trainer import Trainer
from mlrm.training_pairs import TrainingPairs

DEFAULT_CONFIG = '{"l2norm": true}'
EXAMPLE = "Example: python -m mlrm.train --data shoes --data chairs --trunk efficientnet_lite0 --out runs/first"


@errors_shown
def main(
    data: Annotated[list[Path], data_option("Folder of pairs; repeat for more. A batch stays within one folder.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, log and curve; trains on from last.pt if there.")],
    more_sketches: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER: more sketches and photos of the training products of folder NAME, by stem."),
    ] = None,
    trunk: Annotated[str | None, typer.Option(help=f"One of {', '.join(TRUNKS)}; default efficientnet_lite0.")] = None,
    trunk_weights: Annotated[str, typer.Option(help="auto, none, or an ImageNet weight file.")] = "auto",
    init: Annotated[Path | None, typer.Option(help="Start from this checkpoint instead of ImageNet weights.")] = None,
    config: Annotated[
        str | None, typer.Option(help=f"Overrides of MLRMConfig.paper() as JSON; default {DEFAULT_CONFIG}")
    ] = None,
    validation: Annotated[
        list[int] | None, typer.Option(help="Photos set aside to validate, for each --data; default 20 %; 0 for none.")
    ] = None,
    epochs: int = TrainOptions.epochs,
    batch: int = TrainOptions.batch,
    lr: float = TrainOptions.lr,
    trunk_lr: float = TrainOptions.trunk_lr,
    separate_steps: Annotated[
        int, typer.Option(help="Steps before the first epoch that drive the regions' maps apart.")
    ] = TrainOptions.separate_steps,
    average: float = TrainOptions.average,
    freeze_batch_norm: bool = TrainOptions.freeze_batch_norm,
    freeze_early: bool = TrainOptions.freeze_early,
    cache_variants: Annotated[
        int | None, typer.Option(help="Augmented variants cached an image; default 8 on a CPU, 0 on a GPU.")
    ] = None,
    mixed_precision: bool = TrainOptions.mixed_precision,
    evaluate_every: Annotated[int, typer.Option(help="Epochs between validations.")] = TrainOptions.evaluate_every,
    seed: int = TrainOptions.seed,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Train MLRM on paired sketches and photos; the best checkpoint on the validation part is OUT/best.pt."""
    where = find_device(device)
    if cache_variants is None:
        cache_variants = 8 if where.type == "cpu" and freeze_early else 0
    options = TrainOptions(
        epochs=epochs,
        batch=batch,
        lr=lr,
        trunk_lr=trunk_lr,
        separate_steps=separate_steps,
        average=average,
        freeze_batch_norm=freeze_batch_norm,
        freeze_early=freeze_early,
        cache_variants=cache_variants,
        mixed_precision=mixed_precision,
        evaluate_every=evaluate_every,
        seed=seed,
    )
    torch.manual_seed(seed)  # the model's random parts too
    if init and (trunk or config):
        raise ConfigError(f"--init {init} brings its own configuration; leave out --trunk and --config")
    model = load(init) if init else MLRM(_config(trunk or "efficientnet_lite0", config or DEFAULT_CONFIG))
    if not init:
        load_trunk_weights(model, trunk_weights)
    out.mkdir(parents=True, exist_ok=True)
    pairs, held_out = _read(data, more_sketches or [], validation, model.config.image_size, seed)
    with progress_bar() as progress:
        trainer = Trainer(model, pairs, held_out, options, out, where, progress)
        if (out / "last.pt").exists():
            trainer.resume()
            say(f"going on after epoch {trainer.epoch} of {out / 'last.pt'}")
        (out / "options.json").write_text(
            json.dumps({"data": [path.name for path in data]} | asdict(options), indent=1)
        )
        trainer.run(say)
    say(f"best: {out / 'best.pt'}, log: {trainer.log.csv}, curve: {trainer.log.picture}")
    say(f"next: python -m mlrm.evaluate {out / 'best.pt'} --data {data[0]}")


def _config(trunk: str, overrides: str) -> MLRMConfig:
    MLRMConfig.from_json(overrides)  # says what is wrong with text that is no configuration
    return MLRMConfig.paper(**({"trunk": trunk} | json.loads(overrides)))


def _read(
    data: list[Path], more_sketches: list[str], validation: list[int] | None, size: int, seed: int
) -> tuple[TrainingPairs, dict[str, PairDataset]]:
    pairs, held_out = TrainingPairs(size), {}
    if validation is not None and len(validation) != len(data):
        raise ConfigError(
            f"--validation was given {len(validation)} times; expected once for each of {len(data)} --data"
        )
    with progress_bar() as progress:
        for number, folder in enumerate(data):
            dataset = read_pairs(folder, "train")
            say(dataset.summary())
            _refuse_corrupt(dataset)
            if dataset.name in pairs.categories:
                raise ConfigError(f"two --data folders are called {dataset.name}; rename one")
            count = validation[number] if validation else max(1, len(set(dataset.photo_of)) // 5)
            if count:
                dataset, held_out[dataset.name] = split_validation(dataset, count, seed)
            pairs.add(dataset, dataset.name, lambda done, total: progress("decode", done, total))
        for entry in more_sketches:
            name, _, folder_name = entry.partition("=")
            extra = read_pairs(folder_name, "train")
            if name not in pairs.categories:
                raise ConfigError(f"--more-sketches {entry}: no --data folder is called {name!r}")
            say(extra.summary())
            _refuse_corrupt(extra)
            known = pairs.categories[name]
            # Only products in training: those held out for validation must stay unseen in every crop.
            kept = extra.subset([i for i, photo in enumerate(extra.photos) if photo.stem in known], "train")
            pairs.add(kept, name, lambda done, total: progress("decode", done, total))
    return pairs, held_out


def _refuse_corrupt(dataset: PairDataset) -> None:
    if errors := check(dataset):
        listed = "\n".join(f"  {error}" for error in errors)
        raise DatasetError(f"{len(errors)} files of {dataset.name} can't be used; repair or remove them:\n{listed}")


if __name__ == "__main__":
    run(main, EXAMPLE)
