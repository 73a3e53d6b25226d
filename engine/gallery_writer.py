"""The writing side of a gallery: one writer at a time, and what a photo must be to go in. No torch here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from engine.artefacts import Artefact
from engine.backup import restore_into
from engine.catalogue import Catalogue, name_ids
from engine.compaction import CompactReport, compact
from engine.errors import (
    DuplicateIdError,
    FeatureShapeError,
    GalleryError,
    InvalidPhotoError,
)
from engine.features import FeatureBlock, FeatureShapes
from engine.filters import check_index_key
from engine.quarantine import VerifyReport, verify
from engine.records import NewPhoto, PhotoFile
from engine.schema import SEGMENTS
from engine.segments import remove_orphans, write_segment
from engine.writer_lock import WriterLock

MAX_ID_LENGTH = 1024  # characters


class GalleryWriter:
    """Adds and removes photos, the only one to do so while its ``with`` block lasts. For one thread.

    Entering raises GalleryLockedError when another writer is at work, and deletes what killed ones left.
    """

    def __init__(self, path: Path, catalogue: Catalogue, shapes: FeatureShapes) -> None:
        """Use :meth:`Gallery.writer`."""
        self._path = path
        self._catalogue = catalogue
        self._shapes = shapes
        self._lock = WriterLock(path)

    def __enter__(self) -> Self:
        self._lock.acquire()
        try:
            segments = self._catalogue.summary().segments
            remove_orphans(self._path / SEGMENTS, keep={segment.name for segment in segments})
        except OSError as error:
            self._lock.release()
            raise GalleryError(f"can't clean up {self._path / SEGMENTS}: {error}") from error
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def add(
        self,
        block: FeatureBlock,
        ids: Sequence[str],
        *,
        paths: Sequence[str | None] | None = None,
        content_hashes: Sequence[str | None] | None = None,
        file_stamps: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        previews: Sequence[bytes | None] | None = None,
        replace: bool = False,
        made_by: Artefact | None = None,
    ) -> None:
        """Add N photos as one segment, in one commit: all of them or, on any error, none.

        A segment costs a file, which each reader keeps open: give it hundreds of photos or more where there are
        that many. N = 0 does nothing.

        Args:
            block: features of N photos.
            ids: N ids: unique, not empty, without NUL, of at most 1024 characters. An id never changes.
            paths: where the photos are.
            content_hashes: of the photos' pixels, so that a moved photo can be told from another one.
            file_stamps: of the files, so that one that was written again can be told without decoding it.
            metadata: for each photo a dict that JSON can hold.
            previews: small encoded pictures.
            replace: whether photos that are there under these ids go, in the same commit.
            made_by: what computed the features, where that is known.

        Raises:
            InvalidPhotoError: an id, a path or metadata can't be stored, or a list isn't of length N.
            FeatureShapeError: features of other shapes than the gallery's.
            FeatureValueError: features that can't be stored.
            DuplicateIdError: an id twice, or in the gallery already (without ``replace``).
            GalleryError: the disk refused.
        """
        self._lock.require()
        if block.shapes != self._shapes:
            raise FeatureShapeError(
                f"{self._path} holds features of {self._shapes}; these have {block.shapes}. They come from "
                "another model or configuration: use the gallery's, or another gallery"
            )
        block.validate(ids)
        photos = _new_photos(ids, paths, content_hashes, file_stamps, metadata, previews)
        if not replace:
            self._catalogue.refuse_known(ids)
        if not photos:
            return
        try:
            stored = write_segment(self._path / SEGMENTS, block.encoded())
        except OSError as error:
            raise GalleryError(
                f"can't write a segment of {len(photos)} photos to {self._path}: {error}. Nothing of this "
                "batch was stored, what was committed before is still there. Free some space, check the disk"
            ) from error
        self._catalogue.add_segment(stored, photos, replace=replace, made_by=made_by)

    def update_metadata(self, entries: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Replace the metadata of photos by id, in one commit; None takes them away.

        Raises:
            InvalidPhotoError: metadata can't be stored; then nothing is changed.
            UnknownIdError: an id is not in the gallery; then nothing is changed.
        """
        self._lock.require()
        for id_, entry in entries.items():
            check_metadata(id_, entry)
        if entries:
            self._catalogue.update_metadata(entries)

    def index_metadata(self, keys: Iterable[str]) -> None:
        """Make SQL indexes for metadata keys that have none yet, in one commit, so that filters on them are quick.

        Raises:
            FilterError: a key can't be indexed.
        """
        self._lock.require()
        keys = list(keys)
        for key in keys:
            check_index_key(key)
        self._catalogue.index_metadata(keys)

    def update_files(self, files: Sequence[PhotoFile]) -> None:
        """Record in one commit where the files of photos are now; ids that aren't here are left out."""
        self._lock.require()
        for file in files:
            _check_text(file.id, file.path)
        if files:
            self._catalogue.update_files(files)

    def remove(self, ids: Iterable[str]) -> None:
        """Remove photos in one commit. Their rows stay on the disk, dead.

        Raises:
            UnknownIdError: an id is not in the gallery; then nothing is removed.
        """
        self._lock.require()
        if unique := list(dict.fromkeys(ids)):
            self._catalogue.remove(unique)

    def compact(self) -> CompactReport:
        """Merge small segments and drop the rows of removed photos (engine/compaction.py); readers aren't disturbed.

        Raises:
            GalleryCorruptError: a segment is damaged.
            GalleryError: the disk refused.
        """
        self._lock.require()
        return compact(self._path / SEGMENTS, self._catalogue, self._shapes)

    def verify(self) -> VerifyReport:
        """Read every file of the gallery, and leave damaged segments out of searches (engine/quarantine.py).

        Raises:
            GalleryCorruptError: the catalogue is damaged.
            GalleryError: the disk refused.
        """
        self._lock.require()
        return verify(self._path, self._catalogue)

    def restore(self, snapshot: str | Path) -> None:
        """Put the gallery back to what a snapshot of it holds, in one commit (engine/backup.py).

        Raises:
            GalleryCorruptError: the snapshot is damaged; then nothing is changed.
            GalleryError: it is of another model or shapes, or the disk refused; then nothing is changed.
        """
        self._lock.require()
        restore_into(self._path, Path(snapshot))


