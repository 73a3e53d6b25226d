"""A gallery on disk: one writer at a time, any number of readers, in any number of processes. No torch here.

    my.gallery/
      catalogue.sqlite   which photos there are, and where (engine/catalogue.py)
      segments/          their features, in immutable files (engine/segments.py)
      writer.lock        held by the process that writes; writer.json says which one it is

A segment is on the disk before the one transaction that makes it visible, so a kill at any moment loses at
most the segment being written, and readers see whole commits only.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from importlib import metadata as packages
from pathlib import Path

from engine.backup import copy_gallery
from engine.catalogue import Catalogue, new_gallery_id
from engine.errors import GalleryCorruptError, GalleryError, NotAGalleryError, UnknownIdError
from engine.facets import Facet, read_facets
from engine.features import FeatureBlock, FeatureShapes
from engine.filters import Filter
from engine.gallery_place import UNFINISHED, is_gallery
from engine.gallery_writer import GalleryWriter
from engine.model_check import check_model
from engine.reader import SnapshotReader
from engine.records import GalleryInfo, GalleryMeta, PhotoRecord
from engine.schema import CATALOGUE, FORMAT_VERSION, SEGMENTS
from engine.segments import verify_segment
from engine.short_codes import CODES
from engine.snapshot import GallerySnapshot, SegmentView, Selection
from engine.writer_lock import WriterLock

__all__ = [
    "FeatureBlock",
    "FeatureShapes",
    "Gallery",
    "GalleryInfo",
    "GallerySnapshot",
    "GalleryWriter",
    "PhotoRecord",
    "SegmentView",
    "Selection",
]


class Gallery:
    """A gallery opened for reading; :meth:`writer` opens it for writing. Safe to share between threads.

    Nothing is held open between calls except memory maps, so there is nothing to close.
    """

    def __init__(self, path: Path, catalogue: Catalogue, meta: GalleryMeta) -> None:
        """Use :meth:`open` or :meth:`create`."""
        self.path = path
        self.meta = meta
        self._catalogue = catalogue
        self._reader = SnapshotReader(path, catalogue, meta)

    @staticmethod
    def exists(path: str | Path) -> bool:
        """Whether a gallery is there (to be opened) or not yet (to be created).

        Raises:
            NotAGalleryError: something else is there.
            GalleryCorruptError: segments are there and no catalogue. A gallery made here would delete them.
            GalleryError: the directory can't be read.
        """
        return is_gallery(Path(path))

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
                Catalogue.create(path / CATALOGUE, path / UNFINISHED, meta)
            finally:
                lock.release()
        except OSError as error:
            raise GalleryError(f"can't create a gallery at {path}: {error}") from error
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path, *, damaged: bool = False) -> Gallery:
        """Open a gallery for reading, and check that each file of it is there in full length.

        Args:
            path: its directory.
            damaged: whether to leave that check out: for a gallery to be verified or restored.

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
        catalogue = Catalogue(path / CATALOGUE)
        gallery = cls(path, catalogue, catalogue.meta())
        if not damaged:
            gallery.snapshot()
        return gallery

    @classmethod
    def restore(cls, path: str | Path, snapshot: str | Path) -> Gallery:
        """Put a gallery back to what a snapshot of it holds, or make it of the snapshot where there is none.

        Raises:
            GalleryCorruptError: the snapshot is damaged; then nothing is changed.
            GalleryLockedError: another process is writing.
            GalleryError: the snapshot is of another model or shapes, or the disk refused; then nothing is changed.
        """
        source = cls.open(snapshot)
        if cls.exists(path):
            with cls.open(path, damaged=True).writer() as writer:
                writer.restore(source.path)
        else:
            source.verify()
            source.copy(path)
        return cls.open(path)

    def copy(self, target: str | Path) -> None:
        """Copy the gallery, as of its last commit, to a new directory (engine/backup.py), while others read and write.

        Raises:
            GalleryCorruptError: a segment is damaged.
            GalleryError: the target is there already, or the disk refused.
        """
        copy_gallery(self.path, Path(target).absolute())

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
        return self._reader.snapshot()

    def select(self, where: Filter | None) -> Selection:
        """Return the photos that a filter lets through, as of the last commit; all of them without one.

        The filter is applied to the metadata of the same commit that the snapshot is of. Raises as `snapshot`.
        """
        return self._reader.select(where)

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
        found = self._catalogue.summary()
        rows = sum(segment.rows for segment in found.segments)
        return GalleryInfo(
            path=self.path,
            generation=found.generation,
            photos=found.photos,
            dead_rows=rows - found.photos - found.quarantined_photos,
            quarantined_photos=found.quarantined_photos,
            rows_ever=rows + found.dropped_rows,
            segments=len(found.segments),
            bytes_on_disk=sum(segment.bytes for segment in found.segments)
            + self._catalogue.path.stat().st_size
            + sum(file.stat().st_size for file in (self.path / CODES).glob("*.safetensors")),
            bytes_resident=rows * self.meta.shapes.searched_bytes,
            index_keys=found.index_keys,
            artefacts=found.artefacts,
            meta=self.meta,
        )

    def facets(self) -> list[Facet]:
        """What the metadata can be filtered by: keys, common values, the range of numbers."""
        return read_facets(self._catalogue)

    def verify(self) -> None:
        """Read all segment files and check their SHA-256; raises GalleryCorruptError for the first bad.

        It changes nothing; :meth:`GalleryWriter.verify` leaves what is damaged out of searches.
        """
        found = self._catalogue.summary()
        try:
            for segment in found.segments:
                verify_segment(self.path / SEGMENTS, segment)
        except GalleryCorruptError:
            if self._reader.stamp() == found.generation:
                raise
            self.verify()  # compaction deleted the segment meanwhile

    def writer(self) -> GalleryWriter:
        """Return the context manager that adds and removes photos while it holds the gallery's lock."""
        return GalleryWriter(self.path, self._catalogue, self.meta.shapes)


def _own_version() -> str:
    try:
        return packages.version("mlrm-engine")
    except packages.PackageNotFoundError:
        return "not installed"
