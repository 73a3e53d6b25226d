"""From the folders that `mlrm.evaluate` names to the pairs of the split asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from mlrm.datasets import PairDataset, Split, read_pairs, split_validation, validation_size
from mlrm.errors import ConfigError, DatasetError
from mlrm.training_data import name_of, named_folder, one_for_each

VALIDATION = "validation"
SPLITS = (*get_args(Split), VALIDATION)


def read_evaluated(
    data: Sequence[Path], split: str, validation: Sequence[int] | None, split_seed: int, more_sketches: Sequence[str]
) -> list[PairDataset]:
    """The pairs of each folder, in their order, and after them those of the further folders.

    split: one of `SPLITS`; "validation" is the part of the training pairs that `mlrm.train` sets aside, given the same
    `validation` (photos of each folder; `None` for a fifth) and `split_seed`.
    more_sketches: NAME=FOLDER, further views of the products of the folder called NAME, of which those set aside are
    taken.

    Raises `ConfigError` for a split that isn't known, two folders of one name, or options that don't fit the split;
    `DatasetError` for folders without such pairs.
    """
    if split not in SPLITS:
        raise ConfigError(f"split is {split!r}; expected {', '.join(SPLITS)}")
    if split != VALIDATION and (validation or more_sketches):
        raise ConfigError(f"--validation and --more-sketches are of --split validation; split is {split}")
    one_for_each(validation, data)
    names = [name_of(folder) for folder in data]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(
            f"several --data folders are called {', '.join(sorted(twice))}; rename them or evaluate apart"
        )
    if split != VALIDATION:
        return [read_pairs(folder, cast(Split, split)) for folder in data]
    parts = []
    for number, folder in enumerate(data):
        dataset = read_pairs(folder, "train")
        count = validation[number] if validation else validation_size(dataset)
        parts.append(split_validation(dataset, count, split_seed)[1])
    held_out = dict(zip(names, parts, strict=True))
    return parts + [_views(*named_folder("--more-sketches", entry), held_out) for entry in more_sketches]


def _views(name: str, folder: Path, held_out: dict[str, PairDataset]) -> PairDataset:
    """What of `folder` shows products of the category's validation part."""
    if name not in held_out:
        raise ConfigError(f"--more-sketches {name}={folder}: no --data folder is called {name!r}")
    views, products = read_pairs(folder, "train"), set(held_out[name].keys)
    kept = [number for number, key in enumerate(views.keys) if key in products]
    if not kept:
        raise DatasetError(
            f"{views.root}: none of its {len(views.keys)} photos is called like one of the {len(products)} that {name} "
            "sets aside; give each photo the path and name, suffix aside, of the product's photo"
        )
    return views.subset(kept, VALIDATION)
