"""`python -m mlrm.pretrain`: a trunk that sees sketches and photos alike, before MLRM is trained on it.

For pairs made by program, of which there can be many (`mlrm.pseudo_sketches`). There are no regions yet: their passes
through the tail are most of a training step's work. Level 3 is compared in as many lying bands as there will be
regions, which is where `mlrm.train` starts these.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import safetensors.torch
import torch
import typer
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mlrm.cli import data_option, errors_shown, progress_bar, run, say
from mlrm.config import TRUNKS, MLRMConfig
from mlrm.datasets import PairDataset
from mlrm.devices import find_device
from mlrm.errors import ConfigError, TrainingError
from mlrm.images import load_image
from mlrm.losses import bands
from mlrm.model import MLRM
from mlrm.pretrained import load_trunk_weights
from mlrm.ranges import require_positive, require_whole
from mlrm.trainer import early_parameters
from mlrm.training_data import named_folder, read_training
from mlrm.training_pairs import AugmentedImages, TrainingPairs, prefetched
from mlrm.transforms import image_to_tensor

EXAMPLE = (
    "Example: python -m mlrm.pretrain --data shoes --pseudo shoes=pseudo --out trunk.safetensors, then "
    "python -m mlrm.train --data shoes --trunk-weights trunk.safetensors --out runs/first"
)
TEMPERATURE = 0.05
"""Distances are divided by it before the softmax."""
WEIGHT_DECAY = 1e-3
AVERAGE = 0.99
WARMUP_STEPS = 50
CHUNK = 8


@dataclass(frozen=True)
class PretrainOptions:
    """Options of `pretrain`; raises `ConfigError` for those that can't be."""

    steps: int = 600
    batch: int = 32
    """Pairs a step: every other photo of the batch is a negative."""
    lr: float = 5e-4
    validate_every: int = 150
    seed: int = 0

    def __post_init__(self) -> None:
        for name, lowest in (("steps", 1), ("batch", 2), ("validate_every", 1), ("seed", 0)):
            require_whole(name, getattr(self, name), lowest)
        require_positive("lr", self.lr)


def band_features(level3: Tensor, count: int) -> Tensor:
    """Level 3 maps [B, C, h, w] -> unit vectors [B, count, C], the means over lying bands."""
    share = bands(count, level3.shape[2]).to(level3)
    return functional.normalize(torch.einsum("bchw,sh->bsc", level3, share), dim=2)


def band_distance(sketch: Tensor, photo: Tensor) -> Tensor:
    """Distances [Q, G] of band features [Q, S, C] and [G, S, C]: the mean over bands."""
    # [S, Q, G]; differences, not products: near 0 those lose the digits that the gradient needs.
    each = torch.cdist(sketch.transpose(0, 1), photo.transpose(0, 1), compute_mode="donot_use_mm_for_euclid_dist")
    return each.mean(0)


