"""Reading a gallery: the snapshot of its last commit, and what a filter chooses of that. No torch here."""

from __future__ import annotations

import errno
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.catalogue import Catalogue
from engine.errors import GalleryCorruptError, GalleryError
from engine.filters import Filter
from engine.records import GalleryMeta, SegmentState
from engine.schema import SEGMENTS
from engine.segments import open_segment
from engine.selecting import rows_in_turns
from engine.snapshot import GallerySnapshot, SegmentView, Selection

UNLOCKED_TRIES = 3


class SnapshotReader:
    """Sees the commits of all processes, and maps each segment once. Safe to share between threads."""

    def __init__(self, path: Path, catalogue: Catalogue, meta: GalleryMeta) -> None:
        self._path, self._catalogue, self._meta = path, catalogue, meta
        self._refresh = threading.Lock()
        self._snapshot = GallerySnapshot(generation=-1, segments=())
        self._views: dict[str, SegmentView] = {}

    def snapshot(self) -> GallerySnapshot:
        """Return the gallery as of the last commit of any process; the same object while nothing has changed.

        Raises:
            GalleryCorruptError: a segment is damaged.
            GalleryError: the directory is gone, or holds a new gallery by now.
        """
        with self._refresh:
            if self.stamp() != self._snapshot.generation:
                self._read(None)
            return self._snapshot

    def select(self, where: Filter | None) -> Selection:
        """Return the photos that a filter lets through, as of the last commit; all of them without one.

        The filter is applied to the metadata of the same commit that the snapshot is of. Raises as `snapshot`.
        """
        if where is None:
            return Selection(self.snapshot())
        # A filter without an index reads all metadata: other readers and commits don't wait for it, unless commits come
        # so fast that its rows and the snapshot never are of one.
        for _ in range(UNLOCKED_TRIES):
            snapshot = self.snapshot()
            rows = rows_in_turns(self._catalogue, where, snapshot.generation)
            if rows is not None:
                return _selection(snapshot, rows)
        with self._refresh:
            self.stamp()
            chosen = self._read(where)
            return _selection(self._snapshot, chosen)

    def stamp(self) -> int:
        """The generation of the last commit; raises GalleryError where the directory holds another gallery by now."""
        gallery_id, generation = self._catalogue.stamp()
        if gallery_id != self._meta.gallery_id:
            raise GalleryError(f"{self._path} was replaced by another gallery: open it again")
        return generation

    def _read(self, where: Filter | None) -> dict[str, list[int]]:
        """Bring the snapshot up to date, and return the rows of each segment that a filter lets through then."""
        while True:
            state = self._catalogue.state(since=self._snapshot.generation, where=where)
            try:
                views = {segment.stored.name: self._view(segment) for segment in state.segments}
            except OSError as error:
                raise self._unmapped(error, len(state.segments)) from error
            except GalleryCorruptError:
                # Compaction deletes a segment once no commit names it: then a newer commit tells where its photos are.
                if self.stamp() == state.generation:
                    raise
                continue
            if state.generation != self._snapshot.generation:
                self._views = views
                living = tuple(view for view in views.values() if view.ids)
                self._snapshot = GallerySnapshot(state.generation, living)
            return state.chosen or {}

    def _view(self, segment: SegmentState) -> SegmentView:
        name = segment.stored.name
        if segment.live is None:
            return self._views[name]
        live = segment.live
        if (view := self._views.get(name)) is not None:  # photos were removed; the features are as they were
            return replace(view, live_rows=live.rows, ids=live.ids)
        block = open_segment(self._path / SEGMENTS, segment.stored, self._meta.shapes)
        return SegmentView(
            name, block.levels, block.region_weights, block.level_weights, block.maps, live.rows, live.ids
        )

    def _unmapped(self, error: OSError, segments: int) -> GalleryError:
        advice = ""
        if error.errno == errno.EMFILE:
            advice = (
                f". A reader keeps one file open for each of its {segments} segments: allow the process more of them "
                "with `ulimit -n`; photos added many at a time make fewer segments"
            )
        return GalleryError(f"can't map the segments of {self._path}: {error}{advice}")


def _selection(snapshot: GallerySnapshot, chosen: Mapping[str, list[int]]) -> Selection:
    rows = (np.array(chosen[segment.name], dtype=np.int64) for segment in snapshot.segments)
    return Selection(snapshot, tuple(rows))
