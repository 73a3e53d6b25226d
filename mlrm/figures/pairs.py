"""Pairs as the figures need them: the pictures themselves, and what one model makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from mlrm.accuracy import encode
from mlrm.datasets import PairDataset, Split, read_pairs
from mlrm.decoding import decode, refuse_corrupt
from mlrm.features import Features
from mlrm.model import MLRM, Domain
from mlrm.procedural import write_pairs
from mlrm.transforms import image_to_tensor

BATCH = 16
SEED = 20_000
"""Of the drawn products; no other command's."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Pictures:
    """Pictures as a model sees them, uint8 [3, size, size] each, and each sketch's photo."""

    name: str
    sketches: list[Tensor]
    photos: list[Tensor]
    photo_of: list[int]
    photo_names: list[str]


@dataclass(frozen=True)
class Seen:
    """What a model makes of `Pictures`: features with their maps, on the CPU. name: what the figures call the model."""

    name: str
    model: MLRM
    sketches: Features
    photos: Features


def read(folder: Path | None, split: Split, drawn: int, size: int, progress: Progress) -> Pictures:
    """Decode the pairs of a folder, or draw so many products where that is None.

    Raises `DatasetError` naming every file that can't be used.
    """
    if folder is not None:
        return _decoded(read_pairs(folder, split), size, progress)
    with TemporaryDirectory() as place:
        pairs = Path(place, "drawn")
        write_pairs(pairs, drawn, SEED, progress=lambda done, total: progress("draw pairs", done, total))
        return _decoded(read_pairs(pairs, "train"), size, progress)


def _decoded(pairs: PairDataset, size: int, progress: Progress) -> Pictures:
    images, errors = decode(
        [*pairs.sketches, *pairs.photos],
        lambda image: image_to_tensor(image, size),
        lambda done, total: progress(f"{pairs.name}: decode", done, total),
    )
    refuse_corrupt(pairs.name, errors)
    count = len(pairs.sketches)
    names = [photo.stem for photo in pairs.photos]
    return Pictures(pairs.name, images[:count], images[count:], pairs.photo_of, names)


def see(name: str, model: MLRM, pictures: Pictures, device: torch.device, progress: Progress) -> Seen:
    """Run a model, which is in eval mode and on `device`, over all pictures."""

    def features(images: Sequence[Tensor], domain: Domain) -> Features:
        def encoder(batch: Tensor) -> Features:
            found: Features = model(batch.to(device), domain)
            return found.to("cpu")

        return encode(encoder, images, BATCH, lambda done: progress(f"{pictures.name}: {domain}s", done, len(images)))

    return Seen(name, model, features(pictures.sketches, "sketch"), features(pictures.photos, "photo"))


def spread(count: int, total: int) -> list[int]:
    """`count` numbers below `total`, evenly spread: what is shown is not chosen by what it shows."""
    count = min(count, total)
    return [(2 * number + 1) * total // (2 * count) for number in range(count)]
