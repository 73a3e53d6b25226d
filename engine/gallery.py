"""A gallery on disk: one writer at a time, any number of readers, in any number of processes. No torch here.

    my.gallery/
      catalogue.sqlite   which photos there are, and where (engine/catalogue.py)
      segments/          their features, in immutable files (engine/segments.py)
      writer.lock        held by the process that writes; writer.json says which one it is

A segment is on the disk before the one transaction that makes it visible, so a kill at any moment loses at
most the segment being written, and readers see whole commits only.
"""

from __future__ import annotations

import errno
import shlex
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib import metadata as packages
from pathlib import Path

import numpy as np

from engine.catalogue import (
    FORMAT_VERSION,
    Catalogue,
    GalleryMeta,
    PhotoRecord,
    SegmentState,
    new_gallery_id,
)
from engine.errors import GalleryCorruptError, GalleryError, NotAGalleryError, UnknownIdError
from engine.features import FeatureBlock, FeatureShapes
from engine.gallery_writer import LOCK_FILES, SEGMENTS, GalleryWriter, WriterLock
from engine.model_check import check_model
from engine.segments import open_segment, segment_files, verify_segment
from engine.snapshot import GallerySnapshot, SegmentView

__all__ = [
    "FeatureBlock",
    "FeatureShapes",
    "Gallery",
    "GalleryInfo",
    "GallerySnapshot",
    "GalleryWriter",
    "PhotoRecord",
    "SegmentView",
]

_CATALOGUE = "catalogue.sqlite"
_UNFINISHED = "catalogue.new"
# What a killed `create` leaves: a directory of these and nothing else may become a gallery.
_LEFT_BY_CREATE = LOCK_FILES | {SEGMENTS, _UNFINISHED, f"{_UNFINISHED}-journal"}


@dataclass(frozen=True)
class GalleryInfo:
    """A gallery's counts at one commit, and the constants it was made with."""

    path: Path
    generation: int
    photos: int
    dead_rows: int  # rows of removed photos, still on the disk
    segments: int
    bytes_on_disk: int
    meta: GalleryMeta


