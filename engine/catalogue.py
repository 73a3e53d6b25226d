"""The catalogue: which photos a gallery holds and where, in one SQLite file. No torch here.

    meta(key, value)                                    format, model, shapes, generation
    segments(seq, name, rows, bytes, sha256, changed)
    photos(id, segment, row, path, content_hash, file_stamp, metadata)
    previews(id, image)                                 apart: reading ids doesn't page through pictures

`generation` grows by one with each commit; `changed` is the generation that last altered which rows of a
segment are alive, so that a reader refreshes only those segments.

The journal is SQLite's default rollback journal, not WAL: WAL needs shared memory and a `-shm` file beside
the database, even for reading, so it fails on read-only directories and on network file systems, and this
file sees one short write per thousands of photos. A connection lives for one transaction: nothing to close,
to share between threads or to inherit over a fork. Opening one costs a fraction of a millisecond.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from engine.errors import (
    DuplicateIdError,
    GalleryCorruptError,
    GalleryError,
    GalleryVersionError,
    UnknownIdError,
)
from engine.features import FeatureShapes
from engine.segments import StoredSegment, sync_directory

FORMAT_VERSION = 1
BUSY_TIMEOUT = 60.0  # seconds a transaction waits for another one; none is long
NAMED_IDS = 5  # how many ids an error message lists

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (
    seq INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, changed INTEGER NOT NULL
);
CREATE TABLE photos (
    id TEXT PRIMARY KEY, segment INTEGER NOT NULL REFERENCES segments (seq), row INTEGER NOT NULL,
    path TEXT, content_hash TEXT, file_stamp TEXT, metadata TEXT
);
CREATE UNIQUE INDEX photos_by_place ON photos (segment, row);
CREATE TABLE previews (id TEXT PRIMARY KEY, image BLOB NOT NULL);
"""
# Ids travel as one JSON array: a query with a parameter for each would meet SQLite's limit on parameters.
_ID_IN_LIST = "id IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True)
class GalleryMeta:
    """What was decided when the gallery was made; it never changes."""

    format_version: int
    gallery_id: str
    model_fingerprint: str
    model_name: str
    shapes: FeatureShapes
    region_weight_power: int
    created_with: str


@dataclass(frozen=True)
class NewPhoto:
    """A photo to be catalogued, in the order of its segment's rows.

    ``content_hash`` is of its pixels; ``file_stamp`` tells whether the file at ``path`` was written again since.
    """

    id: str
    path: str | None = None
    content_hash: str | None = None
    file_stamp: str | None = None
    metadata: Mapping[str, Any] | None = None
    preview: bytes | None = None


@dataclass(frozen=True)
class PhotoFile:
    """Where the file of the photo ``id`` is now, and its stamp."""

    id: str
    path: str
    stamp: str | None


@dataclass(frozen=True)
class PhotoRecord:
    """What the catalogue knows of a photo; its features are row ``row`` of segment ``segment``."""

    id: str
    path: str | None
    content_hash: str | None
    file_stamp: str | None
    metadata: dict[str, Any] | None
    segment: str
    row: int


@dataclass(frozen=True)
class SegmentState:
    """A segment, and its living photos as (row, id) in the order of rows; None: as they were."""

    stored: StoredSegment
    live: list[tuple[int, str]] | None


@dataclass(frozen=True)
class CatalogueState:
    """All segments at one generation, in the order they were added."""

    generation: int
    segments: tuple[SegmentState, ...]


