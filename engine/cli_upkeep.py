"""The commands that look after a gallery: compact, snapshot, restore, verify. They need no model."""

from pathlib import Path
from typing import Annotated

import typer

from engine.cli_options import GalleryOption
from mlrm.cli import errors_shown, say

upkeep = typer.Typer()


@upkeep.command(epilog="Example: python -m engine compact --gallery my.gallery")
@errors_shown
def compact(gallery: GalleryOption = Path("my.gallery")) -> None:
    """Merge small segments and drop the rows of removed photos, while others search."""
    from engine.gallery import Gallery

    with Gallery.open(gallery).writer() as writer:
        say(str(writer.compact()))


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

    say(f"{gallery}: {Gallery.restore(gallery, snapshot).info().photos} photos")


@upkeep.command(epilog="Example: python -m engine verify --gallery my.gallery")
@errors_shown
def verify(gallery: GalleryOption = Path("my.gallery")) -> None:
    """Read every file and compare checksums; leave damaged segments out of searches, and say how to repair them."""
    from engine.gallery import Gallery

    with Gallery.open(gallery, damaged=True).writer() as writer:
        report = writer.verify()
    say(str(report))
    if report.damaged:
        raise typer.Exit(1)
