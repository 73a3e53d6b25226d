"""The writing side of a gallery: one writer at a time, and what a photo must be to go in. No torch here."""

from __future__ import annotations

import json
import os
import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from engine.catalogue import Catalogue, NewPhoto, PhotoFile, name_ids
from engine.errors import (
    DuplicateIdError,
    FeatureShapeError,
    GalleryError,
    GalleryLockedError,
    InvalidPhotoError,
)
from engine.features import FeatureBlock, FeatureShapes
from engine.segments import remove_orphans, write_segment

MAX_ID_LENGTH = 1024  # characters

SEGMENTS = "segments"  # the directory, under the gallery's
_LOCK = "writer.lock"
_HOLDER = "writer.json"
_UNFINISHED_HOLDER = f"{_HOLDER}.new"
LOCK_FILES = frozenset({_LOCK, _HOLDER, _UNFINISHED_HOLDER})  # what WriterLock may leave in a gallery


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
            _, _, segments = self._catalogue.summary()
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

        Raises:
            InvalidPhotoError: an id, a path or metadata can't be stored, or a list isn't of length N.
            FeatureShapeError: features of other shapes than the gallery's.
            FeatureValueError: features that can't be stored.
            DuplicateIdError: an id twice, or in the gallery already.
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
        self._catalogue.add_segment(stored, photos)

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


class WriterLock:
    """The system's lock on ``writer.lock``, which dies with its process, and a note of who has it."""

    def __init__(self, path: Path) -> None:
        """Name the gallery's directory; nothing is locked yet."""
        self._path = path
        self._lock: FileLock | None = None

    def acquire(self) -> None:
        """Take the lock without waiting; raises GalleryLockedError, or GalleryError if the disk refuses."""
        # A FileLock can be acquired twice by its owner; a new one each time makes the second a refusal.
        lock = FileLock(self._path / _LOCK, thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise self._held() from None
        except OSError as error:
            raise GalleryError(f"can't write to gallery {self._path}: {error}") from error
        self._lock = lock
        try:
            note = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
            unfinished = self._path / _UNFINISHED_HOLDER
            unfinished.write_text(json.dumps(note), encoding="utf-8")
            unfinished.replace(self._path / _HOLDER)
        except OSError as error:
            self.release()
            raise GalleryError(f"can't write to gallery {self._path}: {error}") from error

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._lock is not None:
            (self._path / _HOLDER).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def require(self) -> None:
        """Raise GalleryError unless the lock is held."""
        if self._lock is None:
            raise GalleryError("the writer is not open; use it as `with gallery.writer() as writer: ...`")

    def _held(self) -> GalleryLockedError:
        try:
            note = json.loads((self._path / _HOLDER).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # its holder has the lock and is about to write this, or just left
            note = {}
        pid, host, since = note.get("pid"), note.get("host"), note.get("since")
        holder = f"process {pid} on {host} since {since}" if note else "another process, just now"
        return GalleryLockedError(
            f"{self._path} is being written by {holder}; one writer at a time. Wait for it to end, then try again",
            pid=pid,
            host=host,
            since=since,
        )


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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
