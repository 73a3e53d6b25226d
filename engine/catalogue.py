"""The catalogue: which photos a gallery holds and where, in one SQLite file (engine/schema.py). No torch here."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from engine.artefacts import Artefact, count_photos, read_artefacts
from engine.database import Database
from engine.errors import DuplicateIdError, GalleryVersionError, UnknownIdError
from engine.facets import start_counting
from engine.features import FeatureShapes
from engine.filters import Filter, index_sql
from engine.ids import Ids
from engine.records import (
    CatalogueState,
    CatalogueSummary,
    GalleryMeta,
    LivingPhotos,
    NewPhoto,
    PhotoFile,
    PhotoRecord,
    SegmentState,
)
from engine.schema import (
    FORMAT_VERSION,
    ID_IN_LIST,
    QUARANTINED,
    SCHEMA,
    id_list,
    insert_segment,
    next_generation,
    read_dropped_rows,
    read_generation,
    read_names,
    read_segments,
    write_names,
)
from engine.segments import StoredSegment, sync_directory
from engine.selecting import rows_at_once

NAMED_IDS = 5  # how many ids an error message lists


class Catalogue(Database):
    """Transactions on one catalogue file. Safe from any thread; whoever writes holds the gallery's lock."""

    @classmethod
    def create(cls, path: Path, temporary: Path, meta: GalleryMeta) -> Catalogue:
        """Make an empty catalogue at ``path``, by way of ``temporary``: it appears whole or not at all."""
        for leftover in (temporary, temporary.with_name(f"{temporary.name}-journal")):
            leftover.unlink(missing_ok=True)
        values = asdict(meta) | {"shapes": meta.shapes.to_json(), "generation": 0}
        with cls(temporary).transaction("IMMEDIATE", mode="rwc") as connection:
            for statement in SCHEMA.split(";"):
                connection.execute(statement)
            start_counting(connection)
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)", [(key, str(value)) for key, value in values.items()]
            )
        temporary.replace(path)
        sync_directory(path.parent)
        return cls(path)

    def meta(self) -> GalleryMeta:
        """Read the constants; raises GalleryVersionError, GalleryCorruptError."""
        with self.transaction() as connection:
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
            raise self.corrupt(f"its meta table is incomplete ({error!r})") from error

    def stamp(self) -> tuple[str, int]:
        """(gallery_id, generation): equal stamps mean equal contents."""
        with self.transaction() as connection:
            query = "SELECT value FROM meta WHERE key IN ('gallery_id', 'generation') ORDER BY key"
            gallery_id, generation = (value for (value,) in connection.execute(query))
        return gallery_id, int(generation)

    def state(self, since: int, where: Filter | None = None) -> CatalogueState:
        """Read all segments at one moment, with the living rows of those that changed after ``since``.

        Args:
            since: a generation.
            where: if given, the rows it lets through at that same moment are read too.
        """
        with self.transaction() as connection:
            generation, quarantined = read_generation(connection), set(read_names(connection, "quarantined"))
            segments: dict[int, SegmentState] = {}
            for seq, changed, stored in read_segments(connection):
                live = None
                if stored.name in quarantined:
                    continue
                if changed > since:
                    live = _living(connection, seq)
                segments[seq] = SegmentState(stored, live)
            if where is None:
                return CatalogueState(generation, tuple(segments.values()))
            return CatalogueState(generation, tuple(segments.values()), rows_at_once(connection, where))

    def summary(self) -> CatalogueSummary:
        """Read all counts at one moment."""
        with self.transaction() as connection:
            # Two counts by indexes: one that looks at each photo's segment takes half a second for a million.
            (photos,) = connection.execute("SELECT COUNT(*) FROM photos").fetchone()
            query = f"SELECT COUNT(*) FROM photos WHERE {QUARANTINED}"
            (quarantined_photos,) = connection.execute(query).fetchone()
            return CatalogueSummary(
                generation=read_generation(connection),
                photos=photos - quarantined_photos,
                segments=tuple(stored for _, _, stored in read_segments(connection)),
                quarantined=tuple(read_names(connection, "quarantined")),
                quarantined_photos=quarantined_photos,
                dropped_rows=read_dropped_rows(connection),
                index_keys=tuple(read_names(connection, "index_keys")),
                artefacts=read_artefacts(connection),
            )

    def records(self, ids: Iterable[str] | None = None) -> dict[str, PhotoRecord]:
        """The records of ``ids`` (None: of all photos) by id; ids that are not in the gallery are absent.

        Photos of a quarantined segment count as absent too: their features are lost, so they are to be added again.
        """
        query = (
            "SELECT id, path, content_hash, file_stamp, metadata, name, row "
            f"FROM photos JOIN segments ON segments.seq = photos.segment WHERE NOT {QUARANTINED}"
        )
        with self.transaction() as connection:
            if ids is None:
                found = connection.execute(query).fetchall()
            else:
                found = connection.execute(f"{query} AND {ID_IN_LIST}", (id_list(ids),)).fetchall()
        return {
            id_: PhotoRecord(
                id_, path, content_hash, stamp, json.loads(metadata) if metadata is not None else None, segment, row
            )
            for id_, path, content_hash, stamp, metadata, segment, row in found
        }

    def preview(self, id_: str) -> bytes | None:
        """The stored preview of a photo, or None where it has none."""
        with self.transaction() as connection:
            query = f"SELECT image FROM previews WHERE {ID_IN_LIST}"
            found = connection.execute(query, (id_list([id_]),)).fetchone()
        return found[0] if found is not None else None

    def refuse_known(self, ids: Sequence[str]) -> None:
        """Raise DuplicateIdError if any of ``ids`` is in the gallery."""
        known = self.records(ids)
        if duplicates := [id_ for id_ in ids if id_ in known]:
            raise DuplicateIdError(
                f"{self.path.parent} already holds {name_ids(duplicates)}; nothing of this batch was stored. "
                "Replace them (replace=True), or leave them out"
            )

    def add_segment(
        self,
        stored: StoredSegment,
        photos: Sequence[NewPhoto],
        *,
        replace: bool = False,
        made_by: Artefact | None = None,
    ) -> None:
        """Make a segment and its photos visible, all at once, and note what made it.

        What is quarantined under one of their ids goes for good, but its metadata stay where a photo brings none; with
        ``replace``, whatever is there under it goes.
        """
        with self.transaction("IMMEDIATE") as connection:
            generation = next_generation(connection)
            ids = id_list(photo.id for photo in photos)
            lost = f"SELECT id, metadata FROM photos WHERE {ID_IN_LIST} AND {QUARANTINED}"
            kept: dict[str, str | None] = dict(connection.execute(lost, (ids,)).fetchall())
            _forget(connection, ID_IN_LIST if replace else f"{ID_IN_LIST} AND {QUARANTINED}", ids, generation)
            seq = insert_segment(connection, stored, generation)
            if made_by is not None:
                count_photos(connection, made_by, len(photos))
            connection.executemany(
                "INSERT INTO photos VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        *(p.id, seq, row, p.path, p.content_hash, p.file_stamp),
                        _metadata_to_json(p.metadata) or kept.get(p.id),
                    )
                    for row, p in enumerate(photos)
                ),
            )
            connection.executemany(
                "INSERT INTO previews VALUES (?, ?)",
                ((photo.id, photo.preview) for photo in photos if photo.preview is not None),
            )

    def update_metadata(self, entries: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Replace the metadata of photos, all at once; raises UnknownIdError and changes none."""
        with self.transaction("IMMEDIATE") as connection:
            self._refuse_unknown(connection, list(entries), "no metadata was changed")
            next_generation(connection)
            connection.executemany(
                "UPDATE photos SET metadata = ? WHERE id = ?",
                ((_metadata_to_json(entry), id_) for id_, entry in entries.items()),
            )

    def index_metadata(self, keys: Iterable[str]) -> None:
        """Make SQL indexes for metadata keys that have none yet, all at once."""
        with self.transaction("IMMEDIATE") as connection:
            known = read_names(connection, "index_keys")
            new = [key for key in dict.fromkeys(keys) if key not in known]
            for number, key in enumerate(new, len(known)):
                for statement in index_sql(f"metadata_{number}", key):
                    connection.execute(statement)
            if new:
                write_names(connection, "index_keys", known + new)
                next_generation(connection)

    def update_files(self, files: Sequence[PhotoFile]) -> None:
        """Record where the files of photos are now, all at once."""
        with self.transaction("IMMEDIATE") as connection:
            next_generation(connection)
            connection.executemany(
                "UPDATE photos SET path = ?, file_stamp = ? WHERE id = ?",
                ((file.path, file.stamp, file.id) for file in files),
            )

    def remove(self, ids: Sequence[str]) -> None:
        """Remove all of ``ids``, or raise UnknownIdError and remove none."""
        with self.transaction("IMMEDIATE") as connection:
            self._refuse_unknown(connection, ids, "nothing was removed")
            _forget(connection, ID_IN_LIST, id_list(ids), next_generation(connection))

    def _refuse_unknown(self, connection: sqlite3.Connection, ids: Sequence[str], outcome: str) -> None:
        found = connection.execute(f"SELECT id FROM photos WHERE {ID_IN_LIST}", (id_list(ids),))
        known = {id_ for (id_,) in found}
        if unknown := [id_ for id_ in ids if id_ not in known]:
            raise UnknownIdError(
                f"{self.path.parent} does not hold {name_ids(unknown)}; {outcome}. Check the ids, or leave these out"
            )


def new_gallery_id() -> str:
    """Return a random id: it tells a gallery from another one made later at the same path."""
    return secrets.token_hex(16)


def name_ids(ids: Sequence[str]) -> str:
    """Up to five ids for an error message, and how many more there are."""
    more = f" and {len(ids) - NAMED_IDS} more" if len(ids) > NAMED_IDS else ""
    return ", ".join(repr(id_) for id_ in ids[:NAMED_IDS]) + more


def _living(connection: sqlite3.Connection, seq: int) -> LivingPhotos:
    """Packed segment by segment: a million photos as tuples of a row and an id would take 150 MB."""
    found = connection.execute("SELECT row, id FROM photos WHERE segment = ? ORDER BY row", (seq,)).fetchall()
    return LivingPhotos(np.array([row for row, _ in found], np.int64), Ids(id_ for _, id_ in found))


def _forget(connection: sqlite3.Connection, condition: str, ids: str, generation: int) -> None:
    """Remove the photos that a condition on an `id_list` names; the rows of their segments die in this commit."""
    chosen = f"SELECT id FROM photos WHERE {condition}"
    connection.execute(
        f"UPDATE segments SET changed = ? WHERE seq IN (SELECT segment FROM photos WHERE {condition})",
        (generation, ids),
    )
    connection.execute(f"DELETE FROM previews WHERE id IN ({chosen})", (ids,))
    connection.execute(f"DELETE FROM photos WHERE {condition}", (ids,))


def _metadata_to_json(metadata: Mapping[str, Any] | None) -> str | None:
    return json.dumps(dict(metadata), allow_nan=False) if metadata is not None else None
