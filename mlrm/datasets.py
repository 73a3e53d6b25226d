"""Folders of sketches and photos -> pairs with an explicit split, everything unpaired or missing named.

`mlrm.layouts` says which folders are known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from mlrm.decoding import decode
from mlrm.errors import ConfigError, DatasetError, ImageError
from mlrm.layouts import LAYOUTS, Split, unknown_layout
from mlrm.pairs import PairDataset

__all__ = ["PairDataset", "Split", "check", "read_pairs", "split_validation", "validation_size"]


def read_pairs(folder: str | Path, split: Split, layout: str = "auto") -> PairDataset:
    """Read one split of a folder of sketches and photos; no image is decoded (see `check`).

    Args:
        folder: the data set's root.
        split: "train" or "test".
        layout: one of `mlrm.layouts.LAYOUTS`, or "auto" to recognise it by its folders.

    Raises:
        DatasetError: no layout matches, the split isn't there, a list is unreadable, two images share a
            name, or no sketch has a photo.
        ConfigError: `split` or `layout` isn't one of the known.
    """
    root = Path(folder)
    if split not in get_args(Split):
        raise ConfigError(f"split is {split!r}, expected one of {', '.join(get_args(Split))}")
    if layout not in LAYOUTS and layout != "auto":
        raise ConfigError(f"layout is {layout!r}, expected auto or one of {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise DatasetError(f"{root} isn't a folder; give the folder of a data set")
    tried = LAYOUTS if layout == "auto" else {layout: LAYOUTS[layout]}
    for name, reader in tried.items():
        if (dataset := reader(root, split, name)) is not None:
            return dataset
    raise DatasetError(unknown_layout(root, split, list(tried)))


def check(dataset: PairDataset, progress: Callable[[int, int], None] | None = None) -> list[ImageError]:
    """Decode every photo and sketch of a data set.

    Args:
        dataset: what `read_pairs` returned.
        progress: called after each image with the number done and the number in all.

    Returns:
        One error for each image that can't be used, naming its file; empty if all can.
    """
    _, errors = decode([*dataset.photos, *dataset.sketches], lambda image: None, progress)
    return errors


def validation_size(dataset: PairDataset) -> int:
    """How many photos are set aside unless somebody says: a fifth of those with a sketch."""
    return max(1, len(set(dataset.photo_of)) // 5)


def split_validation(dataset: PairDataset, photos: int, seed: int) -> tuple[PairDataset, PairDataset]:
    """Set photos with all their sketches aside; which ones depends on their names and the seed alone.

    Args:
        dataset: the training pairs.
        photos: how many photos, each with at least one sketch, go to the validation part.
        seed: another seed, another choice.

    Returns:
        The remaining training part and the validation part. Photos without a sketch stay in training.

    Raises:
        ConfigError: `photos` is below 1, or leaves no paired photo to train on.
    """
    paired = sorted(set(dataset.photo_of))
    if not 1 <= photos < len(paired):
        raise ConfigError(
            f"validation of {photos} photos asked of {dataset.name}, which has {len(paired)} photos with a "
            f"sketch; choose 1 to {len(paired) - 1}"
        )

    def lot(index: int) -> str:
        # A hash of the name, not a shuffle of positions: the order of files doesn't matter.
        name = dataset.photos[index].relative_to(dataset.root).with_suffix("").as_posix()
        return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()

    chosen = set(sorted(paired, key=lot)[:photos])
    rest = [index for index in range(len(dataset.photos)) if index not in chosen]
    return dataset.subset(rest, "train"), dataset.subset(chosen, "validation")
