"""Small runs on pairs of drawn rectangles, and ways to compare what they leave."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mlrm import MLRM, MLRMConfig
from mlrm.datasets import read_pairs, split_validation
from mlrm.train_options import TrainOptions
from mlrm.trainer import Trainer
from mlrm.training_log import TrainingLog
from mlrm.training_pairs import TrainingPairs

SIDE = 224
CONFIG = MLRMConfig.paper(
    trunk="efficientnet_lite0",
    image_size=SIDE,
    regions=2,
    token_dim=32,
    transformer_layers=1,
    l2norm=True,
)
OPTIONS = TrainOptions(
    epochs=2, batch=4, warmup_steps=2, separate_steps=2, average=0.5, cache_variants=2, evaluate_every=1
)
EARLY = tuple(f"networks.0.trunk.{name}." for name in ("_conv_stem", "_bn0", *(f"_blocks.{i}" for i in range(5))))
"""The light trunk's stages up to level 1."""


def draw_pairs(folder: Path, stems: list[str], sketches: int = 1) -> Path:
    """A plain folder: of each stem a photo of three coloured rectangles, and sketches of their outlines."""
    for stem in stems:
        rng = np.random.default_rng([ord(letter) for letter in stem])
        corners = np.sort(rng.integers(4, 60, (3, 2, 2)), axis=1)
        photo, sketch = (Image.new("RGB", (64, 64), "white") for _ in range(2))
        for (left, top), (right, bottom) in corners.tolist():
            colour = tuple(rng.integers(0, 200, 3).tolist())
            ImageDraw.Draw(photo).rectangle((left, top, right, bottom), fill=colour)
            ImageDraw.Draw(sketch).rectangle((left, top, right, bottom), outline="black")
        for name, image, numbers in (("photos", photo, [0]), ("sketches", sketch, range(1, sketches + 1))):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for number in numbers:
                image.save(folder / name / (f"{stem}_{number}.png" if number else f"{stem}.png"))
    return folder


class KilledError(Exception):
    """Stands for the end of the process."""


def killed_in_epoch(number: int) -> Callable[[str, int, int], None]:
    def progress(what: str, done: int, total: int) -> None:
        if what.startswith(f"epoch {number}/"):
            raise KilledError

    return progress


def silent(what: str, done: int, total: int) -> None:
    """Report progress to nobody."""


def trainer_of(
    data: Path,
    out: Path,
    options: TrainOptions = OPTIONS,
    *,
    model_seed: int = 0,
    config: MLRMConfig = CONFIG,
    progress: Callable[[str, int, int], None] = silent,
    validation: int = 3,
) -> Trainer:
    out.mkdir(exist_ok=True)
    dataset = read_pairs(data, "train")
    held_out = {}
    if validation:
        dataset, held_out["boxes"] = split_validation(dataset, validation, seed=0)
    pairs = TrainingPairs(config.image_size)
    pairs.add(dataset, "boxes")
    torch.manual_seed(model_seed)
    return Trainer(MLRM(config), pairs, held_out, options, out, torch.device("cpu"), progress)


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """The leaves of nested dicts and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return {name: value}
    return {key: leaf for part, inner in items for key, leaf in flat(inner, f"{name}/{part}").items()}


def assert_equal_trees(actual: Any, expected: Any) -> None:
    """Equal to the last bit."""
    a, b = flat(actual), flat(expected)
    assert list(a) == list(b)
    different = [
        name
        for name, value in a.items()
        if not (torch.equal(value, b[name]) if isinstance(value, Tensor) else value == b[name])
    ]
    assert different == []


def snapshot(model: MLRM) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(model: MLRM, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def one_step(data: Path, out: Path, **options: Any) -> tuple[Trainer, set[str]]:
    """The trainer after one epoch of a single step, and the names of what it changed."""
    values = {"epochs": 1, "batch": 4, "warmup_steps": 1, "separate_steps": 1, "cache_variants": 0}
    trainer = trainer_of(data, out, TrainOptions(**values | options), validation=0)
    before = snapshot(trainer.model)
    trainer.steps_per_epoch = 1
    trainer.run()
    return trainer, changed(trainer.model, before)


def resumed_run(data: Path, out: Path, options: TrainOptions = OPTIONS) -> Path:
    """One epoch, killed in the second, and the second again by a new trainer of another random model."""
    with pytest.raises(KilledError):
        trainer_of(data, out, options, progress=killed_in_epoch(2)).run()
    trainer = trainer_of(data, out, options, model_seed=1)
    trainer.resume()
    assert trainer.epoch == 1
    trainer.run()
    return out


def assert_equal_runs(actual: Path, expected: Path) -> None:
    for name in ("last.pt", "best.pt"):
        files = (torch.load(out / name, weights_only=True) for out in (actual, expected))
        assert_equal_trees(*files)
    rows = [
        [{name: value for name, value in row.items() if name != "seconds"} for row in TrainingLog(out).rows()]
        for out in (actual, expected)
    ]
    assert rows[0] == rows[1]


def drawn_pairs(data: Path) -> TrainingPairs:
    pairs = TrainingPairs(64)
    pairs.add(read_pairs(data, "train"), "boxes")
    return pairs
