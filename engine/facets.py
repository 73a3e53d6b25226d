"""What a gallery's metadata can be filtered by: its keys, their commonest values and the range of their numbers.

The catalogue counts as it is written to: triggers on `photos` keep, for each value, how many photos have it, so that
reading facets takes no longer with a million photos. No torch here.

    facet_counts(type, key, atom, photos)

`type` and `atom` are a value as `json_each` gives it; ('any', key, '') counts the photos that have the key at all. A
list in the metadata counts by its items, as filters match it; each photo counts once for a value.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from engine.database import Database
from engine.schema import QUARANTINED, read_names

MOST_KEYS = 24
MOST_VALUES = 24
LONGEST_TEXT = 100
"""Characters of a text that is offered as a value: nobody chooses among descriptions, and each is kept once more."""


@dataclass(frozen=True)
class Facet:
    """One metadata key. ``values``: (value, photos) of texts and true or false, the most common first."""

    key: str
    photos: int
    values: tuple[tuple[str | bool, int], ...]
    more_values: bool
    lowest: float | None
    highest: float | None


def _items(metadata: str) -> str:
    """The counted values of one photo's metadata, given by an SQL expression, each once."""
    inner = "json_each(field.value) AS item"
    one = f"IN ('integer', 'real', 'true', 'false') OR {{0}}.type = 'text' AND length({{0}}.atom) <= {LONGEST_TEXT}"
    return f"""
        SELECT field.type AS type, field.key AS key, field.atom AS atom
        FROM json_each({metadata}) AS field WHERE field.type {one.format("field")}
        UNION ALL SELECT DISTINCT item.type, field.key, item.atom
        FROM json_each({metadata}) AS field, {inner} WHERE field.type = 'array' AND (item.type {one.format("item")})
        UNION ALL SELECT 'any', field.key, '' FROM json_each({metadata}) AS field
        WHERE field.type NOT IN ('array', 'object') OR field.type = 'array'
        AND EXISTS (SELECT 1 FROM {inner} WHERE item.type NOT IN ('array', 'object'))"""


_TABLE = """
CREATE {temporary} TABLE facet_counts (
    type TEXT, key TEXT, atom, photos INTEGER NOT NULL, PRIMARY KEY (type, key, atom)
) WITHOUT ROWID
"""
_COMMONEST_FIRST = "CREATE INDEX {schema}commonest_first ON facet_counts (key, photos DESC, atom) WHERE type = 'text'"


def _count_one(metadata: str) -> str:
    """The statement that counts a photo's metadata."""
    return (
        f"INSERT INTO facet_counts SELECT type, key, atom, 1 FROM ({_items(metadata)}) WHERE TRUE "
        "ON CONFLICT DO UPDATE SET photos = photos + 1"
    )


def _discount_one(metadata: str) -> str:
    return f"UPDATE facet_counts SET photos = photos - 1 WHERE (type, key, atom) IN ({_items(metadata)})"


_TRIGGERS = {
    "facets_of_added": f"AFTER INSERT ON photos BEGIN {_count_one('NEW.metadata')}; END",
    "facets_of_removed": f"AFTER DELETE ON photos BEGIN {_discount_one('OLD.metadata')}; END",
    "facets_of_described": "AFTER UPDATE OF metadata ON photos "
    f"BEGIN {_discount_one('OLD.metadata')}; {_count_one('NEW.metadata')}; END",
    "facets_of_none": "AFTER UPDATE OF photos ON facet_counts WHEN NEW.photos = 0 "
    "BEGIN DELETE FROM facet_counts WHERE (type, key, atom) = (NEW.type, NEW.key, NEW.atom); END",
}
_KEYS = """
SELECT key, photos,
    (SELECT MIN(n) FROM (SELECT MIN(atom) AS n FROM facet_counts WHERE type = 'integer' AND key = every.key
        UNION ALL SELECT MIN(atom) FROM facet_counts WHERE type = 'real' AND key = every.key)),
    (SELECT MAX(n) FROM (SELECT MAX(atom) AS n FROM facet_counts WHERE type = 'integer' AND key = every.key
        UNION ALL SELECT MAX(atom) FROM facet_counts WHERE type = 'real' AND key = every.key))
FROM facet_counts AS every WHERE type = 'any' ORDER BY photos DESC, key LIMIT ?
"""
_VALUES = """
SELECT * FROM (
    SELECT type, atom, photos FROM facet_counts WHERE type = 'text' AND key = ?1 ORDER BY photos DESC, atom LIMIT ?2)
UNION ALL SELECT type, atom, photos FROM facet_counts WHERE type IN ('true', 'false') AND key = ?1
ORDER BY photos DESC, atom LIMIT ?2
"""


def start_counting(connection: sqlite3.Connection) -> None:
    """Count what a catalogue holds, and from now on whatever is written to it."""
    _count_all(connection, "SELECT metadata FROM photos")
    for name, action in _TRIGGERS.items():
        connection.execute(f"CREATE TRIGGER {name} {action}")


def stop_counting(connection: sqlite3.Connection) -> None:
    """Forget all counts: for writing so much that counting it anew is quicker."""
    for name in _TRIGGERS:
        connection.execute(f"DROP TRIGGER IF EXISTS {name}")
    connection.execute("DROP TABLE IF EXISTS facet_counts")


def read_facets(catalogue: Database) -> list[Facet]:
    """The metadata keys of most photos; raises as `Database.transaction`."""
    facets = []
    with catalogue.transaction() as connection:
        if not _counted(connection) or read_names(connection, "quarantined"):
            _count_aside(connection)
        for key, photos, lowest, highest in connection.execute(_KEYS, (MOST_KEYS,)).fetchall():
            found = connection.execute(_VALUES, (key, MOST_VALUES + 1)).fetchall()
            values = tuple((atom if kind == "text" else kind == "true", count) for kind, atom, count in found)
            facets.append(Facet(key, photos, values[:MOST_VALUES], len(values) > MOST_VALUES, lowest, highest))
    return facets


def _counted(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'facet_counts'").fetchone() is not None


def _count_aside(connection: sqlite3.Connection) -> None:
    """Count in a table of this connection's own, which hides the catalogue's, the photos that readers see.

    For galleries from before there were counts, and while some photos are quarantined.
    """
    _count_all(connection, f"SELECT metadata FROM photos WHERE NOT {QUARANTINED}", aside=True)


def _count_all(connection: sqlite3.Connection, metadata: str, aside: bool = False) -> None:
    connection.execute(_TABLE.format(temporary="TEMP" if aside else ""))
    connection.execute(_COMMONEST_FIRST.format(schema="temp." if aside else ""))
    connection.executemany(_count_one("?1"), connection.execute(metadata))