class Gallery:
    """A gallery opened for reading; :meth:`writer` opens it for writing. Safe to share between threads.

    Nothing is held open between calls except memory maps, so there is nothing to close.
    """

    def __init__(self, path: Path, catalogue: Catalogue, meta: GalleryMeta) -> None:
        """Use :meth:`open` or :meth:`create`."""
        self.path = path
        self.meta = meta
        self._catalogue = catalogue
        self._refresh = threading.Lock()
        self._snapshot = GallerySnapshot(generation=-1, segments=())
        self._views: dict[str, SegmentView] = {}

    @staticmethod
    def exists(path: str | Path) -> bool:
        """Whether a gallery is there (to be opened) or not yet (to be created).

        Raises:
            NotAGalleryError: something else is there.
            GalleryCorruptError: segments are there and no catalogue. A gallery made here would delete them.
            GalleryError: the directory can't be read.
        """
        path = Path(path)
        try:
            # Listed before the catalogue is looked for, so that a gallery made meanwhile is taken for nothing else.
            segments = sum(1 for _ in segment_files(path / SEGMENTS))
            entries = {entry.name for entry in path.iterdir()} if path.is_dir() else None
            if (path / _CATALOGUE).is_file():
                return True
        except OSError as error:
            raise GalleryError(f"can't look into {path}: {error}") from error
        if segments:
            raise GalleryCorruptError(
                f"{path} holds {segments} segments and no {_CATALOGUE}, without which nobody knows whose features they "
                f"are. Restore {_CATALOGUE} from a backup, or index the photos again into another directory"
            )
        if entries is not None:
            if foreign := sorted(entries - _LEFT_BY_CREATE):
                raise NotAGalleryError(
                    f"{path} is not a gallery: found {foreign[0]!r} in it and no {_CATALOGUE}. "
                    "Give a gallery, or a new or empty directory"
                )
        elif path.exists() or path.is_symlink():
            raise NotAGalleryError(f"{path} is not a gallery: expected a directory. Give another path")
        return False

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        shapes: FeatureShapes,
        model_fingerprint: str,
        model_name: str = "",
        region_weight_power: int = 1,
    ) -> Gallery:
        """Make an empty gallery in a directory that is new or empty.

        Args:
            path: the directory; its parents are made too.
            shapes: of every photo it will ever hold.
            model_fingerprint: identifies the model whose features these are.
            model_name: how to load that model again: the path of its checkpoint, SHIPPED_NAME, or "" if unknown.
            region_weight_power: p of the distance.

        Raises:
            NotAGalleryError: the path holds something else.
            GalleryCorruptError: the path holds a gallery that lost its catalogue.
            GalleryLockedError: another process is creating it.
            GalleryError: it is a gallery already, or can't be written.
        """
        path = Path(path).absolute()
        cls.exists(path)
        meta = GalleryMeta(
            format_version=FORMAT_VERSION,
            gallery_id=new_gallery_id(),
            model_fingerprint=model_fingerprint,
            model_name=model_name,
            shapes=shapes,
            region_weight_power=region_weight_power,
            created_with=_own_version(),
        )
        try:
            (path / SEGMENTS).mkdir(parents=True, exist_ok=True)
            lock = WriterLock(path)
            lock.acquire()
            try:
                if cls.exists(path):
                    raise GalleryError(f"{path} is a gallery already: open it, or give another path")
                Catalogue.create(path / _CATALOGUE, path / _UNFINISHED, meta)
            finally:
                lock.release()
        except OSError as error:
            raise GalleryError(f"can't create a gallery at {path}: {error}") from error
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path) -> Gallery:
        """Open a gallery for reading, and check that each file of it is there in full length.

        Raises:
            NotAGalleryError: there is none.
            GalleryVersionError: a newer release wrote it.
            GalleryCorruptError: the catalogue or a segment is damaged.
        """
        path = Path(path).absolute()  # so that a later change of directory does no harm
        if not cls.exists(path):
            raise NotAGalleryError(
                f"no gallery at {path}: make one with `python -m engine index PHOTOS --gallery "
                f"{shlex.quote(str(path))}`"
            )
        catalogue = Catalogue(path / _CATALOGUE)
        gallery = cls(path, catalogue, catalogue.meta())
        gallery.snapshot()
        return gallery

    def check_model(self, fingerprint: str, name: str | None = None) -> None:
        """Raise ModelMismatchError if the gallery holds features of another model than ``fingerprint``.

        Args:
            fingerprint: of the model in use.
            name: how to load that model: the path of its checkpoint, or SHIPPED_NAME; None where it isn't at hand.
        """
        check_model(self.path, self.meta.model_fingerprint, self.meta.model_name, fingerprint, name)

    def snapshot(self) -> GallerySnapshot:
        """Return the gallery as of the last commit of any process; the same object while nothing has changed.

        Raises:
            GalleryCorruptError: a segment is damaged.
            GalleryError: the directory is gone, or holds a new gallery by now.
        """
        with self._refresh:
            gallery_id, generation = self._catalogue.stamp()
            if gallery_id != self.meta.gallery_id:
                raise GalleryError(f"{self.path} was replaced by another gallery: open it again")
            if generation != self._snapshot.generation:
                # The state may be of a later commit than the stamp: it carries its own generation.
                state = self._catalogue.state(since=self._snapshot.generation)
                try:
                    self._views = {segment.stored.name: self._view(segment) for segment in state.segments}
                except OSError as error:
                    raise self._unmapped(error, len(state.segments)) from error
                living = tuple(view for view in self._views.values() if view.ids)
                self._snapshot = GallerySnapshot(state.generation, living)
            return self._snapshot

    def _view(self, segment: SegmentState) -> SegmentView:
        name = segment.stored.name
        if segment.live is None:
            return self._views[name]
        rows = np.array([row for row, _ in segment.live], dtype=np.int64)
        ids = tuple(id_ for _, id_ in segment.live)
        if (view := self._views.get(name)) is not None:  # photos were removed; the features are as they were
            return replace(view, live_rows=rows, ids=ids)
        block = open_segment(self.path / SEGMENTS, segment.stored, self.meta.shapes)
        return SegmentView(name, block.levels, block.region_weights, block.level_weights, block.maps, rows, ids)

    def _unmapped(self, error: OSError, segments: int) -> GalleryError:
        advice = ""
        if error.errno == errno.EMFILE:
            advice = (
                f". A reader keeps one file open for each of its {segments} segments: allow the process more of them "
                "with `ulimit -n`; photos added many at a time make fewer segments"
            )
        return GalleryError(f"can't map the segments of {self.path}: {error}{advice}")

    def existing(self) -> dict[str, PhotoRecord]:
        """All photos by id: what an interrupted ``add`` may skip."""
        return self._catalogue.records()

    def records(self, ids: Iterable[str]) -> dict[str, PhotoRecord]:
        """The photos among ``ids`` that are here now, by id (another process may just have removed one)."""
        return self._catalogue.records(ids)

    def record(self, id_: str) -> PhotoRecord:
        """One photo; raises UnknownIdError."""
        if (found := self.records([id_]).get(id_)) is None:
            raise UnknownIdError(f"{self.path} does not hold {id_!r}; check the id")
        return found

    def preview(self, id_: str) -> bytes | None:
        """The encoded preview picture of a photo; None where it has none or is not here."""
        return self._catalogue.preview(id_)

    def info(self) -> GalleryInfo:
        """Return the counts as of the last commit of any process."""
        generation, photos, segments = self._catalogue.summary()
        return GalleryInfo(
            path=self.path,
            generation=generation,
            photos=photos,
            dead_rows=sum(segment.rows for segment in segments) - photos,
            segments=len(segments),
            bytes_on_disk=sum(segment.bytes for segment in segments) + self._catalogue.path.stat().st_size,
            meta=self.meta,
        )

    def verify(self) -> None:
        """Read all segment files and check their SHA-256; raises GalleryCorruptError for the first bad."""
        _, _, segments = self._catalogue.summary()
        for segment in segments:
            verify_segment(self.path / SEGMENTS, segment)

    def writer(self) -> GalleryWriter:
        """Return the context manager that adds and removes photos while it holds the gallery's lock."""
        return GalleryWriter(self.path, self._catalogue, self.meta.shapes)


def _own_version() -> str:
    try:
        return packages.version("mlrm-engine")
    except packages.PackageNotFoundError:
        return "not installed"
