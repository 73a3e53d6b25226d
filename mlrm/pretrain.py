"""`python -m mlrm.pretrain`: a trunk that sees sketches and photos alike, before MLRM is trained on it.

For pairs made by program, of which there can be many (`mlrm.pseudo_sketches`). There are no regions yet: their passes
through the tail are most of a training step's work. Level 3 is compared in as many lying bands as there will be
regions, which is where `mlrm.train` starts these.
"""

from pathlib import Path
from typing import Annotated

import safetensors.torch
import torch
import typer

from mlrm.cli import data_option, errors_shown, progress_bar, run, say
from mlrm.config import TRUNKS, MLRMConfig
from mlrm.devices import find_device
from mlrm.errors import ConfigError
from mlrm.freed_memory import keep_freed_memory
from mlrm.model import MLRM
from mlrm.pretrained import load_trunk_weights
from mlrm.pretrainer import Pretrainer, PretrainOptions
from mlrm.training_data import named_folder, read_training

EXAMPLE = (
    "Example: python -m mlrm.pretrain --data shoes --pseudo shoes=pseudo --out trunk.safetensors, then "
    "python -m mlrm.train --data shoes --trunk-weights trunk.safetensors --out runs/first"
)


@errors_shown
def main(
    data: Annotated[list[Path], data_option("Folder of pairs; repeat for more. A batch stays within one folder.")],
    out: Annotated[
        Path,
        typer.Option(help="The .safetensors file to write, for mlrm.train --trunk-weights; a stopped run goes on."),
    ],
    pseudo: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FOLDER: more products for folder NAME's category, as mlrm.pseudo_sketches writes them."
        ),
    ] = None,
    more_sketches: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER: more views of folder NAME's training products.")
    ] = None,
    trunk: Annotated[str, typer.Option(help=f"One of {', '.join(TRUNKS)}.")] = "efficientnet_lite0",
    trunk_weights: Annotated[str, typer.Option(help="auto, or a weight file to start from.")] = "auto",
    validation: Annotated[
        list[int] | None, typer.Option(help="Photos set aside to validate, for each --data; default 20 %; 0 for none.")
    ] = None,
    split_seed: Annotated[int, typer.Option(help="Decides, with the photos' names, which are set aside.")] = 0,
    steps: int = PretrainOptions.steps,
    batch: int = PretrainOptions.batch,
    lr: float = PretrainOptions.lr,
    freeze_early: Annotated[
        bool, typer.Option(help="Leave the stages up to level 1 as they are; a step without takes longer.")
    ] = PretrainOptions.freeze_early,
    validate_every: Annotated[int, typer.Option(help="Steps between validations.")] = PretrainOptions.validate_every,
    seed: int = PretrainOptions.seed,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Train a trunk to bring sketches and photos together, so that little real data is needed after it.

    Give the same --data, --validation and --split-seed as to mlrm.train: what is held out there stays unseen here.
    """
    if out.suffix != ".safetensors" or not out.parent.is_dir():
        raise ConfigError(f"--out is {out}; expected a file that ends in .safetensors, in a folder that is there")
    options = PretrainOptions(
        steps=steps, batch=batch, lr=lr, freeze_early=freeze_early, validate_every=validate_every, seed=seed
    )
    where = find_device(device)
    if where.type == "cpu":
        keep_freed_memory()
    model = MLRM(MLRMConfig.paper(trunk=trunk))
    load_trunk_weights(model, trunk_weights)
    model.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with progress_bar() as progress:
        pairs, held_out = read_training(
            data,
            [named_folder("--more-sketches", entry) for entry in more_sketches or []],
            validation,
            model.config.image_size,
            split_seed,
            progress,
            [named_folder("--pseudo", entry) for entry in pseudo or []],
        )
        pretrainer = Pretrainer(model, pairs, held_out, options, out, where, progress)
        if pretrainer.last.exists():
            pretrainer.resume()
            say(f"going on after step {pretrainer.step} of {pretrainer.last}")
        state = pretrainer.run(say)
    safetensors.torch.save_file(state, out)
    say(f"curve: {pretrainer.curve}")
    say(f"next: python -m mlrm.train --trunk-weights {out} --trunk {trunk} ... with the same --data and --validation")


if __name__ == "__main__":
    run(main, EXAMPLE)
