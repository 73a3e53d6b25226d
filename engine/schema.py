"""The catalogue's tables, and the statements that more than one module needs. No torch here.

    meta(key, value)                                    format, model, shapes, generation, and the entries below
    segments(seq, name, rows, bytes, sha256, changed)
    photos(id, segment, row, path, content_hash, file_stamp, metadata)
    previews(id, image)                                 apart: reading ids doesn't page through pictures

`generation` grows by one with each commit; `changed` is the generation that last altered which rows of a
segment are alive, so that a reader refreshes only those segments. No clock decides anything.

Entries of `meta` that a gallery may lack, so that format 1 needs no migration for them:

    index_keys    JSON list: metadata keys that have an SQL index
    quarantined   JSON list: names of segments found damaged; readers leave them out
    dropped_rows  how many rows compaction has dropped: with those still there, all that ever were
    short_codes   JSON: which short codes searches use, and what was measured when they were chosen (engine/plan.py)
    short_codes_sketches, short_codes_drift: what these were tried by, and how photos added later differ
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Literal

from engine.segments import StoredSegment

FORMAT_VERSION = 1
CATALOGUE = "catalogue.sqlite"  # the file, in the gallery's directory
SEGMENTS = "segments"  # the directory, in the gallery's

SCHEMA = """
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
ID_IN_LIST = "id IN (SELECT value FROM json_each(?))"

# A condition on `photos`: the photo is in a segment that readers leave out.
QUARANTINED = """(segment IN (SELECT seq FROM segments WHERE name IN (
    SELECT listed.value FROM meta, json_each(meta.value) AS listed WHERE meta.key = 'quarantined')))"""

NameList = Literal["index_keys", "quarantined"]


def id_list(ids: Iterable[str]) -> str:
    """The parameter of ``ID_IN_LIST``."""
    return json.dumps(list(ids))


def read_generation(connection: sqlite3.Connection) -> int:
    """The number of the last commit."""
    (generation,) = connection.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
    return int(generation)


def next_generation(connection: sqlite3.Connection) -> int:
    """Count this transaction as a commit, and return its number."""
    generation = read_generation(connection) + 1
    connection.execute("UPDATE meta SET value = ? WHERE key = 'generation'", (str(generation),))
    return generation


def read_segments(connection: sqlite3.Connection) -> list[tuple[int, int, StoredSegment]]:
    """(seq, changed, segment) of all segments, in the order they were added."""
    rows = connection.execute("SELECT seq, changed, name, rows, bytes, sha256 FROM segments ORDER BY seq").fetchall()
    return [(seq, changed, StoredSegment(*stored)) for seq, changed, *stored in rows]


def insert_segment(connection: sqlite3.Connection, stored: StoredSegment, generation: int) -> int:
    """Name a segment in the catalogue, and return its seq."""
    cursor = connection.execute(
        "INSERT INTO segments (name, rows, bytes, sha256, changed) VALUES (?, ?, ?, ?, ?)",
        (stored.name, stored.rows, stored.bytes, stored.sha256, generation),
    )
    seq = cursor.lastrowid
    assert seq is not None
    return seq


def read_names(connection: sqlite3.Connection, key: NameList) -> list[str]:
    """One of the lists in `meta`; empty where there is none."""
    found = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return [] if found is None else list(json.loads(found[0]))


def write_names(connection: sqlite3.Connection, key: NameList, names: Sequence[str]) -> None:
    """Replace one of the lists in `meta`."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(list(names))))


def read_dropped_rows(connection: sqlite3.Connection) -> int:
    """How many rows compaction has dropped so far."""
    found = connection.execute("SELECT value FROM meta WHERE key = 'dropped_rows'").fetchone()
    return 0 if found is None else int(found[0])


def write_dropped_rows(connection: sqlite3.Connection, count: int) -> None:
    """Replace the number of rows that compaction has dropped."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('dropped_rows', ?)", (str(count),))
