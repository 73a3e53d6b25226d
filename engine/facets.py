"""What a gallery's metadata can be filtered by: its keys, their commonest values and the range of their numbers."""

from __future__ import annotations

from dataclasses import dataclass

from engine.database import Database
from engine.schema import QUARANTINED

MOST_KEYS = 24
MOST_VALUES = 24


@dataclass(frozen=True)
class Facet:
    """One metadata key. ``values``: (value, photos) of texts and true or false, the most common first."""

    key: str
    photos: int
    values: tuple[tuple[str | bool, int], ...]
    more_values: bool
    lowest: float | None
    highest: float | None


# A list in the metadata counts by its items, as filters match it.
_ITEMS = f"""
WITH fields AS (
    SELECT photos.rowid AS photo, field.key AS key, field.type AS type, field.atom AS atom, field.value AS value
    FROM photos, json_each(photos.metadata) AS field WHERE NOT {QUARANTINED}
), items AS (
    SELECT photo, key, type, atom FROM fields WHERE type NOT IN ('array', 'object')
    UNION ALL
    SELECT photo, fields.key, item.type, item.atom FROM fields, json_each(fields.value) AS item
    WHERE fields.type = 'array' AND item.type NOT IN ('array', 'object')
)
"""
_KEYS = f"""{_ITEMS}
SELECT key, COUNT(DISTINCT photo) AS photos, MIN(atom) FILTER (WHERE type IN ('integer', 'real')),
       MAX(atom) FILTER (WHERE type IN ('integer', 'real'))
FROM items GROUP BY key ORDER BY photos DESC, key LIMIT {MOST_KEYS}
"""
_VALUES = f"""{_ITEMS}
SELECT type, atom, COUNT(DISTINCT photo) AS photos FROM items
WHERE key = ? AND type IN ('text', 'true', 'false') GROUP BY type, atom ORDER BY photos DESC, atom
LIMIT {MOST_VALUES + 1}
"""


def read_facets(catalogue: Database) -> list[Facet]:
    """The metadata keys of most photos, by one reading of all metadata for each; raises as `Database.transaction`."""
    facets = []
    with catalogue.transaction() as connection:
        for key, photos, lowest, highest in connection.execute(_KEYS).fetchall():
            found = connection.execute(_VALUES, (key,)).fetchall()
            values = tuple((atom if kind == "text" else kind == "true", count) for kind, atom, count in found)
            facets.append(Facet(key, photos, values[:MOST_VALUES], len(values) > MOST_VALUES, lowest, highest))
    return facets
