"""What a training step sees: batches of pairs, augmented, as the trunk's early maps."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlrm.datasets import PairDataset
from mlrm.errors import DatasetError
from mlrm.images import load_image
from mlrm.model import MLRM, Domain
from mlrm.transforms import PairAugment, to_square

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Identity:
    """One product: every photo and every sketch of it, as numbers into `TrainingPairs.images`."""

    photos: list[int]
    sketches: list[int]


@dataclass(frozen=True)
class Draw:
    """One image of a batch: its number and whether the pair is flipped."""

    image: int
    flipped: bool


class TrainingPairs:
    """The images of some data sets, and batches of distinct products of one category drawn from them.

    A batch stays within a category because another category's photos are no challenge as negatives.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[NDArray[np.uint8]] = []
        self.domains: list[Domain] = []
        self.categories: dict[str, dict[str, Identity]] = {}

    def add(self, dataset: PairDataset, category: str, progress: Progress | None = None) -> None:
        """Decode a data set into a category; a product whose photo's stem is there already gains views of it."""
        identities = self.categories.setdefault(category, {})
        own = [
            identities.setdefault(photo.relative_to(dataset.root).parent.name + photo.stem, Identity([], []))
            if dataset.layout == "sketchy"
            else identities.setdefault(photo.stem, Identity([], []))
            for photo in dataset.photos
        ]
        jobs = [(path, own[i].photos, "photo") for i, path in enumerate(dataset.photos)]
        jobs += [(p, own[i].sketches, "sketch") for p, i in zip(dataset.sketches, dataset.photo_of, strict=True)]
        for done, (path, numbers, domain) in enumerate(jobs, 1):
            numbers.append(self._load(path, "sketch" if domain == "sketch" else "photo"))
            if progress is not None:
                progress(done, len(jobs))
        for name in [name for name, identity in identities.items() if not identity.sketches]:
            del identities[name]

    def _load(self, path: Path, domain: Domain) -> int:
        self.images.append(np.array(to_square(load_image(path), self.size)))
        self.domains.append(domain)
        return len(self.images) - 1

    def steps_per_epoch(self, batch: int) -> int:
        """Batches that show every product about once; raises `DatasetError` if a category has under 2 products."""
        for category, identities in self.categories.items():
            if len(identities) < 2:
                raise DatasetError(
                    f"{category} has {len(identities)} products with a sketch to train on; need 2 or more"
                )
        return sum(max(1, round(len(identities) / batch)) for identities in self.categories.values())

    def batches(self, batch: int, rng: np.random.Generator) -> Iterator[tuple[list[Draw], list[Draw]]]:
        """Endless batches: sketches and photos of up to `batch` distinct products of one category, in pairs."""
        names = list(self.categories)
        sizes = np.array([len(self.categories[name]) for name in names], float)
        while True:
            identities = list(self.categories[names[rng.choice(len(names), p=sizes / sizes.sum())]].values())
            chosen = rng.choice(len(identities), min(batch, len(identities)), replace=False)
            sketches, photos = [], []
            for identity in (identities[i] for i in chosen):
                flipped = bool(rng.random() < 0.5)
                sketches.append(Draw(int(rng.choice(identity.sketches)), flipped))
                photos.append(Draw(int(rng.choice(identity.photos)), flipped))
            yield sketches, photos

    def vary(self, draw: Draw, augment: PairAugment, rng: np.random.Generator) -> Tensor:
        """One augmented image, uint8 [3, size, size]."""
        function = augment.sketch if self.domains[draw.image] == "sketch" else augment.photo
        return function(self.images[draw.image], draw.flipped, rng)


class AugmentedImages:
    """Augments on the fly and runs the whole trunk: on a GPU, or where the early stages are trained too."""

    def __init__(self, pairs: TrainingPairs, model: MLRM, freeze_early: bool, device: torch.device) -> None:
        self.pairs, self.model, self.freeze_early, self.device = pairs, model, freeze_early, device
        self.augment = PairAugment(pairs.size)

    def early(self, draws: list[Draw], domain: Domain, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Maps of levels 0 and 1 of a batch."""
        images = torch.stack([self.pairs.vary(draw, self.augment, rng) for draw in draws]).to(self.device)
        with torch.set_grad_enabled(not self.freeze_early):
            return _early(self.model, images, domain)


class CachedEarlyMaps:
    """Frozen early stages, run once for some augmented variants of every image: what makes a CPU fast enough.

    Even variants are unflipped and odd ones flipped, so that a pair's flip agrees. Memory: images x variants x
    C_1 x (size / 8)^2 x 2 bytes, 82 KB a variant for the light trunk at 256 pixels.
    """

    def __init__(
        self, pairs: TrainingPairs, model: MLRM, variants: int, seed: int, device: torch.device, progress: Progress
    ) -> None:
        self.variants, self.device = variants, device
        augment, rng = PairAugment(pairs.size), np.random.default_rng([seed, 1])
        self.level1 = torch.empty(0)

        def augmented(number: int) -> Tensor:
            draws = [Draw(number, variant % 2 == 1) for variant in range(variants)]
            return torch.stack([pairs.vary(draw, augment, rng) for draw in draws])

        # The next image is augmented while this one is encoded; by one worker, so that random numbers keep their order.
        with ThreadPoolExecutor(1) as ahead:
            pending = ahead.submit(augmented, 0)
            for number, domain in enumerate(pairs.domains):
                images = pending.result().to(device)
                if number + 1 < len(pairs.domains):
                    pending = ahead.submit(augmented, number + 1)
                with torch.no_grad():
                    _, level1 = _early(model, images, domain)
                if not number:
                    self.level1 = torch.empty((len(pairs.images), *level1.shape), dtype=torch.bfloat16)
                self.level1[number] = level1.to("cpu", torch.bfloat16)
                progress(number + 1, len(pairs.images))

    def early(self, draws: list[Draw], domain: Domain, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Maps of levels 0 (empty: not cached) and 1 of a batch."""
        variants = [2 * int(rng.integers(self.variants // 2)) + draw.flipped for draw in draws]
        level1 = self.level1[[draw.image for draw in draws], variants].to(self.device)
        return level1.new_empty(0), level1.contiguous(memory_format=torch.channels_last)


def _early(model: MLRM, images: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
    network = model.network(domain)
    normalised = network.normalise(images).contiguous(memory_format=torch.channels_last)
    return network.trunk.early(normalised)
