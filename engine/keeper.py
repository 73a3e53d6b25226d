"""`Keeper`: the gallery that a process writes to, and all that it does to it without a model."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.compaction import CompactReport
from engine.gallery import Gallery
from engine.optimize import keep_up
from engine.quarantine import VerifyReport


class Keeper:
    """A gallery on disk, which may not be there yet. Safe to share between threads: one of them writes at a time."""

    def __init__(self, gallery: str | os.PathLike[str]) -> None:
        self.path = Path(gallery).absolute()  # so that a later change of directory does no harm
        self._writing = threading.Lock()
        self._gallery = Gallery.open(self.path) if Gallery.exists(self.path) else None

    @property
    def gallery(self) -> Gallery | None:
        """The gallery on disk; None before the first photo."""
        if self._gallery is None and Gallery.exists(self.path):
            self._gallery = Gallery.open(self.path)
        return self._gallery

    def __len__(self) -> int:
        return 0 if self.gallery is None else len(self.gallery.snapshot())

    def remove(self, ids: str | Sequence[str]) -> None:
        """Remove photos for good, by one id or several; raises `UnknownIdError` for an unknown one and removes none."""
        with self._writing:
            gallery = Gallery.open(self.path)
            with gallery.writer() as writer:
                writer.remove([ids] if isinstance(ids, str) else ids)

    def update(self, metadata: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Give photos, by id, other metadata in place of what they have (None: none), all at once.

        Raises `UnknownIdError` for an id that isn't there and `InvalidPhotoError` for what JSON can't hold; then no
        photo is changed.
        """
        with self._writing, Gallery.open(self.path).writer() as writer:
            writer.update_metadata(metadata)

    def compact(self) -> CompactReport:
        """Merge small segments and drop the rows of removed photos; searches go on, and find what they found.

        Worth it after many small additions or removals. Killed at any moment, no photo is lost.
        """
        with self._writing:
            with Gallery.open(self.path).writer() as writer:
                report = writer.compact()
            self._keep_up(added=False)
        return report

    def snapshot(self, directory: str | os.PathLike[str]) -> None:
        """Copy the gallery, as of its last commit, to a new directory, while others read and write.

        On the same file system it shares the features' bytes: quick, and no backup against a failing disk.
        """
        Gallery.open(self.path).copy(Path(directory))

    def restore(self, snapshot: str | os.PathLike[str]) -> None:
        """Put the gallery back to what a snapshot of it holds, as one commit; killed at any moment, before or after."""
        with self._writing:
            Gallery.restore(self.path, Path(snapshot))
            self._keep_up(added=False)

    def verify(self) -> VerifyReport:
        """Check every file of the gallery, and leave damaged segments out of searches until they are repaired."""
        with self._writing, Gallery.open(self.path, damaged=True).writer() as writer:
            return writer.verify()

    def _keep_up(self, progress: Callable[[int, int], None] | None = None, added: bool = True) -> None:
        """Make the short codes of what is new, where the gallery has some; see `engine.optimize.keep_up`."""
        if (gallery := self.gallery) is not None:
            keep_up(gallery, progress, added=added)

    def _next_ids(self, count: int) -> list[str]:
        """Numbers that no photo here ever had as its default id: what was removed is counted too."""
        info = None if self.gallery is None else self.gallery.info()
        first = 0 if info is None else info.rows_ever
        return [str(first + number) for number in range(count)]
