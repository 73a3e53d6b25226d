"""`python -m mlrm.train`: from folders of pairs to a checkpoint."""

import json
import shlex
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import torch
import typer

from mlrm.checkpoint import load
from mlrm.cli import data_option, errors_shown, progress_bar, run, say
from mlrm.config import TRUNKS, MLRMConfig
from mlrm.datasets import PairDataset, check, read_pairs, split_validation
from mlrm.decoding import refuse_corrupt
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
        typer.Option(help="NAME=FOLDER: more views of folder NAME's training products, their photos called the same."),
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
    more = [_named_folder(entry) for entry in more_sketches or []]
    torch.manual_seed(seed)  # the model's random parts too
    if init and (trunk or config):
        raise ConfigError(f"--init {init} brings its own configuration; leave out --trunk and --config")
    model = load(init) if init else MLRM(_config(trunk or "efficientnet_lite0", config or DEFAULT_CONFIG))
    if not init:
        load_trunk_weights(model, trunk_weights)
    out.mkdir(parents=True, exist_ok=True)
    with progress_bar() as progress:
        pairs, held_out = _read(data, more, validation, model.config.image_size, seed, progress)
        trainer = Trainer(model, pairs, held_out, options, out, where, progress)
        if (out / "last.pt").exists():
            trainer.resume()
            say(f"going on after epoch {trainer.epoch} of {out / 'last.pt'}")
        else:
            record = {
                "data": [_name(folder) for folder in data],
                "more_sketches": [f"{name}={_name(folder)}" for name, folder in more],
                "validation": {name: len(part.photos) for name, part in held_out.items()},
                "files": trainer.data,
                "init": init.name if init else None,
                "trunk_weights": None if init else Path(trunk_weights).name,
                "config": json.loads(model.config.to_json()),
                "options": asdict(options),
                "device": str(where),
                "torch": torch.__version__,
            }
            (out / "options.json").write_text(json.dumps(record, indent=1) + "\n")
        trainer.run(say)
    say(f"best: {out / 'best.pt'}, log: {trainer.log.csv}, curve: {trainer.log.picture}")
    say(_next_step(out / "best.pt", data[0]))


def _name(folder: Path) -> str:
    return folder.resolve().name


def _next_step(checkpoint: Path, folder: Path) -> str:
    """The command that measures the checkpoint, on pairs that are there."""
    command = f"next: {shlex.join(['python', '-m', 'mlrm.evaluate', str(checkpoint), '--data', str(folder)])}"
    try:
        read_pairs(folder, "test")
    except DatasetError:
        return (
            f"{command} --split train\n{folder} has no test pairs, so this measures the pairs that the model was "
            "trained and selected on: expect less on new ones"
        )
    return command


def _config(trunk: str, overrides: str) -> MLRMConfig:
    MLRMConfig.from_json(overrides)  # says what is wrong with text that is no configuration
    return MLRMConfig.paper(**({"trunk": trunk} | json.loads(overrides)))


def _read(
    data: list[Path],
    more_sketches: list[tuple[str, Path]],
    validation: list[int] | None,
    size: int,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> tuple[TrainingPairs, dict[str, PairDataset]]:
    pairs, held_out = TrainingPairs(size), {}
    if validation is not None and len(validation) != len(data):
        raise ConfigError(
            f"--validation was given {len(validation)} times; expected once for each of {len(data)} --data"
        )
    names = [_name(folder) for folder in data]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"two --data folders are called {', '.join(sorted(twice))}; rename one")
    for name, folder in more_sketches:
        if name not in names:
            raise ConfigError(f"--more-sketches {name}={folder}: no --data folder is called {name!r}")
    for number, (name, folder) in enumerate(zip(names, data, strict=True)):
        dataset = read_pairs(folder, "train")
        say(dataset.summary())
        count = validation[number] if validation else max(1, len(set(dataset.photo_of)) // 5)
        errors = []
        if count:
            dataset, held_out[name] = split_validation(dataset, count, seed)
            errors = check(held_out[name], partial(progress, f"check validation pairs of {name}"))
        refuse_corrupt(name, errors + pairs.add(dataset, name, partial(progress, f"decode {name}")))
    for name, folder in more_sketches:
        extra = read_pairs(folder, "train")
        say(extra.summary())
        known = _training_part(extra, name, pairs)
        refuse_corrupt(extra.name, pairs.add(known, name, partial(progress, f"decode {extra.name}")))
    return pairs, held_out


def _named_folder(entry: str) -> tuple[str, Path]:
    name, _, folder = entry.partition("=")
    if not name or not folder:
        raise ConfigError(f"--more-sketches is {entry!r}; expected NAME=FOLDER, NAME being that of a --data folder")
    return name, Path(folder)


def _training_part(extra: PairDataset, name: str, pairs: TrainingPairs) -> PairDataset:
    """What of `extra` belongs to products in training: those held out must stay unseen in every crop and drawing."""
    products = pairs.categories[name]
    kept = [number for number, key in enumerate(extra.keys) if key in products]
    if not kept:
        raise DatasetError(
            f"{extra.root}: none of its {len(extra.keys)} photos ({', '.join(extra.keys[:5])}, ...) is called like one "
            f"of the {len(products)} products of {name} in training ({', '.join(islice(products, 5))}, ...); give each "
            "photo the path and name, suffix aside, of the product's photo"
        )
    return extra.subset(kept, "train")


if __name__ == "__main__":
    run(main, EXAMPLE)
