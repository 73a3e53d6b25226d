"""From the folders a training command names to the pairs to train on and those held out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from mlrm.cli import say
from mlrm.datasets import PairDataset, check, read_pairs, split_validation, validation_size
from mlrm.decoding import refuse_corrupt
from mlrm.errors import ConfigError, DatasetError
from mlrm.training_pairs import TrainingPairs

PSEUDO_WEIGHT = 0.2
"""How often a product with drawn-by-program sketches is trained on, compared with one that people sketched."""


def name_of(folder: Path) -> str:
    """What a data set's folder is called, which is its category."""
    return folder.resolve().name


def named_folder(option: str, entry: str) -> tuple[str, Path]:
    """NAME=FOLDER as given to `option`; raises `ConfigError` for anything else."""
    name, _, folder = entry.partition("=")
    if not name or not folder:
        raise ConfigError(f"{option} is {entry!r}; expected NAME=FOLDER, NAME being that of a --data folder")
    return name, Path(folder)


def one_for_each(validation: Sequence[int] | None, data: Sequence[Path]) -> None:
    """Raise `ConfigError` unless there is a number for each folder, or none at all."""
    if validation is not None and len(validation) != len(data):
        raise ConfigError(
            f"--validation was given {len(validation)} times; expected once for each of {len(data)} --data"
        )


def read_training(
    data: list[Path],
    more_sketches: list[tuple[str, Path]],
    validation: list[int] | None,
    size: int,
    split_seed: int,
    progress: Callable[[str, int, int], None],
    pseudo: Sequence[tuple[str, Path]] = (),
) -> tuple[TrainingPairs, dict[str, PairDataset]]:
    """Read training pairs and set validation parts aside, each category by the name of its folder.

    data: folders of pairs. validation: photos to set aside of each; `None` for a fifth, 0 for none.
    more_sketches: (name, folder) of further views of that category's training products; of others they are left out.
    size: side in pixels of the images. split_seed: decides what is set aside.
    progress: called with (what, done, total).
    pseudo: (name, folder) of further products of a category, with sketches drawn by program (`mlrm.pseudo_sketches`).

    Raises `ConfigError` or `DatasetError` for folders and numbers that don't fit together, unreadable files named.
    """
    pairs, held_out = TrainingPairs(size), {}
    one_for_each(validation, data)
    names = [name_of(folder) for folder in data]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"two --data folders are called {', '.join(sorted(twice))}; rename one")
    for option, named in (("--more-sketches", more_sketches), ("--pseudo", pseudo)):
        for name, folder in named:
            if name not in names:
                raise ConfigError(f"{option} {name}={folder}: no --data folder is called {name!r}")
    for number, (name, folder) in enumerate(zip(names, data, strict=True)):
        dataset = read_pairs(folder, "train")
        say(dataset.summary())
        count = validation[number] if validation else validation_size(dataset)
        errors = []
        if count:
            dataset, held_out[name] = split_validation(dataset, count, split_seed)
            errors = check(held_out[name], partial(progress, f"check validation pairs of {name}"))
        refuse_corrupt(name, errors + pairs.add(dataset, name, partial(progress, f"decode {name}")))
    for name, folder in more_sketches:
        extra = read_pairs(folder, "train")
        say(extra.summary())
        known = _training_part(extra, name, pairs)
        refuse_corrupt(extra.name, pairs.add(known, name, partial(progress, f"decode {extra.name}")))
    for name, folder in pseudo:
        drawn = read_pairs(folder, "train")
        say(drawn.summary())
        # Other products, even where a photo happens to be called like one of the category's own.
        drawn = replace(drawn, keys=[f"{drawn.name}/{key}" for key in drawn.keys])
        refuse_corrupt(
            drawn.name, pairs.add(drawn, name, partial(progress, f"decode {drawn.name}"), weight=PSEUDO_WEIGHT)
        )
    return pairs, held_out


def _training_part(extra: PairDataset, name: str, pairs: TrainingPairs) -> PairDataset:
    """What of `extra` belongs to products in training: those held out must stay unseen in every crop and drawing."""
    products = pairs.categories[name]
    kept = [number for number, key in enumerate(extra.keys) if key in products]
    if not kept:
        raise DatasetError(
            f"{extra.root}: none of its {len(extra.keys)} photos ({', '.join(extra.keys[:5])}, ...) is called like one "
            f"of the {len(products)} products of {name} in training ({', '.join(islice(products, 5))}, ...); give each "
            "photo the path and name, suffix aside, of the product's photo"
        )
    return extra.subset(kept, "train")
