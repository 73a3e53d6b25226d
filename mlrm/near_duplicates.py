"""`python -m mlrm.near_duplicates`: photos of one folder that show what a photo of other folders shows.

For training material beside held-out photos: what it shares with them has to be left out, or the accuracy lies.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor
from torch.nn import functional

from mlrm.cli import errors_shown, progress_bar, run, say
from mlrm.config import MLRMConfig
from mlrm.decoding import decode, refuse_corrupt
from mlrm.errors import ConfigError, DatasetError
from mlrm.images import find_images
from mlrm.model import MLRM
from mlrm.pretrained import load_trunk_weights
from mlrm.transforms import image_to_tensor

EXAMPLE = (
    "Example: python -m mlrm.near_duplicates more_photos --against shoes/test/images --out exclude.txt --sheet look.png"
)
BATCH = 8  # larger ones leave a CPU's cache and take twice as long
TILE = 128
SHEET_COLUMNS = 6

THRESHOLD = 0.75
"""Cosine from which a photo counts as a duplicate: a little above the 0.73 that different shoes reach (the model card
has the photos that was measured on). A copy can lie below, which is why there is a sheet to look at."""

BACKGROUND_TOLERANCE = 24
"""Difference (of 255) from the border's median colour up to which a pixel is background."""


@dataclass(frozen=True)
class Match:
    """A photo, its nearest counterpart among the held-out ones, and the cosine of their features (-1..1)."""

    photo: Path
    held_out: Path
    similarity: float


def imagenet_model() -> MLRM:
    """The model whose trunk compares photos: the light one with ImageNet weights, which keep more than shape apart.

    Raises `CheckpointError` if the weights' package isn't installed.
    """
    model = MLRM(MLRMConfig.paper(trunk="efficientnet_lite0")).eval()
    load_trunk_weights(model, "auto")
    return model


def crop_to_content(image: Image.Image) -> Image.Image:
    """Cut an RGB image to what differs from its border's colour; all of it if nothing, or everything, does."""
    pixels = np.asarray(image).astype(np.int16)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    differs = np.abs(pixels - np.median(border, axis=0)).max(2) > BACKGROUND_TOLERANCE
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    if not len(rows):
        return image
    return image.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))


def nearest(
    photos: Sequence[Path],
    held_out: Sequence[Path],
    model: MLRM,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> list[Match]:
    """The nearest held-out photo of every photo, most similar first.

    What is compared are the trunk's level 3 maps of the photos' content, pooled to 2 x 2 and centred on their common
    mean, each held-out photo mirrored too: other crops, sizes, encodings and mirror images of a photo stay near it.

    model: its trunk is used (`imagenet_model`); in eval mode.
    Raises `DatasetError` naming the files that can't be used, or if either side is empty.
    """
    if not photos or not held_out:
        raise DatasetError(f"{len(photos)} photos to compare with {len(held_out)}; expected at least one on each side")
    ours = _features(photos, model, partial(progress, "photos"))[0]
    theirs = torch.cat(_features(held_out, model, partial(progress, "held-out photos"), mirrored=True))
    centre = torch.cat((ours, theirs)).mean(0)
    ours, theirs = (functional.normalize(side - centre, dim=1) for side in (ours, theirs))
    similarity, index = (ours @ theirs.T).max(1)
    order = similarity.argsort(descending=True, stable=True).tolist()
    return [Match(photos[i], held_out[int(index[i]) % len(held_out)], float(similarity[i])) for i in order]


def _features(
    paths: Sequence[Path], model: MLRM, progress: Callable[[int, int], None], *, mirrored: bool = False
) -> list[Tensor]:
    """Unit vectors [N, 4 C_3] of photos, and again of their mirror images if asked for."""
    size = model.config.image_size
    images, errors = decode(paths, lambda image: image_to_tensor(crop_to_content(image), size), progress)
    refuse_corrupt("the photos", errors)
    network = model.network("photo")
    sides: list[Tensor] = []
    for flip in (False, True) if mirrored else (False,):
        parts = []
        for start in range(0, len(images), BATCH):
            batch = torch.stack(images[start : start + BATCH])
            with torch.inference_mode():
                _, level1 = network.trunk.early(network.normalise(batch.flip(3) if flip else batch))
                level3 = network.trunk.tail(network.trunk.middle(level1))
            parts.append(functional.normalize(functional.adaptive_avg_pool2d(level3, 2).flatten(1), dim=1))
        sides.append(torch.cat(parts))
    return sides


def contact_sheet(matches: Sequence[Match]) -> Image.Image:
    """The pairs side by side, photo left and held-out photo right, to be looked at."""
    rows = -(-len(matches) // SHEET_COLUMNS)
    sheet = Image.new("RGB", (SHEET_COLUMNS * 2 * TILE, max(1, rows) * TILE), "white")
    pictures, errors = decode([path for match in matches for path in (match.photo, match.held_out)], _tile)
    refuse_corrupt("the photos", errors)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, 2 * SHEET_COLUMNS)
        sheet.paste(picture, (column * TILE, row * TILE))
    return sheet


def _tile(image: Image.Image) -> Image.Image:
    return image.resize((TILE, TILE))


@errors_shown
def main(
    folder: Annotated[Path, typer.Argument(help="Folder of photos to train on.", exists=True, file_okay=False)],
    against: Annotated[
        list[Path] | None, typer.Option(help="Folder of held-out photos; repeat for more.", exists=True)
    ] = None,
    threshold: Annotated[float, typer.Option(help="Cosine from which a photo counts as a duplicate.")] = THRESHOLD,
    out: Annotated[
        Path | None, typer.Option(help="Write the duplicates' paths within FOLDER here, one a line.")
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw the most similar pairs here, to look at.")] = None,
    shown: Annotated[int, typer.Option(help="Pairs on the sheet.")] = 36,
) -> None:
    """Find photos of FOLDER that show what a held-out photo shows, in another crop, encoding or mirrored.

    Look at the sheet, and lower --threshold if it shows a pair: copies in other crops, encodings or mirrored reach 0.73
    to 0.99 (half-size ones as little as 0.4), photos of different products of one kind up to about 0.73.
    """
    if not against:
        raise ConfigError("nothing to compare with: give at least one --against FOLDER")
    if not -1 <= threshold <= 1:
        raise ConfigError(f"--threshold is {threshold}; expected a cosine, -1 to 1")
    model = imagenet_model()
    with progress_bar() as progress:
        held_out = [path for place in against for path in find_images(place)]
        matches = nearest(find_images(folder), held_out, model, progress)
    found = [match for match in matches if match.similarity >= threshold]
    for match in found:
        say(f"{match.similarity:.3f}  {match.photo}  {match.held_out}")
    say(
        f"{len(found)} of {len(matches)} photos reach a cosine of {threshold:g} with one of {len(held_out)} held-out "
        f"photos; the highest is {matches[0].similarity:.3f}"
    )
    if out:
        names = sorted(match.photo.relative_to(folder).as_posix() for match in found)
        out.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    if sheet:
        contact_sheet(matches[:shown]).save(sheet)


if __name__ == "__main__":
    run(main, EXAMPLE)
