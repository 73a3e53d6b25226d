"""Real pairs as every method reads them: the shipped model's maps, encoded once."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from benches.cases import Rows
from benches.drawn_like import Statistics
from benches.table2.inputs import Side
from benches.table2.sizes import Size
from mlrm import MLRM
from mlrm.checkpoint import SHIPPED, load
from mlrm.datasets import PairDataset, read_pairs
from mlrm.decoding import decode, refuse_corrupt
from mlrm.errors import DatasetError
from mlrm.model import Domain
from mlrm.transforms import image_to_tensor

BATCH = 16
TRUNK = "lite0"
"""Of the shipped model."""

Progress = Callable[[str, int, int], None]


def real_pairs(folders: Sequence[str]) -> dict[Size, PairDataset]:
    """The test pairs of some folders, by their sizes, which are named after the folders."""
    read = [read_pairs(folder, "test") for folder in folders]
    return {Size(one.name, TRUNK, len(one.sketches), len(one.photos)): one for one in read}


def statistics_of(folders: Sequence[Path], progress: Progress) -> Statistics:
    """Of all photos and pairs of some folders, test pairs and, where there are some, training pairs."""
    sets = [read_pairs(folder, "test") for folder in folders]
    for folder in folders:
        with suppress(DatasetError):
            sets.append(read_pairs(folder, "train"))
    galleries: list[Side] = []
    sketches: list[Side] = []
    own: list[int] = []
    for one in sets:
        found = (replace(side, grid=side.grid[:0]) for side in sides(shipped(), one, progress))
        for parts, side in zip((galleries, sketches), found, strict=True):
            parts.append(side)
        before = sum(len(side.vector) for side in galleries[:-1])
        own += [before + photo for photo in one.photo_of]
    return Statistics.of(Side.cat(galleries).rows, Side.cat(sketches).rows, torch.tensor(own))


@cache
def shipped() -> MLRM:
    """The shipped model."""
    return load(SHIPPED).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def sides(model: MLRM, dataset: PairDataset, progress: Progress) -> tuple[Side, Side]:
    """Photos and sketches of a data set through the model, on the CPU.

    TC-Net's vector is the mean of the last level over its grid, LA's and DLA's grid that level itself; each vector is
    scaled to unit length if the model's region features are. Raises `DatasetError` naming files that can't be used.
    """
    images, errors = decode(
        [*dataset.photos, *dataset.sketches],
        lambda image: image_to_tensor(image, model.config.image_size),
        partial(progress, f"{dataset.name}: decode"),
    )
    refuse_corrupt(dataset.name, errors)
    photos = len(dataset.photos)
    gallery = _encode(model, images[:photos], "photo", partial(progress, f"{dataset.name}: photos"))
    sketches = _encode(model, images[photos:], "sketch", partial(progress, f"{dataset.name}: sketches"))
    stored = Rows(
        tuple(level.half() for level in gallery.rows.levels), gallery.rows.region_weights, gallery.rows.level_weights
    )
    return Side(stored, gallery.vector, gallery.grid), sketches


@torch.inference_mode()
def _encode(model: MLRM, images: Sequence[Tensor], domain: Domain, progress: Callable[[int, int], None]) -> Side:
    parts = []
    network = model.network(domain)
    for start in range(0, len(images), BATCH):
        batch = torch.stack(list(images[start : start + BATCH])).contiguous(memory_format=torch.channels_last)
        levels, maps = network(network.trunk.early(network.normalise(batch)))
        features = model.describe(levels, maps)
        grid = levels[-1].flatten(2).transpose(1, 2).contiguous()  # [B, C, 8, 8] -> [B, 64, C]
        vector = grid.mean(1)
        if model.config.l2norm:
            grid, vector = functional.normalize(grid, dim=2), functional.normalize(vector, dim=1)
        rows = Rows(features.levels, features.region_weights, features.level_weights)
        parts.append(Side(rows, vector, grid))
        progress(start + len(batch), len(images))
    return Side.cat(parts)
