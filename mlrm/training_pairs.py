"""What a training step sees: batches of pairs, augmented, as the trunk's early maps."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlrm.datasets import PairDataset
from mlrm.decoding import decode
from mlrm.errors import DatasetError, ImageError
from mlrm.model import MLRM, Domain
from mlrm.transforms import PairAugment, to_square

Progress = Callable[[int, int], None]
T = TypeVar("T")

FLIPPED = 0.5
"""Share of pairs that are mirrored."""
EARLY_CHUNK = 8
"""Images that frozen early stages take at once: their large maps then stay in a CPU's cache (0.64 s for 64 images on 2
cores, 1.2 s at once)."""


@dataclass(frozen=True)
class Identity:
    """One product: every photo and every sketch of it, as numbers into `TrainingPairs.images`.

    weight: how often it is drawn, compared with others.
    """

    photos: list[int]
    sketches: list[int]
    weight: float = 1.0


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
        self.files: dict[str, list[str]] = {}
        """The images' names within their data sets, by category."""

    def add(
        self, dataset: PairDataset, category: str, progress: Progress | None = None, weight: float = 1.0
    ) -> list[ImageError]:
        """Decode a data set into a category; a product whose photo's key is there already gains views of it.

        weight: how often its new products are drawn, compared with others.

        Returns one error for each image that can't be used; with any, nothing of the data set is added.
        """
        paths = [*dataset.photos, *dataset.sketches]
        images, errors = decode(paths, lambda image: np.array(to_square(image, self.size)), progress)
        if errors:
            return errors
        identities = self.categories.setdefault(category, {})
        own = [identities.setdefault(key, Identity([], [], weight)) for key in dataset.keys]
        first = len(self.images)
        for number, identity in enumerate(own, first):
            identity.photos.append(number)
        for number, photo in enumerate(dataset.photo_of, first + len(own)):
            own[photo].sketches.append(number)
        self.images += images
        self.domains.extend("photo" for _ in dataset.photos)
        self.domains.extend("sketch" for _ in dataset.sketches)
        self.files.setdefault(category, []).extend(dataset.relative(paths))
        for name in [name for name, identity in identities.items() if not identity.sketches]:
            del identities[name]
        return []

    def part(
        self, share: float, seed: int, among: Callable[[Identity], bool] = lambda product: True
    ) -> "TrainingPairs":
        """The same images, with a share of each category's products to train on; a smaller share is part of a larger.

        among: which products the share is taken of; all others stay. Which are kept depends on names and seed alone.
        Images keep their numbers, so maps cached for all serve the part too.
        """
        result = TrainingPairs(self.size)
        result.images, result.domains, result.files = self.images, self.domains, self.files
        for category, identities in self.categories.items():
            shared = sorted(name for name, one in identities.items() if among(one))
            order = np.random.default_rng([seed, 3]).permutation(shared)
            left_out = set(order[round(share * len(order)) :].tolist())
            result.categories[category] = {name: one for name, one in identities.items() if name not in left_out}
        return result

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
        categories = [list(identities.values()) for identities in self.categories.values()]
        weights = [np.array([identity.weight for identity in identities]) for identities in categories]
        totals = np.array([each.sum() for each in weights])
        while True:
            category = rng.choice(len(categories), p=totals / totals.sum())
            identities, chance = categories[category], weights[category] / totals[category]
            chosen = rng.choice(len(identities), min(batch, len(identities)), replace=False, p=chance)
            sketches, photos = [], []
            for identity in (identities[i] for i in chosen):
                flipped = bool(rng.random() < FLIPPED)
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
        self.workers = ThreadPoolExecutor(torch.get_num_threads())

    def prepare(self, draws: list[Draw], rng: np.random.Generator) -> Tensor:
        """The augmented images of a batch, uint8 [B, 3, size, size]; one takes 3 to 8 ms of a core, so side by side."""
        # Each gets random numbers of its own: they don't depend on which thread comes first.
        own = [np.random.default_rng(seed) for seed in rng.integers(2**63, size=len(draws))]
        return torch.stack(list(self.workers.map(lambda draw, of: self.pairs.vary(draw, self.augment, of), draws, own)))

    def early(self, images: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        """Maps of levels 0 and 1 of a prepared batch."""
        images = images.to(self.device)
        if not self.freeze_early:
            return _early(self.model, images, domain)
        with torch.no_grad():
            chunks = torch.split(images, EARLY_CHUNK if self.device.type == "cpu" else len(images))
            level0, level1 = zip(*(_early(self.model, chunk, domain) for chunk in chunks), strict=True)
            return torch.cat(level0), torch.cat(level1)


class CachedEarlyMaps:
    """Frozen early stages, run once for some augmented variants of every image: what makes a CPU fast enough.

    Even variants are unflipped and odd ones flipped, so that a pair's flip agrees. Memory: images x variants x
    C_1 x (size / 8)^2 x 2 bytes in bfloat16, 82 KB a variant for the light trunk at 256 pixels; twice that in float32.
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

        images_of = (augmented(number) for number in range(len(pairs.domains)))
        for number, images in enumerate(prefetched(images_of, len(pairs.domains))):
            with torch.no_grad():
                _, level1 = _early(model, images.to(device), pairs.domains[number])
            if not number:
                self.level1 = torch.empty((len(pairs.images), *level1.shape), dtype=level1.dtype)
            self.level1[number] = level1.cpu()
            progress(number + 1, len(pairs.images))

    def prepare(self, draws: list[Draw], rng: np.random.Generator) -> Tensor:
        """Level 1 of a variant of each image [B, C_1, h, w], in the type the stages computed in."""
        variants = [2 * int(rng.integers(self.variants // 2)) + draw.flipped for draw in draws]
        return self.level1[[draw.image for draw in draws], variants]

    def early(self, level1: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        """Maps of levels 0 (empty: not cached) and 1 of a prepared batch."""
        level1 = level1.to(self.device)
        return level1.new_empty(0), level1.contiguous(memory_format=torch.channels_last)


def prefetched(items: Iterator[T], count: int) -> Iterator[T]:
    """The next `count` of `items` and no more, each made by a worker thread while the one before is in use.

    By one worker, so that random numbers keep their order.
    """
    with ThreadPoolExecutor(1) as worker:
        pending = [worker.submit(next, items)] if count else []
        for taken in range(1, count + 1):
            item = pending.pop().result()
            if taken < count:
                pending.append(worker.submit(next, items))
            yield item


def _early(model: MLRM, images: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
    network = model.network(domain)
    normalised = network.normalise(images).contiguous(memory_format=torch.channels_last)
    return network.trunk.early(normalised)