class Catalogue:
    """Transactions on one catalogue file. Safe from any thread; whoever writes holds the gallery's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._uri = path.absolute().as_uri()

    @classmethod
    def create(cls, path: Path, temporary: Path, meta: GalleryMeta) -> Catalogue:
        """Make an empty catalogue at ``path``, by way of ``temporary``: it appears whole or not at all."""
        for leftover in (temporary, temporary.with_name(f"{temporary.name}-journal")):
            leftover.unlink(missing_ok=True)
        values = asdict(meta) | {"shapes": meta.shapes.to_json(), "generation": 0}
        with cls(temporary)._transaction("IMMEDIATE", mode="rwc") as connection:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)", [(key, str(value)) for key, value in values.items()]
            )
        temporary.replace(path)
        sync_directory(path.parent)
        return cls(path)

    def meta(self) -> GalleryMeta:
        """Read the constants; raises GalleryVersionError, GalleryCorruptError."""
        with self._transaction() as connection:
            values = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        try:
            version = int(values["format_version"])
            if version > FORMAT_VERSION:
                raise GalleryVersionError(
                    f"{self.path.parent}: the gallery has format {version}, written by release "
                    f"{values.get('created_with')}; this release reads up to format {FORMAT_VERSION}. "
                    "Upgrade this package, or index the photos again into a new gallery"
                )
            int(values["generation"])
            return GalleryMeta(
                format_version=version,
                gallery_id=values["gallery_id"],
                model_fingerprint=values["model_fingerprint"],
                model_name=values["model_name"],
                shapes=FeatureShapes.from_json(values["shapes"]),
                region_weight_power=int(values["region_weight_power"]),
                created_with=values["created_with"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise self._corrupt(f"its meta table is incomplete ({error!r})") from error

    def stamp(self) -> tuple[str, int]:
        """(gallery_id, generation): equal stamps mean equal contents."""
        with self._transaction() as connection:
            query = "SELECT value FROM meta WHERE key IN ('gallery_id', 'generation') ORDER BY key"
            gallery_id, generation = (value for (value,) in connection.execute(query))
        return gallery_id, int(generation)

    def state(self, since: int) -> CatalogueState:
        """Read all segments at one moment, with the living rows of those that changed after ``since``."""
        with self._transaction() as connection:
            generation = _generation(connection)
            segments = []
            for seq, changed, stored in _segments(connection):
                live = None
                if changed > since:
                    query = "SELECT row, id FROM photos WHERE segment = ? ORDER BY row"
                    live = connection.execute(query, (seq,)).fetchall()
                segments.append(SegmentState(stored, live))
        return CatalogueState(generation, tuple(segments))

    def summary(self) -> tuple[int, int, list[StoredSegment]]:
        """(generation, living photos, all segments) at one moment."""
        with self._transaction() as connection:
            (photos,) = connection.execute("SELECT COUNT(*) FROM photos").fetchone()
            return _generation(connection), photos, [stored for _, _, stored in _segments(connection)]

    def records(self, ids: Iterable[str] | None = None) -> dict[str, PhotoRecord]:
        """The records of ``ids`` (None: of all photos) by id; ids that are not in the gallery are absent."""
        query = (
            "SELECT id, path, content_hash, file_stamp, metadata, name, row "
            "FROM photos JOIN segments ON segments.seq = photos.segment"
        )
        with self._transaction() as connection:
            if ids is None:
                found = connection.execute(query).fetchall()
            else:
                found = connection.execute(f"{query} WHERE {_ID_IN_LIST}", (_id_list(ids),)).fetchall()
        return {
            id_: PhotoRecord(
                id_, path, content_hash, stamp, json.loads(metadata) if metadata is not None else None, segment, row
            )
            for id_, path, content_hash, stamp, metadata, segment, row in found
        }

    def preview(self, id_: str) -> bytes | None:
        """The stored preview of a photo, or None where it has none."""
        with self._transaction() as connection:
            query = f"SELECT image FROM previews WHERE {_ID_IN_LIST}"
            found = connection.execute(query, (_id_list([id_]),)).fetchone()
        return found[0] if found is not None else None

    def refuse_known(self, ids: Sequence[str]) -> None:
        """Raise DuplicateIdError if any of ``ids`` is in the gallery."""
        with self._transaction() as connection:
            known = _known(connection, ids)
        if duplicates := [id_ for id_ in ids if id_ in known]:
            raise DuplicateIdError(
                f"{self.path.parent} already holds {name_ids(duplicates)}; nothing of this batch was stored. "
                "Remove them first to replace them, or leave them out"
            )

    def add_segment(self, stored: StoredSegment, photos: Sequence[NewPhoto]) -> None:
        """Make a segment and its photos visible, all at once."""
        with self._transaction("IMMEDIATE") as connection:
            generation = _next_generation(connection)
            seq = connection.execute(
                "INSERT INTO segments (name, rows, bytes, sha256, changed) VALUES (?, ?, ?, ?, ?)",
                (stored.name, stored.rows, stored.bytes, stored.sha256, generation),
            ).lastrowid
            connection.executemany(
                "INSERT INTO photos VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    (p.id, seq, row, p.path, p.content_hash, p.file_stamp, _metadata_to_json(p.metadata))
                    for row, p in enumerate(photos)
                ),
            )
            connection.executemany(
                "INSERT INTO previews VALUES (?, ?)",
                ((photo.id, photo.preview) for photo in photos if photo.preview is not None),
            )

    def update_files(self, files: Sequence[PhotoFile]) -> None:
        """Record where the files of photos are now, all at once."""
        with self._transaction("IMMEDIATE") as connection:
            _next_generation(connection)
            connection.executemany(
                "UPDATE photos SET path = ?, file_stamp = ? WHERE id = ?",
                ((file.path, file.stamp, file.id) for file in files),
            )

    def remove(self, ids: Sequence[str]) -> None:
        """Remove all of ``ids``, or raise UnknownIdError and remove none."""
        with self._transaction("IMMEDIATE") as connection:
            known = _known(connection, ids)
            if unknown := [id_ for id_ in ids if id_ not in known]:
                raise UnknownIdError(
                    f"{self.path.parent} does not hold {name_ids(unknown)}; nothing was removed. "
                    "Check the ids, or leave these out"
                )
            listed = (_id_list(ids),)
            connection.execute(
                f"UPDATE segments SET changed = ? WHERE seq IN (SELECT segment FROM photos WHERE {_ID_IN_LIST})",
                (_next_generation(connection), *listed),
            )
            connection.execute(f"DELETE FROM previews WHERE {_ID_IN_LIST}", listed)
            connection.execute(f"DELETE FROM photos WHERE {_ID_IN_LIST}", listed)

    @contextmanager
    def _transaction(
        self, kind: Literal["DEFERRED", "IMMEDIATE"] = "DEFERRED", *, mode: Literal["rw", "rwc"] = "rw"
    ) -> Iterator[sqlite3.Connection]:
        """One connection, one transaction; leaving by an exception rolls it back.

        Readers connect with mode=rw as well: after a writer was killed in mid-commit, whoever comes next has
        to roll its journal back, and a read-only connection may not. Where the file or the directory can't
        be written, SQLite falls back to reading by itself.
        """
        try:
            connecting = sqlite3.connect(
                f"{self._uri}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None
            )
            with closing(connecting) as connection:
                # EXTRA is FULL, and the directory is flushed too after a commit, so that a power cut doesn't
                # bring the journal back and undo it.
                connection.execute("PRAGMA synchronous = EXTRA")
                connection.execute(f"BEGIN {kind}")
                yield connection
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _explained(self, error: sqlite3.Error) -> GalleryError:
        # The low byte is the primary code. SQLITE_ERROR is a missing table or column: the SQL is ours.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self._corrupt(str(error))
        if code == sqlite3.SQLITE_BUSY:
            advice = f"another process kept it locked for {BUSY_TIMEOUT:.0f} s; try again"
        elif code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            advice = (
                "check that it is there and may be written, and that the process has not used up its open files "
                "(`ulimit -n`); if a writer was killed, open the gallery once from where it may be written, so that "
                "the interrupted commit can be undone"
            )
        else:
            advice = "check the disk's free space and health; what was committed before is still there"
        return GalleryError(f"catalogue {self.path}: {error}; {advice}")

    def _corrupt(self, fault: str) -> GalleryCorruptError:
        return GalleryCorruptError(
            f"catalogue {self.path}: {fault}; expected a gallery's SQLite file. Restore it from a backup, or "
            "index the photos again into a new gallery"
        )


def new_gallery_id() -> str:
    """Return a random id: it tells a gallery from another one made later at the same path."""
    return secrets.token_hex(16)


def name_ids(ids: Sequence[str]) -> str:
    """Up to five ids for an error message, and how many more there are."""
    more = f" and {len(ids) - NAMED_IDS} more" if len(ids) > NAMED_IDS else ""
    return ", ".join(repr(id_) for id_ in ids[:NAMED_IDS]) + more


def _known(connection: sqlite3.Connection, ids: Iterable[str]) -> set[str]:
    found = connection.execute(f"SELECT id FROM photos WHERE {_ID_IN_LIST}", (_id_list(ids),))
    return {id_ for (id_,) in found}


def _id_list(ids: Iterable[str]) -> str:
    return json.dumps(list(ids))


def _generation(connection: sqlite3.Connection) -> int:
    (generation,) = connection.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
    return int(generation)


def _next_generation(connection: sqlite3.Connection) -> int:
    generation = _generation(connection) + 1
    connection.execute("UPDATE meta SET value = ? WHERE key = 'generation'", (str(generation),))
    return generation


def _metadata_to_json(metadata: Mapping[str, Any] | None) -> str | None:
    return json.dumps(dict(metadata), allow_nan=False) if metadata is not None else None


def _segments(connection: sqlite3.Connection) -> list[tuple[int, int, StoredSegment]]:
    """(seq, changed, segment) of all segments, in the order they were added."""
    rows = connection.execute("SELECT seq, changed, name, rows, bytes, sha256 FROM segments ORDER BY seq").fetchall()
    return [(seq, changed, StoredSegment(*stored)) for seq, changed, *stored in rows]
