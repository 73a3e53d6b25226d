"""Which rows a filter lets through, read so that no commit waits long for it. No torch here.

A commit waits until nobody is reading the catalogue, and readers that come meanwhile wait with it. So a filter is
answered in one transaction only where an index, or the ids it names, leave few photos to be looked at. Any other filter
reads the metadata of all photos in turns, each a transaction of its own; all turns must have seen the same commit.
"""

from __future__ import annotations

import sqlite3

from engine.database import Database
from engine.filters import Filter, Sql
from engine.schema import read_generation, read_names, read_segments

TURN = 20_000
"""Photos whose metadata one transaction reads: at 1 to 2 microseconds each, what a commit may have to wait for."""
FEW = 50_000
"""Photos that an index or a subset may lead one transaction to: 3 microseconds each, and the rest isn't read."""

Rows = dict[str, list[int]]
"""By a segment's name some of its rows, ascending."""


def rows_at_once(connection: sqlite3.Connection, where: Filter) -> Rows:
    """The rows that a filter lets through, read in the caller's transaction."""
    return _named(connection, _places(connection, where.sql(read_names(connection, "index_keys"))))


def rows_in_turns(catalogue: Database, where: Filter, generation: int) -> Rows | None:
    """The rows that a filter lets through as of the commit ``generation``; None where another commit has come.

    Raises as `Database.transaction`.
    """
    places: list[tuple[int, int]] = []
    start = 0
    while True:
        with catalogue.transaction() as connection:
            if read_generation(connection) != generation:
                return None
            if start == 0 and (few := _few(connection, where)) is not None:
                return _named(connection, _places(connection, where.sql(few)))
            end = _end_of_turn(connection, start)
            condition, parameters = where.sql(())
            turn = f"rowid > {start}" if end is None else f"rowid > {start} AND rowid <= {end}"
            places += _places(connection, (f"{turn} AND {condition}", parameters))
            if end is None:
                return _named(connection, places)
        start = end


def _few(connection: sqlite3.Connection, where: Filter) -> list[str] | None:
    """The keys whose indexes leave few photos; None if neither they nor the subset do."""
    visits = where.visits(read_names(connection, "index_keys"))
    few = [
        key
        for key, (entries, parameters) in visits.items()
        if len(connection.execute(f"{entries} LIMIT {FEW + 1}", parameters).fetchall()) <= FEW
    ]
    return few if few or (where.subset is not None and len(where.subset) <= FEW) else None


def _end_of_turn(connection: sqlite3.Connection, start: int) -> int | None:
    """The rowid of a turn's last photo; None where no turn follows."""
    query = f"SELECT rowid FROM photos WHERE rowid > ? ORDER BY rowid LIMIT 2 OFFSET {TURN - 1}"
    found = connection.execute(query, (start,)).fetchall()
    return found[0][0] if len(found) == 2 else None


def _places(connection: sqlite3.Connection, condition: Sql) -> list[tuple[int, int]]:
    """(segment, row) of photos."""
    text, parameters = condition
    return connection.execute(f"SELECT segment, row FROM photos WHERE {text}", parameters).fetchall()


def _named(connection: sqlite3.Connection, places: list[tuple[int, int]]) -> Rows:
    names = {seq: stored.name for seq, _, stored in read_segments(connection)}
    rows: Rows = {name: [] for name in names.values()}
    for seq, row in sorted(places):
        rows[names[seq]].append(row)
    return rows
