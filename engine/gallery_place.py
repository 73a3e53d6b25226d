"""What is at a path: a gallery, a place for one, or something to keep away from. No torch here."""

from __future__ import annotations

from pathlib import Path

from engine.errors import GalleryCorruptError, GalleryError, NotAGalleryError
from engine.schema import CATALOGUE, SEGMENTS
from engine.segments import segment_files
from engine.writer_lock import LOCK_FILES

UNFINISHED = "catalogue.new"  # a catalogue in the making
# What a killed `create` leaves: a directory of these and nothing else may become a gallery.
_LEFT_BY_CREATE = LOCK_FILES | {SEGMENTS, UNFINISHED, f"{UNFINISHED}-journal"}


def is_gallery(path: Path) -> bool:
    """Whether a gallery is there (to be opened) or not yet (to be created); raises as `Gallery.exists`."""
    try:
        # Listed before the catalogue is looked for, so that a gallery made meanwhile is taken for nothing else.
        segments = sum(1 for _ in segment_files(path / SEGMENTS))
        entries = {entry.name for entry in path.iterdir()} if path.is_dir() else None
        if (path / CATALOGUE).is_file():
            return True
    except OSError as error:
        raise GalleryError(f"can't look into {path}: {error}") from error
    if segments:
        raise GalleryCorruptError(
            f"{path} holds {segments} segments and no {CATALOGUE}, without which nobody knows whose features they "
            "are. Restore a snapshot into another directory, or index the photos again into one"
        )
    if entries is not None:
        if foreign := sorted(entries - _LEFT_BY_CREATE):
            raise NotAGalleryError(
                f"{path} is not a gallery: found {foreign[0]!r} in it and no {CATALOGUE}. "
                "Give a gallery, or a new or empty directory"
            )
    elif path.exists() or path.is_symlink():
        raise NotAGalleryError(f"{path} is not a gallery: expected a directory. Give another path")
    return False
