"""How well sketches find their photos: ranks and the numbers made of them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from kernels import GalleryBlock, distance_rank
from mlrm.features import Features

QUERY_CHUNK = 256


@dataclass(frozen=True)
class Accuracy:
    """Shares (0..1) of sketches whose photo is among the 1, 5, 10 nearest, and the median rank (1 is best)."""

    acc1: float
    acc5: float
    acc10: float
    median_rank: float
    sketches: int
    photos: int

    def to_dict(self) -> dict[str, Any]:
        """The numbers by name."""
        return asdict(self)


def ranks(sketch: Features, photo: Features, photo_of: Sequence[int], region_weight_power: int) -> Tensor:
    """Rank (from 1) of each sketch's own photo in the gallery, int64 [Q], exact.

    Another photo at the same distance counts as nearer, so that a model that can't tell photos apart gains nothing.
    """
    own = torch.as_tensor(photo_of, device=sketch.region_weights.device)
    block = GalleryBlock.of(photo)  # one for all chunks, so that what is derived from it is derived once
    chunks = range(0, len(sketch), QUERY_CHUNK)
    parts = (slice(start, start + QUERY_CHUNK) for start in chunks)
    return torch.cat(
        [distance_rank(sketch[p], block, own[p], region_weight_power=region_weight_power).cpu() for p in parts]
    )


def accuracy(rank: Tensor, photos: int) -> Accuracy:
    """Summarise ranks [Q] in a gallery of `photos`."""

    def share(k: int) -> float:
        return float((rank <= k).double().mean())

    return Accuracy(share(1), share(5), share(10), float(rank.double().quantile(0.5)), len(rank), photos)


def by_thirds(rank: Tensor, amount: Tensor, photos: int) -> list[tuple[float, float, Accuracy]]:
    """The accuracy of the sketches with least, middling and most of something.

    rank: ranks [Q] in a gallery of `photos`. amount: how much each sketch has of it, [Q]; of equal ones the earlier
    sketch counts as less. Returns (lowest, highest amount, accuracy) of each third; fewer if there are fewer sketches.
    """
    order = amount.argsort(stable=True)
    parts = [part for part in order.tensor_split(3) if len(part)]
    return [(float(amount[p[0]]), float(amount[p[-1]]), accuracy(rank[p], photos)) for p in parts]


def encode(
    encoder: Callable[[Tensor], Features], images: Sequence[Tensor], batch: int, progress: Callable[[int], None]
) -> Features:
    """Run `encoder` over images (each [3, H, W]) in batches; `progress` gets the number of images done."""
    parts = []
    for start in range(0, len(images), batch):
        chunk = images[start : start + batch]
        with torch.inference_mode():
            parts.append(encoder(torch.stack(list(chunk))))
        progress(start + len(chunk))
    return Features.cat(parts)
