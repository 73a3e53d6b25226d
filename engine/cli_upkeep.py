"""The commands that look after a gallery: remove, compact, optimize, snapshot, restore, verify. They need no model."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from engine.cli_options import DeviceOption, GalleryOption, ModelOption
from mlrm.cli import errors_shown, progress_bar, say

upkeep = typer.Typer()


@upkeep.command(epilog="Example: python -m engine remove shoes/12.jpg --gallery my.gallery")
@errors_shown
def remove(
    ids: Annotated[list[str], typer.Argument(help="Ids of photos, as `search` prints them.")],
    gallery: GalleryOption = Path("my.gallery"),
) -> None:
    """Remove photos for good by their ids, all in one commit, or none if one isn't there. No file is deleted."""
    from engine.gallery import Gallery

    with Gallery.open(gallery).writer() as writer:
        writer.remove(ids)
    say(f"{gallery}: {Gallery.open(gallery).info().photos} photos")


@upkeep.command(epilog="Example: python -m engine compact --gallery my.gallery")
@errors_shown
def compact(gallery: GalleryOption = Path("my.gallery")) -> None:
    """Merge small segments and drop the rows of removed photos, while others search."""
    from engine.gallery import Gallery
    from engine.optimize import keep_up

    with Gallery.open(gallery).writer() as writer:
        say(str(writer.compact()))
    keep_up(Gallery.open(gallery), added=False)


@upkeep.command("optimize", epilog="Example: python -m engine optimize --gallery my.gallery --sketches sketches/")
@errors_shown
def optimize_gallery(
    gallery: GalleryOption = Path("my.gallery"),
    sketches: Annotated[
        Path | None, typer.Option(help="A folder of sketches like those to come, to try the choice by; with the model.")
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Make short codes, so that exact searches read a tenth of the bytes or less; measure first what pays."""
    from engine.gallery import Gallery
    from engine.optimize import optimize
    from engine.planning import TRIED_BY
    from engine.retriever import Retriever
    from mlrm.images import find_images

    opened = Gallery.open(gallery)  # optimizing doesn't make a gallery: a mistyped path is an error here
    with progress_bar() as progress:

        def show(done: int, total: int) -> None:
            progress("short codes", done, total)

        if sketches is None:
            plan = optimize(opened, None, show)
        else:
            plan = Retriever(model, gallery, device).optimize(find_images(sketches)[:TRIED_BY], show)
    table = Table("coordinates", "bytes a photo", "left of the sample", "left of all photos", "cost of a search, MB")
    for one in plan.evidence:
        table.add_row(
            str(sum(one.kept)),
            str(one.photo_bytes),
            f"{one.survivors:.0f} of {one.sample}",
            f"{one.expected:.0f} of {plan.photos}",
            f"{one.cost / 1e6:.1f}",
            style="bold" if one == plan.chosen else None,
        )
    if plan.evidence:
        Console().print(table)
    if plan.second:
        say(
            f"a second screen, {plan.second.photo_bytes} bytes a photo, behind {sum(plan.second.kept)} coordinates: "
            f"{plan.second.expected:.0f} photos left, {plan.second.cost / 1e6:.1f} MB; not made"
        )
    say(f"{gallery}: {plan}")


@upkeep.command(epilog="Example: python -m engine snapshot my.gallery.monday --gallery my.gallery")
@errors_shown
def snapshot(
    directory: Annotated[Path, typer.Argument(help="A new directory; on another disk it is a backup.")],
    gallery: GalleryOption = Path("my.gallery"),
) -> None:
    """Copy a gallery as of its last commit, while others search and write; by hard links where possible."""
    from engine.gallery import Gallery

    source = Gallery.open(gallery)
    source.copy(directory)
    say(f"{directory}: {Gallery.open(directory).info().photos} photos")


@upkeep.command(epilog="Example: python -m engine restore my.gallery.monday --gallery my.gallery")
@errors_shown
def restore(
    snapshot: Annotated[Path, typer.Argument(help="The directory that `snapshot` made.")],
    gallery: GalleryOption = Path("my.gallery"),
) -> None:
    """Put a gallery back to what a snapshot holds, as one commit; or make it of the snapshot where there is none."""
    from engine.gallery import Gallery
    from engine.optimize import keep_up

    restored = Gallery.restore(gallery, snapshot)
    keep_up(restored, added=False)
    say(f"{gallery}: {restored.info().photos} photos")


@upkeep.command(epilog="Example: python -m engine verify --gallery my.gallery")
@errors_shown
def verify(gallery: GalleryOption = Path("my.gallery")) -> None:
    """Read every file and compare checksums; leave damaged segments out of searches, and say how to repair what is."""
    from engine.gallery import Gallery

    with Gallery.open(gallery, damaged=True).writer() as writer:
        report = writer.verify()
    say(str(report))
    if report.damaged:
        raise typer.Exit(1)
