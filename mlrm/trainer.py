"""The training loop: steps, validation, checkpoints that resume exactly."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mlrm.accuracy import Accuracy, accuracy, encode, ranks
from mlrm.checkpoint import load_training, save
from mlrm.datasets import PairDataset
from mlrm.devices import computes_bfloat16
from mlrm.errors import ConfigError, TrainingError
from mlrm.features import Features
from mlrm.images import load_image
from mlrm.losses import band_mismatch, mlrm_losses
from mlrm.model import MLRM, Domain, Network
from mlrm.regions import CAMA
from mlrm.run_record import digest_data, require_same_data
from mlrm.train_options import TrainOptions
from mlrm.training_log import TrainingLog
from mlrm.training_pairs import AugmentedImages, CachedEarlyMaps, TrainingPairs, prefetched
from mlrm.transforms import image_to_tensor
from mlrm.trunks.base import early_parameters

Extracted = tuple[tuple[Tensor, ...], Tensor]
"""Level maps and region maps, as a `Network` returns them."""


class Trainer:
    """Trains `model` in place and writes `last.pt`, `best.pt`, `log.csv` and `curve.png` into `out`."""

    def __init__(
        self,
        model: MLRM,
        pairs: TrainingPairs,
        validation: dict[str, PairDataset],
        options: TrainOptions,
        out: Path,
        device: torch.device,
        progress: Callable[[str, int, int], None],
    ) -> None:
        if options.cache_variants and 0 in model.config.levels:
            raise ConfigError("level 0 is matched, and early maps are cached for level 1 only; use cache_variants=0")
        self.options, self.out, self.device, self.progress = options, out, device, progress
        self.pairs, self.validation = pairs, validation
        self.data = digest_data(pairs.files, validation)
        torch.manual_seed(options.seed)
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.steps_per_epoch = pairs.steps_per_epoch(options.batch)
        self.rng = np.random.default_rng([options.seed, 0])
        self.draws = pairs.batches(options.batch, self.rng)
        self.optimizer = torch.optim.AdamW(self._parameter_groups(), weight_decay=options.weight_decay)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._lr_factor)
        average = get_ema_multi_avg_fn(options.average)  # type: ignore[no-untyped-call]
        self.averaged = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        self.epoch, self.best = 0, -1.0
        self.early_maps: CachedEarlyMaps | None = None
        """Set before `run`, those of another run with the same data and early stages are used instead of new ones."""
        self.log = TrainingLog(out)

    def _source(self) -> AugmentedImages | CachedEarlyMaps:
        if not self.options.cache_variants:
            self.model.eval()
            return AugmentedImages(self.pairs, self.model, self.options.freeze_early, self.device)
        return self.early_maps or self.cached_early_maps()

    def cached_early_maps(self) -> CachedEarlyMaps:
        """Run the frozen early stages for all images, as `run` does where `cache_variants` asks for it."""
        self.model.eval()
        with self._precision():
            return CachedEarlyMaps(
                self.pairs,
                self.model,
                self.options.cache_variants,
                self.options.seed,
                self.device,
                lambda done, total: self.progress("early maps", done, total),
            )

    def _precision(self) -> torch.autocast:
        mixed = self.options.mixed_precision and computes_bfloat16(self.device)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=mixed)

    def _parameter_groups(self) -> list[dict[str, Any]]:
        frozen: set[nn.Parameter] = set()
        trunk: list[nn.Parameter] = []
        for network in self.model.networks:
            if not self.options.trunk_lr:
                frozen |= set(cast(Network, network).trunk.parameters())  # gradients of no use are much of a step
            elif self.options.freeze_early:
                frozen |= early_parameters(cast(Network, network).trunk, self.model.config.image_size)
            pretrained = (p for module in _pretrained(cast(Network, network)) for p in module.parameters())
            trunk += [p for p in pretrained if p not in frozen]
        for parameter in frozen:
            parameter.requires_grad_(False)
        known = frozen | set(trunk)
        rest = [p for p in self.model.parameters() if p not in known]
        return [{"params": rest, "lr": self.options.lr}, {"params": trunk, "lr": self.options.trunk_lr}]

    def _lr_factor(self, step: int) -> float:
        total = self.options.epochs * self.steps_per_epoch
        warm = min(1.0, (step + 1) / self.options.warmup_steps)
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))

    def run(self, report: Callable[[str], None] = lambda line: None) -> None:
        """Train to the last epoch, from wherever `resume` left off; `report` gets a line an epoch."""
        if self.epoch >= self.options.epochs:
            return
        # Only now: early maps are made by the early stages that `resume` may just have loaded.
        self.source = self._source()
        self.log.keep(self.epoch)
        if self.epoch == 0 and self.options.separate_steps:
            self._separate()
        while self.epoch < self.options.epochs:
            started = time.perf_counter()
            row = self._train_epoch()
            self.epoch += 1
            row = {"epoch": self.epoch, "lr": float(self.scheduler.get_last_lr()[0])} | row
            if self.epoch % self.options.evaluate_every == 0 or self.epoch == self.options.epochs:
                row |= self._validate()
            row["seconds"] = time.perf_counter() - started
            self.log.append(row)
            report(_line(row, self.options.epochs))
            self.log.draw()
            save(self.model, self.out / "last.pt", training=self._state())

    def _train_epoch(self) -> dict[str, float]:
        self._train_mode()
        totals: dict[str, float] = {}
        for step, batch in enumerate(self._batches(self.steps_per_epoch), 1):
            for name, value in self._step(*batch).items():
                totals[f"loss/{name}"] = totals.get(f"loss/{name}", 0.0) + value / self.steps_per_epoch
            self.progress(f"epoch {self.epoch + 1}/{self.options.epochs}", step, self.steps_per_epoch)
        return totals

    def _batches(self, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """So many batches of prepared sketches and photos, each prepared while the step before runs.

        None is drawn beyond the last, so the random state saved after an epoch is that of a run without prefetching.
        """
        prepare, rng = self.source.prepare, self.rng
        return prefetched(((prepare(sketches, rng), prepare(photos, rng)) for sketches, photos in self.draws), steps)

    def _train_mode(self) -> None:
        self.model.train()
        for module in (part for network in self.model.networks for part in _pretrained(cast(Network, network))):
            for norm in module.modules():
                frozen = isinstance(norm, nn.BatchNorm2d) and not norm.weight.requires_grad
                if isinstance(norm, nn.BatchNorm2d) and (frozen or self.options.freeze_batch_norm):
                    norm.eval()

    def _step(self, sketches: Tensor, photos: Tensor) -> dict[str, float]:
        of_sketch, of_photo = self._extract(sketches, photos)
        losses = mlrm_losses(self.model.describe(*of_sketch), self.model.describe(*of_photo), self.model)
        if self.options.left_out:
            losses = {name: loss for name, loss in losses.items() if name not in (*self.options.left_out, "total")}
            losses["total"] = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        losses["total"].backward()  # type: ignore[no-untyped-call]
        if not torch.isfinite(losses["total"]):
            raise TrainingError(
                f"the loss became {losses['total'].item()}; lower --lr or train without mixed precision"
            )
        self.optimizer.step()
        self.scheduler.step()
        self.averaged.update_parameters(self.model)
        return {name: value.item() for name, value in losses.items()}

    def _separate(self) -> None:
        """Give every region a lying band of the image to start from; changes the region extraction alone."""
        self._train_mode()
        networks = [cast(Network, network) for network in self.model.networks]
        for network in networks:
            network.trunk.eval()  # its BatchNorm statistics are none of the regions'
        parameters = [parameter for network in networks for parameter in network.regions.parameters()]
        optimizer = torch.optim.AdamW(parameters, self.options.separate_lr)
        for step, batch in enumerate(self._batches(self.options.separate_steps), 1):
            (_, sketch_maps), (_, photo_maps) = self._extract(*batch)
            mismatch = band_mismatch(sketch_maps.float()) + band_mismatch(photo_maps.float())
            for parameter, gradient in zip(parameters, torch.autograd.grad(mismatch, parameters), strict=True):
                parameter.grad = gradient
            optimizer.step()
            self.progress("separate regions", step, self.options.separate_steps)

    def _extract(self, sketches: Tensor, photos: Tensor) -> tuple[Extracted, Extracted]:
        """Level maps and region maps of prepared sketches and photos; in one pass if one network serves both."""
        network = self.model.network
        with self._precision():
            of_sketch = self.source.early(sketches, "sketch")
            of_photo = self.source.early(photos, "photo")
            if not self.model.config.shared_networks:
                return network("sketch")(of_sketch), network("photo")(of_photo)
            levels, maps = network()((torch.cat((of_sketch[0], of_photo[0])), torch.cat((of_sketch[1], of_photo[1]))))
        count = len(sketches)
        return (
            (tuple(level[:count] for level in levels), maps[:count]),
            (tuple(level[count:] for level in levels), maps[count:]),
        )

    def _validate(self) -> dict[str, float]:
        row: dict[str, float] = {}
        results = self.evaluate(self._average())
        for name, result in results.items():
            row |= {f"{name}/acc1": result.acc1, f"{name}/acc5": result.acc5, f"{name}/acc10": result.acc10}
        if results:
            # acc@1 decides; acc@10 breaks ties, of which small validation sets have many.
            score = sum(result.acc1 + 1e-3 * result.acc10 for result in results.values()) / len(results)
            if score > self.best:
                self.best = score
                save(self._average(), self.out / "best.pt")
        else:
            save(self._average(), self.out / "best.pt")
        return row

    def _average(self) -> MLRM:
        return cast(MLRM, self.averaged.module)

    def evaluate(self, model: MLRM) -> dict[str, Accuracy]:
        """Accuracy of `model` on each validation part, in the precision of training."""
        model.eval()
        return {name: self._accuracy(model, name, dataset) for name, dataset in self.validation.items()}

    def _accuracy(self, model: MLRM, name: str, dataset: PairDataset) -> Accuracy:
        def features(paths: Iterable[Path], domain: Domain) -> Features:
            images = [image_to_tensor(load_image(path), self.pairs.size) for path in paths]
            return encode(
                lambda batch: self._encode(model, batch, domain),
                images,
                32,
                lambda done: self.progress(f"validate {name}, {domain}s", done, len(images)),
            )

        sketch, photo = features(dataset.sketches, "sketch"), features(dataset.photos, "photo")
        return accuracy(ranks(sketch, photo, dataset.photo_of, model.config.region_weight_power), len(dataset.photos))

    def _encode(self, model: MLRM, images: torch.Tensor, domain: Domain) -> Features:
        network = model.network(domain)
        with self._precision():
            normalised = network.normalise(images.to(self.device)).contiguous(memory_format=torch.channels_last)
            described = network(network.trunk.early(normalised))
        return model.describe(*described)

    def _state(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "best": self.best,
            "options": asdict(self.options),
            "data": self.data,
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "torch_random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
            "numpy_random": self.rng.bit_generator.state,
        }

    def resume(self) -> None:
        """Go on from `last.pt`: the same weights, optimizer and random numbers as without the break.

        Raises `ConfigError` if that run had other options, another model or other data.
        """
        model, state = load_training(self.out / "last.pt")
        if state["options"] != asdict(self.options) or model.config != self.model.config:
            raise ConfigError(
                f"{self.out} was trained with {state['options']} and {model.config}; resume with the same options, or "
                "start a new run with another --out"
            )
        require_same_data(self.out, state.get("data"), self.data)
        self.model.load_state_dict(model.state_dict())
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["torch_random"])
        if state["cuda_random"] is not None:
            torch.cuda.set_rng_state(state["cuda_random"])
        self.rng.bit_generator.state = state["numpy_random"]
        self.epoch, self.best = state["epoch"], state["best"]


def _pretrained(network: Network) -> list[nn.Module]:
    """The parts of a network that start from ImageNet weights."""
    return [network.trunk, network.regions.tails] if isinstance(network.regions, CAMA) else [network.trunk]


def _line(row: dict[str, float], epochs: int) -> str:
    accuracies = [f"{name} {100 * value:.1f} %" for name, value in row.items() if "/acc" in name]
    parts = [
        f"epoch {row['epoch']:g}/{epochs}",
        f"loss {row['loss/total']:.3f}",
        *accuracies,
        f"{row['seconds']:.0f} s",
    ]
    return ", ".join(parts)
