"""What tells one training run's data from another's: digests of file names, kept with its state."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlrm.datasets import PairDataset
from mlrm.errors import ConfigError

Digests = dict[str, dict[str, str]]
"""By category: "training" and "validation", each the number of files and the SHA-256 of their names."""


def digest_data(training: Mapping[str, Sequence[str]], validation: Mapping[str, PairDataset]) -> Digests:
    """The digests of a run's files by category; names are relative to the data sets, which may be moved."""
    held_out = {name: dataset.relative([*dataset.photos, *dataset.sketches]) for name, dataset in validation.items()}
    return {
        name: {"training": _digest(training.get(name, ())), "validation": _digest(held_out.get(name, ()))}
        for name in sorted({*training, *held_out})
    }


def require_same_data(out: Path, then: object, now: Digests) -> None:
    """Raise `ConfigError` unless the run in `out`, whose state holds the digests `then`, had today's data, `now`."""
    if then != now:
        raise ConfigError(
            f"{out} was trained on {then}; found {now}: its files were added, removed, renamed or divided in another "
            "way. Resume with the same files, --data, --more-sketches and --validation, or start a new run with "
            "another --out"
        )


def _digest(names: Sequence[str]) -> str:
    # Their order counts too: it is that of the images' numbers, which random choices are made of.
    return f"{len(names)} files, sha256 {hashlib.sha256(chr(0).join(names).encode()).hexdigest()}"
