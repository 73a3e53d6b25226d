"""Many image files decoded in one pass that names every file it can't use."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from PIL import Image

from mlrm.errors import DatasetError, ImageError
from mlrm.images import load_image

T = TypeVar("T")


def decode(
    paths: Sequence[Path], convert: Callable[[Image.Image], T], progress: Callable[[int, int], None] | None = None
) -> tuple[list[T], list[ImageError]]:
    """Load images and convert each, so that only what `convert` makes of them is held in memory.

    Args:
        paths: the files.
        convert: gets each as an RGB image.
        progress: called after each file with the number done and the number in all.

    Returns:
        What `convert` made of the files that can be used, in their order (all of them if there are no errors), and
        one error for each file that can't be, naming it.
    """
    converted, errors = [], []
    for done, path in enumerate(paths, start=1):
        try:
            converted.append(convert(load_image(path)))
        except ImageError as error:
            errors.append(error)
        if progress is not None:
            progress(done, len(paths))
    return converted, errors


def refuse_corrupt(name: str, errors: Sequence[ImageError]) -> None:
    """Raise `DatasetError` listing the files of the data set `name` that can't be used, if there are any."""
    if errors:
        listed = "\n".join(f"  {error}" for error in errors)
        raise DatasetError(f"{len(errors)} files of {name} can't be used; repair or remove them:\n{listed}")
