"""`python -m mlrm.train`: from folders of pairs to a checkpoint."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer

from mlrm.checkpoint import load
from mlrm.cli import data_option, errors_shown, progress_bar, run, say
from mlrm.config import TRUNKS, MLRMConfig
from mlrm.datasets import read_pairs
from mlrm.devices import computes_bfloat16, find_device
from mlrm.errors import ConfigError, DatasetError
from mlrm.freed_memory import keep_freed_memory
from mlrm.model import MLRM
from mlrm.pretrained import load_trunk_weights
from mlrm.train_options import TrainOptions
from mlrm.trainer import Trainer
from mlrm.training_data import name_of, named_folder, read_training

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
    pseudo: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FOLDER: more products for folder NAME's category, as mlrm.pseudo_sketches writes them."
        ),
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
    split_seed: Annotated[int, typer.Option(help="Decides, with the photos' names, which are set aside.")] = 0,
    epochs: int = TrainOptions.epochs,
    batch: int = TrainOptions.batch,
    lr: float = TrainOptions.lr,
    trunk_lr: float = TrainOptions.trunk_lr,
    separate_steps: Annotated[
        int, typer.Option(help="Steps before the first epoch that give each region a band of the image.")
    ] = TrainOptions.separate_steps,
    average: float = TrainOptions.average,
    freeze_batch_norm: bool = TrainOptions.freeze_batch_norm,
    freeze_early: bool = TrainOptions.freeze_early,
    cache_variants: Annotated[
        int | None, typer.Option(help="Augmented variants cached an image; default 8 on a CPU, 0 on a GPU.")
    ] = None,
    mixed_precision: Annotated[
        bool, typer.Option(help="bfloat16 in the convolutions, where the device has instructions for it.")
    ] = TrainOptions.mixed_precision,
    evaluate_every: Annotated[int, typer.Option(help="Epochs between validations.")] = TrainOptions.evaluate_every,
    seed: int = TrainOptions.seed,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Train MLRM on paired sketches and photos; the best checkpoint on the validation part is OUT/best.pt."""
    where = find_device(device)
    if where.type == "cpu":
        keep_freed_memory()
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
    more = [named_folder("--more-sketches", entry) for entry in more_sketches or []]
    drawn = [named_folder("--pseudo", entry) for entry in pseudo or []]
    torch.manual_seed(seed)  # the model's random parts too
    if init and (trunk or config):
        raise ConfigError(f"--init {init} brings its own configuration; leave out --trunk and --config")
    model = load(init) if init else MLRM(_config(trunk or "efficientnet_lite0", config or DEFAULT_CONFIG))
    if not init:
        load_trunk_weights(model, trunk_weights)
    out.mkdir(parents=True, exist_ok=True)
    with progress_bar() as progress:
        pairs, held_out = read_training(data, more, validation, model.config.image_size, split_seed, progress, drawn)
        trainer = Trainer(model, pairs, held_out, options, out, where, progress)
        if (out / "last.pt").exists():
            trainer.resume()
            say(f"going on after epoch {trainer.epoch} of {out / 'last.pt'}")
        else:
            record = {
                "data": [name_of(folder) for folder in data],
                "more_sketches": [f"{name}={name_of(folder)}" for name, folder in more],
                "pseudo": [f"{name}={name_of(folder)}" for name, folder in drawn],
                "validation": {name: len(part.photos) for name, part in held_out.items()},
                "files": trainer.data,
                "init": init.name if init else None,
                "trunk_weights": None if init else Path(trunk_weights).name,
                "config": json.loads(model.config.to_json()),
                "split_seed": split_seed,
                "options": asdict(options),
                "device": str(where),
                "precision": "bfloat16" if mixed_precision and computes_bfloat16(where) else "float32",
                "torch": torch.__version__,
            }
            (out / "options.json").write_text(json.dumps(record, indent=1) + "\n")
        trainer.run(say)
    say(f"best: {out / 'best.pt'}, log: {trainer.log.csv}, curve: {trainer.log.picture}")
    set_aside = {name: len(part.photos) for name, part in held_out.items()}
    say(_next_step(out / "best.pt", data[0], set_aside.get(name_of(data[0]), 0), split_seed))


def _next_step(checkpoint: Path, folder: Path, set_aside: int, split_seed: int) -> str:
    """The command that measures the checkpoint, on pairs that are there."""
    command = f"next: {shlex.join(['python', '-m', 'mlrm.evaluate', str(checkpoint), '--data', str(folder)])}"
    try:
        read_pairs(folder, "test")
    except DatasetError:
        if set_aside:
            return (
                f"{command} --split validation --validation {set_aside} --split-seed {split_seed}\n"
                f"{folder} has no test pairs, so this measures the pairs set aside, by which the model was selected: "
                "expect a little less on new ones"
            )
        return (
            f"{command} --split train\n{folder} has no test pairs and none were set aside, so this measures what the "
            "model was trained on: expect less on new ones"
        )
    return command


def _config(trunk: str, overrides: str) -> MLRMConfig:
    MLRMConfig.from_json(overrides)  # says what is wrong with text that is no configuration
    return MLRMConfig.paper(**({"trunk": trunk} | json.loads(overrides)))


if __name__ == "__main__":
    run(main, EXAMPLE)
