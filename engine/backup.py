"""Snapshots of a gallery in other directories, and the way back. No torch here.

A snapshot is a gallery of its own: it can be searched and copied by any means. Segments never change, so a copy on the
same file system shares their bytes by hard links: it is quick and takes no space, and what damages the disk damages
both. For a backup, give a directory on another disk.

`copy_gallery` needs no lock: the copied catalogue is of one commit, and a segment that compaction deletes before it is
linked starts the copy over. The copy is made aside and renamed: it is there whole or not at all. What a killed copy
left aside, the next one to the same place deletes.

`restore_into` puts a gallery back to a snapshot in one transaction, after the segments are in place; killed before,
it has changed nothing that a reader sees. Readers go on and see it as the next commit.
"""

from __future__ import annotations

import glob
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from engine.artefacts import read_artefacts, write_artefacts
from engine.catalogue import Catalogue, new_gallery_id
from engine.errors import GalleryCorruptError, GalleryError
from engine.facets import start_counting, stop_counting
from engine.schema import (
    CATALOGUE,
    SEGMENTS,
    next_generation,
    read_dropped_rows,
    read_generation,
    read_segments,
    write_dropped_rows,
    write_names,
)
from engine.segments import StoredSegment, find_fault, place_segment, sync_directory, verify_segment

_UNFINISHED, _LOCK = ".new", ".lock"


def copy_gallery(source: Path, target: Path) -> None:
    """Copy a gallery, as of one commit, to a directory that must not exist. The copy has an id of its own.

    Raises:
        GalleryError: the target exists, or the disk refused.
        GalleryCorruptError: a segment is missing, or of another length than the catalogue says.
    """
    if target.exists() or target.is_symlink():
        raise GalleryError(f"{target} is there already; give a new directory")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        with _aside(target) as aside:
            while not _copied(source, aside):
                shutil.rmtree(aside)
            aside.rename(target)
        sync_directory(target.parent)
    except OSError as error:
        raise GalleryError(f"can't copy {source} to {target}: {error}. Nothing was left there") from error


@contextmanager
def _aside(target: Path) -> Iterator[Path]:
    """A hidden directory beside a copy's target, for the copy in the making; a lock beside it says that it is."""
    name = f".{target.name}.{secrets.token_hex(4)}"
    aside, lock = target.with_name(name + _UNFINISHED), FileLock(target.with_name(name + _LOCK))
    with lock:
        try:
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)


def _remove_leftovers(target: Path) -> None:
    """Delete what killed copies to a target left: the system dropped their locks. Those at work keep theirs."""
    for file in target.parent.glob(f".{glob.escape(target.name)}.*{_LOCK}"):
        try:
            with FileLock(file, timeout=0):
                shutil.rmtree(file.with_suffix(_UNFINISHED), ignore_errors=True)
                file.unlink(missing_ok=True)
        except Timeout:
            continue


def _copied(source: Path, aside: Path) -> bool:
    """Copy the catalogue and the segments it names; False where compaction deleted one meanwhile."""
    (aside / SEGMENTS).mkdir(parents=True)
    original, copy = Catalogue(source / CATALOGUE), Catalogue(aside / CATALOGUE)
    with original.transaction() as reading:
        read_generation(reading)  # what is wrong with the original is said of the original
        with copy.explained(), closing(sqlite3.connect(copy.path)) as writing:
            reading.backup(writing)
    copy.check()
    segments = _segments(copy)
    with copy.transaction("IMMEDIATE") as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'gallery_id'", (new_gallery_id(),))
        generation = next_generation(connection)
    for segment in segments:
        try:
            place_segment(segment, source / SEGMENTS, aside / SEGMENTS)
        except (GalleryCorruptError, FileNotFoundError):
            if original.stamp()[1] == generation - 1:
                raise
            return False
    for directory in (aside / SEGMENTS, aside):
        sync_directory(directory)
    return True


def restore_into(path: Path, snapshot: Path) -> None:
    """Put a gallery back to what a snapshot holds, as its next commit. The caller holds the gallery's lock.

    Every segment of the snapshot is verified before, and one that is damaged in the gallery is replaced.

    Raises:
        GalleryCorruptError: the snapshot is damaged; then nothing is changed.
        GalleryError: it is of another model or other shapes, or the disk refused; then nothing is changed.
    """
    catalogue, source = Catalogue(path / CATALOGUE), Catalogue(snapshot / CATALOGUE)
    held, found = catalogue.meta(), source.meta()
    for name in ("model_fingerprint", "shapes", "region_weight_power"):
        if (ours := getattr(held, name)) != (theirs := getattr(found, name)):
            raise GalleryError(
                f"{snapshot} has {name} {theirs}, {path} has {ours}: it is no snapshot of this gallery. Restore it "
                "into a new directory"
            )
    source.check()
    segments = _segments(source)
    try:
        for segment in segments:
            verify_segment(snapshot / SEGMENTS, segment)
        for segment in segments:
            if find_fault(path / SEGMENTS, segment) is not None:
                place_segment(segment, snapshot / SEGMENTS, path / SEGMENTS)
        sync_directory(path / SEGMENTS)
    except OSError as error:
        raise GalleryError(f"can't restore {path} from {snapshot}: {error}. Nothing was changed") from error
    with source.transaction() as reading, catalogue.transaction("IMMEDIATE") as writing:
        if segments != [segment for _, _, segment in read_segments(reading)]:
            raise GalleryError(f"{snapshot} was written to while it was being read. Nothing was changed; try again")
        _take_over(reading, writing)


def _take_over(reading: sqlite3.Connection, writing: sqlite3.Connection) -> None:
    """Replace the photos of one catalogue by those of another, as a commit of the former."""
    rows_ever = max(_rows_ever(reading), _rows_ever(writing))
    stop_counting(writing)
    for table in ("photos", "previews", "segments"):
        writing.execute(f"DELETE FROM {table}")
        rows = reading.execute(f"SELECT * FROM {table}")
        values = ", ".join("?" * len(rows.description))
        writing.executemany(f"INSERT INTO {table} VALUES ({values})", rows)
    start_counting(writing)
    # A segment of the same name may have other living rows than before: readers are to read them all.
    writing.execute("UPDATE segments SET changed = ?", (next_generation(writing),))
    write_names(writing, "quarantined", [])
    write_artefacts(writing, read_artefacts(reading))
    write_dropped_rows(writing, 0)
    write_dropped_rows(writing, rows_ever - _rows_ever(writing))


def _segments(catalogue: Catalogue) -> list[StoredSegment]:
    """The segments of a gallery none of whose photos are lost; raises GalleryCorruptError where some are."""
    found = catalogue.summary()
    if found.quarantined:
        raise GalleryCorruptError(
            f"{catalogue.path.parent} has {len(found.quarantined)} damaged segments: repair it first. `python -m "
            "engine verify` says how"
        )
    return list(found.segments)


def _rows_ever(connection: sqlite3.Connection) -> int:
    return sum(segment.rows for _, _, segment in read_segments(connection)) + read_dropped_rows(connection)
