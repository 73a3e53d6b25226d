"""One writer at a time, in whatever process: the system's lock, and a note of who has it. No torch here."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from engine.errors import GalleryError, GalleryLockedError

_LOCK = "writer.lock"
_HOLDER = "writer.json"
_UNFINISHED_HOLDER = f"{_HOLDER}.new"
LOCK_FILES = frozenset({_LOCK, _HOLDER, _UNFINISHED_HOLDER})  # what WriterLock may leave in a gallery


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
            raise self._refused(error) from error
        self._lock = lock
        try:
            note = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
            unfinished = self._path / _UNFINISHED_HOLDER
            unfinished.write_text(json.dumps(note), encoding="utf-8")
            unfinished.replace(self._path / _HOLDER)
        except OSError as error:
            self.release()
            raise self._refused(error) from error

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

    def _refused(self, error: OSError) -> GalleryError:
        return GalleryError(
            f"can't write to gallery {self._path}: {error}. Nothing was changed; free some space, or see to it that "
            "this user may write there"
        )

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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