def _new_photos(
    ids: Sequence[str],
    paths: Sequence[str | None] | None,
    content_hashes: Sequence[str | None] | None,
    file_stamps: Sequence[str | None] | None,
    metadata: Sequence[Mapping[str, Any] | None] | None,
    previews: Sequence[bytes | None] | None,
) -> list[NewPhoto]:
    """Pair up the lists, refusing what can't be stored; raises InvalidPhotoError, DuplicateIdError."""
    columns = [
        [None] * len(ids) if column is None else column
        for column in (paths, content_hashes, file_stamps, metadata, previews)
    ]
    if any(len(column) != len(ids) for column in columns):
        raise InvalidPhotoError(
            f"found {len(ids)} ids, and paths, content_hashes, file_stamps, metadata or previews for "
            f"{', '.join(str(len(column)) for column in columns)} photos; expected lists of one length"
        )
    photos = [NewPhoto(*fields) for fields in zip(ids, *columns, strict=True)]
    for photo in photos:
        check_id(photo.id)
        for text in (photo.path, photo.content_hash):
            _check_text(photo.id, text)
        check_metadata(photo.id, photo.metadata)
    if repeated := [id_ for id_, count in Counter(ids).items() if count > 1]:
        raise DuplicateIdError(f"found {name_ids(repeated)} more than once; expected each photo once")
    return photos


def check_id(id_: str) -> None:
    """Raise InvalidPhotoError for an id that can't be stored."""
    if not isinstance(id_, str) or not 0 < len(id_) <= MAX_ID_LENGTH or "\0" in id_:
        raise InvalidPhotoError(
            f"id {str(id_)[:40]!r}: expected a string of 1 to {MAX_ID_LENGTH} characters without NUL; give another id"
        )
    _check_text(id_, id_)


def check_metadata(id_: str, metadata: Mapping[str, Any] | None) -> None:
    """Raise InvalidPhotoError for metadata that can't be stored."""
    if metadata is None:
        return
    if not isinstance(metadata, Mapping):
        raise InvalidPhotoError(
            f"photo {id_!r}: its metadata is a {type(metadata).__name__}; expected a dict that JSON can hold"
        )
    try:
        json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidPhotoError(f"photo {id_!r}: its metadata can't be stored as JSON: {error}") from error


def _check_text(id_: str, text: str | None) -> None:
    try:
        (text or "").encode()
    except UnicodeEncodeError as error:
        raise InvalidPhotoError(f"photo {id_!r}: {text!r} is not valid Unicode; rename the file") from error
