"""The pairs that an exported model is checked on and int8's ranges are found on: a data set's, or drawn ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mlrm.datasets import Split, read_pairs
from mlrm.decoding import decode, refuse_corrupt
from mlrm.procedural import draw_product, render_photo, render_sketch
from mlrm.transforms import image_to_tensor

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""
SEED = {"test": 1_000_000, "train": 2_000_000}
"""First product of the drawn pairs: parity is not measured on what the ranges of int8 were found on."""


@dataclass(frozen=True)
class ImagePairs:
    """Sketches and photos as uint8 [N, 3, size, size], and each sketch's photo."""

    name: str
    sketches: Tensor
    photos: Tensor
    photo_of: list[int]


def load_pairs(data: Path | None, split: Split, size: int, count: int, progress: Progress) -> ImagePairs:
    """Up to `count` photos, each with one sketch: of the folder `data`, or drawn where that is None.

    split: "test" to compare on, "train" to calibrate on. size: side in pixels.
    Raises `DatasetError` for a folder without that split or with files that can't be used.
    """
    return _drawn(split, size, count, progress) if data is None else _read(data, split, size, count, progress)


def _drawn(split: Split, size: int, count: int, progress: Progress) -> ImagePairs:
    sketches, photos = [], []
    for number in range(count):
        product = draw_product(SEED[split] + number)
        sketches.append(image_to_tensor(render_sketch(product, seed=0, size=size), size))
        photos.append(image_to_tensor(render_photo(product, size=size), size))
        progress("draw pairs", number + 1, count)
    return ImagePairs(pairs_name(None, split, count), torch.stack(sketches), torch.stack(photos), list(range(count)))


def _read(data: Path, split: Split, size: int, count: int, progress: Progress) -> ImagePairs:
    dataset, sketches, photos = _chosen(data, split, count)
    images, errors = decode(
        [*sketches, *photos],
        lambda image: image_to_tensor(image, size),
        lambda done, total: progress("decode", done, total),
    )
    refuse_corrupt(dataset, errors)
    count = len(sketches)
    name = pairs_name(data, split, count)
    return ImagePairs(name, torch.stack(images[:count]), torch.stack(images[count:]), list(range(count)))


def _chosen(data: Path, split: Split, count: int) -> tuple[str, list[Path], list[Path]]:
    """The data set's name, and the sketches and photos that are taken."""
    dataset = read_pairs(data, split)
    sketch_of = {
        photo: sketch for sketch, photo in reversed(list(zip(dataset.sketches, dataset.photo_of, strict=True)))
    }
    drawn = sorted(sketch_of)
    # Spread over the whole: neighbours in a list are often of one category.
    count = min(count, len(drawn))
    chosen = [drawn[number * len(drawn) // count] for number in range(count)]
    return dataset.name, [sketch_of[photo] for photo in chosen], [dataset.photos[photo] for photo in chosen]


def pairs_name(data: Path | None, split: Split, count: int) -> str:
    """What `load_pairs` would take, without decoding it: equal names, equal images. Raises as it does."""
    if data is None:
        return f"{count} drawn pairs ({split})"
    dataset, sketches, photos = _chosen(data, split, count)
    content = hashlib.sha256()
    for file in (*sketches, *photos):
        content.update(hashlib.sha256(file.read_bytes()).digest())
    return f"{len(sketches)} pairs of {dataset} ({split}, {content.hexdigest()[:12]})"
