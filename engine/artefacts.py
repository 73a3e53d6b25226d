"""Which artefacts made a gallery's features: an entry of the catalogue's `meta`. No torch here."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Artefact:
    """What computed features: the backend, and the file it ran.

    dtype: what the file says it computes in. model: the file's path, or SHIPPED_NAME. sha256: of the file's content.
    """

    backend: str
    dtype: str
    model: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.backend}, {self.dtype}, {self.model}, SHA-256 {self.sha256}"


def read_artefacts(connection: sqlite3.Connection) -> dict[Artefact, int]:
    """Every artefact and how many photos it added; none where another release, or another program, added them."""
    found = connection.execute("SELECT value FROM meta WHERE key = 'artefacts'").fetchone()
    try:
        return {} if found is None else {Artefact(**made): photos for made, photos in json.loads(found[0])}
    except (TypeError, ValueError):
        return {}


def write_artefacts(connection: sqlite3.Connection, artefacts: Mapping[Artefact, int]) -> None:
    """Replace what `read_artefacts` reads."""
    value = json.dumps([(asdict(made), photos) for made, photos in artefacts.items()])
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('artefacts', ?)", (value,))


def count_photos(connection: sqlite3.Connection, made_by: Artefact, photos: int) -> None:
    """Note that an artefact added so many photos more."""
    known = read_artefacts(connection)
    write_artefacts(connection, known | {made_by: known.get(made_by, 0) + photos})