def contrastive_loss(distance: Tensor) -> Tensor:
    """How surely each sketch finds its photo, and each photo its sketch: distances [B, B] -> mean cross-entropy."""
    own = torch.arange(len(distance), device=distance.device)
    logits = -distance / TEMPERATURE
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def pretrain(
    model: MLRM,
    pairs: TrainingPairs,
    held_out: dict[str, PairDataset],
    options: PretrainOptions,
    device: torch.device,
    progress: Callable[[str, int, int], None],
    report: Callable[[str], None],
) -> dict[str, Tensor]:
    """Train the trunk of `model` in place, its early stages and BatchNorm statistics frozen.

    model: one network for both domains, on `device`; only its trunk is used. held_out: validated every so many steps.
    progress: called with (what, done, total). report: gets a line a validation.
    Returns the trunk's state with the weights' running average, which is what was validated.
    Raises `TrainingError` if the loss becomes infinite.
    """
    torch.manual_seed(options.seed)
    rng = np.random.default_rng([options.seed, 2])
    trunk = model.eval().network().trunk
    early = early_parameters(trunk, model.config.image_size)
    for parameter in early:
        parameter.requires_grad_(False)
    trained = [parameter for parameter in trunk.parameters() if parameter not in early]
    optimizer = torch.optim.AdamW(trained, options.lr, weight_decay=WEIGHT_DECAY)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / WARMUP_STEPS) * (1 + math.cos(math.pi * step / options.steps)) / 2,
    )
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE))  # type: ignore[no-untyped-call]
    averaged = cast(MLRM, average.module)
    source = AugmentedImages(pairs, model, True, device)
    batches = (
        (source.prepare(sketches, rng), source.prepare(photos, rng))
        for sketches, photos in pairs.batches(options.batch, rng)
    )
    losses = []
    for step, (sketches, photos) in enumerate(prefetched(batches, options.steps), 1):
        with torch.autocast(device.type, torch.bfloat16):
            of_sketch, of_photo = source.early(sketches, "sketch")[1], source.early(photos, "photo")[1]
            level3 = trunk.tail(trunk.middle(torch.cat((of_sketch, of_photo))))
        features = band_features(level3.float(), model.config.regions)
        loss = contrastive_loss(band_distance(features[: len(sketches)], features[len(sketches) :]))
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss became {loss.item()} at step {step}; lower --lr")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
        average.update_parameters(model)
        losses.append(loss.item())
        progress("pretrain", step, options.steps)
        if step % options.validate_every == 0 or step == options.steps:
            shares = [f"{name} {100 * _acc1(averaged, part, device):.1f} %" for name, part in held_out.items()]
            report(", ".join([f"step {step}/{options.steps}", f"loss {np.mean(losses):.3f}", *shares]))
            losses.clear()
    state: dict[str, Tensor] = averaged.network().trunk.state_dict()
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}


def _acc1(model: MLRM, dataset: PairDataset, device: torch.device) -> float:
    """Share of sketches whose own photo is the nearest by their bands."""
    network = model.network()

    def features(paths: list[Path]) -> Tensor:
        images = [image_to_tensor(load_image(path), model.config.image_size) for path in paths]
        parts = []
        for start in range(0, len(images), CHUNK):
            batch = torch.stack(images[start : start + CHUNK]).to(device)
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
                normalised = network.normalise(batch).contiguous(memory_format=torch.channels_last)
                level3 = network.trunk.tail(network.trunk.middle(network.trunk.early(normalised)[1]))
            parts.append(band_features(level3.float(), model.config.regions))
        return torch.cat(parts)

    distance = band_distance(features(dataset.sketches), features(dataset.photos))
    own = torch.as_tensor(dataset.photo_of, device=device)
    return float((distance <= distance.gather(1, own[:, None])).sum(1).eq(1).double().mean())


@errors_shown
def main(
    data: Annotated[list[Path], data_option("Folder of pairs; repeat for more. A batch stays within one folder.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write, for mlrm.train --trunk-weights.")],
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
    steps: int = PretrainOptions.steps,
    batch: int = PretrainOptions.batch,
    lr: float = PretrainOptions.lr,
    validate_every: Annotated[int, typer.Option(help="Steps between validations.")] = PretrainOptions.validate_every,
    seed: int = PretrainOptions.seed,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Train a trunk to bring sketches and photos together, so that little real data is needed after it.

    Give the same --data, --validation and --seed as to mlrm.train: what is held out there stays unseen here.
    """
    if out.suffix != ".safetensors" or not out.parent.is_dir():
        raise ConfigError(f"--out is {out}; expected a file that ends in .safetensors, in a folder that is there")
    options = PretrainOptions(steps=steps, batch=batch, lr=lr, validate_every=validate_every, seed=seed)
    where = find_device(device)
    model = MLRM(MLRMConfig.paper(trunk=trunk))
    load_trunk_weights(model, trunk_weights)
    model.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with progress_bar() as progress:
        pairs, held_out = read_training(
            data,
            [named_folder("--more-sketches", entry) for entry in more_sketches or []],
            validation,
            model.config.image_size,
            seed,
            progress,
            [named_folder("--pseudo", entry) for entry in pseudo or []],
        )
        state = pretrain(model, pairs, held_out, options, where, progress, say)
    safetensors.torch.save_file(state, out)
    say(f"next: python -m mlrm.train --trunk-weights {out} --trunk {trunk} ... with the same --data and --validation")


if __name__ == "__main__":
    run(main, EXAMPLE)
