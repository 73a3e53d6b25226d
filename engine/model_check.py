"""Whose features a gallery holds, and what to do where the model in use is another one. No torch here."""

from __future__ import annotations

import shlex
from pathlib import Path

from engine.errors import ModelMismatchError

EXTERNAL = "features computed elsewhere"
"""Stands for a model's fingerprint in a gallery that was filled without one."""
SHIPPED_NAME = "shipped"
"""Stands for the path of a checkpoint where the model is the one that comes with the package."""


def check_model(gallery: Path, held: str, held_name: str, used: str, used_name: str | None) -> None:
    """Raise ModelMismatchError, with the commands that help, unless two fingerprints are the same.

    Args:
        gallery: its directory.
        held: the fingerprint of the model whose features it holds.
        held_name: the path of that model's checkpoint, SHIPPED_NAME, or "" where nobody told.
        used: the fingerprint of the model in use.
        used_name: as ``held_name``; None for features that came without their model.
    """
    if used == held:
        return
    raise ModelMismatchError(
        f"{gallery} holds {_described(held, held_name)}, but the model in use is {used}"
        f"{f' ({used_name})' if used_name else ''}: distances between them mean nothing. "
        f"{_way_to_the_gallery(held, held_name, used_name)} {_way_to_a_new_one(gallery, used_name)}"
    )


def _described(held: str, name: str) -> str:
    if held == EXTERNAL:
        return f"{EXTERNAL}, of no known model"
    return f"features of model {held}{f' ({name})' if name else ''}"


def _way_to_the_gallery(held: str, name: str, used_name: str | None) -> str:
    if held == EXTERNAL:
        return "To use this gallery, give `search_features` and `add_features` features of the same origin."
    if name == used_name == SHIPPED_NAME:
        return "To use this gallery, install the release of this package that made it: it shipped another model."
    if name == SHIPPED_NAME:
        return "To use this gallery, load the shipped model: leave out `--model` (`model=None` in Python)."
    if name:
        return f"To use this gallery, load its model: `--model {shlex.quote(name)}` (`model={name!r}` in Python)."
    return "To use this gallery, load the model with that fingerprint."


def _way_to_a_new_one(gallery: Path, name: str | None) -> str:
    if name is None:
        return "To keep these features, add them to another gallery."
    model = "" if name == SHIPPED_NAME else f" --model {shlex.quote(name)}"
    new = shlex.quote(f"{gallery}.new")
    return f"To use this model, index the photos again: `python -m engine index PHOTOS --gallery {new}{model}`."
