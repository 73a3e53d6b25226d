"""Transactions on one SQLite file, and its errors in words. No torch here.

The journal is SQLite's default rollback journal, not WAL: WAL needs shared memory and a `-shm` file beside
the database, even for reading, so it fails on read-only directories and on network file systems, and a
catalogue sees one short write per thousands of photos. A connection lives for one transaction: nothing to close,
to share between threads or to inherit over a fork. Opening one costs a fraction of a millisecond.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from engine.errors import GalleryCorruptError, GalleryError

BUSY_TIMEOUT = 60.0  # seconds a transaction waits for another one; none is long


class Database:
    """One SQLite file. Safe from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._uri = path.absolute().as_uri()

    @contextmanager
    def transaction(
        self, kind: Literal["DEFERRED", "IMMEDIATE"] = "DEFERRED", *, mode: Literal["rw", "rwc"] = "rw"
    ) -> Iterator[sqlite3.Connection]:
        """One connection, one transaction; leaving by an exception rolls it back.

        Readers connect with mode=rw as well: after a writer was killed in mid-commit, whoever comes next has
        to roll its journal back, and a read-only connection may not. Where the file or the directory can't
        be written, SQLite falls back to reading by itself.

        Raises:
            GalleryCorruptError: the file is damaged.
            GalleryError: the disk or another process refuses.
        """
        with self.explained():
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

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Errors of SQLite as errors that name this file; raises as `transaction`."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def check(self) -> None:
        """Read the whole file; raises GalleryCorruptError, saying what is wrong."""
        with self.transaction() as connection:
            (found,) = connection.execute("PRAGMA integrity_check (1)").fetchone()
        if found != "ok":
            raise self.corrupt(str(found))

    def corrupt(self, fault: str) -> GalleryCorruptError:
        """The error for a file with this fault."""
        return GalleryCorruptError(
            f"catalogue {self.path}: {fault}; expected a gallery's SQLite file. Restore the gallery from a snapshot "
            "into a new directory (`python -m engine restore SNAPSHOT --gallery NEW`), or index the photos again"
        )

    def _explained(self, error: sqlite3.Error) -> GalleryError:
        # The low byte is the primary code. SQLITE_ERROR is a missing table or column: the SQL is ours.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self.corrupt(str(error))
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
