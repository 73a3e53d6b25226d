"""The pretraining loop: a trunk that brings sketches and photos together, read in lying bands of level 3."""

import csv
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mlrm.datasets import PairDataset
from mlrm.devices import computes_bfloat16
from mlrm.errors import CheckpointError, ConfigError, TrainingError
from mlrm.images import load_image
from mlrm.losses import bands
from mlrm.model import MLRM
from mlrm.ranges import require_choice, require_positive, require_whole
from mlrm.run_record import digest_data, require_same_data
from mlrm.training_pairs import AugmentedImages, TrainingPairs, prefetched
from mlrm.transforms import image_to_tensor
from mlrm.trunks.base import early_parameters

TEMPERATURE = 0.05
"""Distances are divided by it before the softmax."""
WEIGHT_DECAY = 1e-3
AVERAGE = 0.99
WARMUP_STEPS = 50
DECAY = 0.3
"""Share of the steps, the last ones, in which the learning rate falls to 0."""
CHUNK = 8
"""Images that a CPU's thread takes through the trunk at once: their maps then stay in its cache."""


@dataclass(frozen=True)
class PretrainOptions:
    """Options of `Pretrainer`; raises `ConfigError` for those that can't be."""

    steps: int = 1000
    batch: int = 32
    """Pairs a step: every other photo of the batch is a negative."""
    lr: float = 5e-4
    freeze_early: bool = True
    """Leave the stages up to level 1 as they are."""
    validate_every: int = 100
    """Steps between validations, each of which leaves a state to resume from."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, lowest in (("steps", 1), ("batch", 2), ("validate_every", 1), ("seed", 0)):
            require_whole(name, getattr(self, name), lowest)
        require_choice("freeze_early", self.freeze_early, (True, False))
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


class Pretrainer:
    """Trains the trunk of `model` in place, its BatchNorm statistics and, unless told not to, early stages frozen.

    model: one network for both domains, on `device`; only its trunk is used. held_out: validated every so many steps.
    out: the trunk's file; beside it are kept its curve (`.csv`) and what a stopped run resumes from (`.last.pt`).
    progress: called with (what, done, total).
    """

    def __init__(
        self,
        model: MLRM,
        pairs: TrainingPairs,
        held_out: dict[str, PairDataset],
        options: PretrainOptions,
        out: Path,
        device: torch.device,
        progress: Callable[[str, int, int], None],
    ) -> None:
        torch.manual_seed(options.seed)
        self.model, self.held_out, self.options = model.eval(), held_out, options
        self.device, self.progress = device, progress
        self.curve, self.last = out.with_suffix(".csv"), out.with_suffix(".last.pt")
        self.data = digest_data(pairs.files, held_out)
        self.rng = np.random.default_rng([options.seed, 2])
        self.trunk = model.network().trunk
        early = early_parameters(self.trunk, model.config.image_size) if options.freeze_early else set()
        for parameter in early:
            parameter.requires_grad_(False)
        self.trained = [parameter for parameter in self.trunk.parameters() if parameter not in early]
        self.optimizer = torch.optim.AdamW(self.trained, options.lr, weight_decay=WEIGHT_DECAY)
        self.average = AveragedModel(self.trunk, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE))  # type: ignore[no-untyped-call]
        source = AugmentedImages(pairs, model, True, device)
        self.batches = (
            torch.cat((source.prepare(sketches, self.rng), source.prepare(photos, self.rng)))
            for sketches, photos in pairs.batches(options.batch, self.rng)
        )
        self.step = 0
        self.rows: list[dict[str, float]] = []

    def run(self, report: Callable[[str], None]) -> dict[str, Tensor]:
        """Train to the last step, from wherever `resume` left off; `report` gets a line a validation.

        Returns the trunk's state with the weights' running average, which is what was validated.
        Raises `TrainingError` if the loss becomes infinite.
        """
        with self._workers() as workers:
            while self.step < self.options.steps:
                end = min(self.options.steps, self.step + self.options.validate_every)
                losses = []
                # None is drawn beyond the last, so that the saved random state is that of a run without a break.
                for images in prefetched(self.batches, end - self.step):
                    losses.append(self._step(images, workers))
                    self.step += 1
                    self.progress("pretrain", self.step, self.options.steps)
                shares = {name: float((self.ranks(part) == 1).double().mean()) for name, part in self.held_out.items()}
                self._keep({"step": self.step, "loss": float(np.mean(losses)), **shares})
                accuracies = [f"{name} {100 * share:.1f} %" for name, share in shares.items()]
                line = [f"step {self.step}/{self.options.steps}", f"loss {np.mean(losses):.3f}", *accuracies]
                report(", ".join(line))
        return {name: value.detach().cpu().contiguous() for name, value in self.average.module.state_dict().items()}

    @contextmanager
    def _workers(self) -> Iterator[ThreadPoolExecutor]:
        """Threads that run chunks side by side: each alone is faster than all of them together on one chunk."""
        count = torch.get_num_threads() if self.device.type == "cpu" else 1
        single = (lambda: torch.set_num_threads(1)) if self.device.type == "cpu" else (lambda: None)
        with ThreadPoolExecutor(count, initializer=single) as workers:
            yield workers

    def _chunks(self, images: Tensor) -> tuple[Tensor, ...]:
        return torch.split(images, CHUNK if self.device.type == "cpu" else len(images))

    def _step(self, images: Tensor, workers: ThreadPoolExecutor) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.lr * self._lr_factor()
        chunks = self._chunks(images)
        parts = list(workers.map(self._features, chunks))
        features = torch.cat([part.detach() for part in parts]).requires_grad_()
        pairs = len(images) // 2
        loss = contrastive_loss(band_distance(features[:pairs], features[pairs:]))
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss became {loss.item()} at step {self.step + 1}; lower --lr")
        (of_features,) = torch.autograd.grad(loss, features)
        self.optimizer.zero_grad(set_to_none=True)
        of_parts = torch.split(of_features, [len(part) for part in parts])
        for gradients in workers.map(self._gradients, parts, of_parts):
            for parameter, gradient in zip(self.trained, gradients, strict=True):
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        self.optimizer.step()
        self.average.update_parameters(self.trunk)
        return loss.item()

    def _lr_factor(self) -> float:
        left = (self.options.steps - self.step) / (DECAY * self.options.steps)
        return min((self.step + 1) / WARMUP_STEPS, left, 1.0)

    def _features(self, images: Tensor, trunk: torch.nn.Module | None = None) -> Tensor:
        """Band features of images, uint8 [B, 3, size, size]."""
        runs = cast(Any, self.trunk if trunk is None else trunk)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=computes_bfloat16(self.device)):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.options.freeze_early):
                normalised = self.model.network().normalise(images.to(self.device))
                early = runs.early(normalised.contiguous(memory_format=torch.channels_last))[1]
            level3 = runs.tail(runs.middle(early))
        return band_features(level3.float(), self.model.config.regions)

    def _gradients(self, part: Tensor, of_part: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(part, self.trained, of_part)

    def ranks(self, dataset: PairDataset) -> Tensor:
        """Rank (from 1) of each sketch's own photo by their bands, for the averaged weights: int64 [sketches].

        As in `mlrm.accuracy.ranks`, another photo at the same distance counts as nearer.
        """

        def encoded(images: Tensor) -> Tensor:
            with torch.inference_mode():
                return self._features(images, self.average.module)

        def features(paths: list[Path]) -> Tensor:
            images = [image_to_tensor(load_image(path), self.model.config.image_size) for path in paths]
            return torch.cat(list(workers.map(encoded, torch.split(torch.stack(images), CHUNK))))

        with self._workers() as workers:
            distance = band_distance(features(dataset.sketches), features(dataset.photos))
        own = torch.as_tensor(dataset.photo_of, device=distance.device)
        return (distance <= distance.gather(1, own[:, None])).sum(1).cpu()

    def _keep(self, row: dict[str, float]) -> None:
        """Write the curve, then the state; a run stopped between the two writes the row once more."""
        self.rows.append(row)
        partial = self.curve.with_name(self.curve.name + ".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows({name: f"{value:.6g}" for name, value in kept.items()} for kept in self.rows)
        partial.replace(self.curve)
        state = {
            "step": self.step,
            "rows": self.rows,
            "options": asdict(self.options),
            "data": self.data,
            "trunk": self.trunk.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.rng.bit_generator.state,
        }
        partial = self.last.with_name(self.last.name + ".partial")
        torch.save(state, partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(self.last)

    def resume(self) -> None:
        """Go on from the state beside `out`. `steps` may differ from what it was: the run is then longer or shorter.

        Raises `ConfigError` if that run had other options or other data; `CheckpointError` for a file it didn't write.
        """
        try:
            state = torch.load(self.last, map_location=self.device, weights_only=True)
            then = state["options"] | {"steps": self.options.steps}
        except (RuntimeError, KeyError, TypeError, EOFError, UnpicklingError) as error:
            raise CheckpointError(
                f"{self.last} is no state of this command ({error}); remove it to begin anew"
            ) from error
        if then != asdict(self.options):
            raise ConfigError(
                f"{self.last} was trained with {then}, found {asdict(self.options)}; resume with the same options, or "
                "start a new run with another --out"
            )
        require_same_data(self.last, state["data"], self.data)
        self.trunk.load_state_dict(state["trunk"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["random"]
        self.step, self.rows = state["step"], state["rows"]
