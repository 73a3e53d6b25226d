"""Compaction: small segments are merged and the rows of removed photos dropped, while readers read. No torch here.

Each merged segment is written, flushed, and made visible by one transaction that also forgets the segments it replaces;
a kill at any moment leaves the gallery before or after that transaction. Photos, ids and distances stay as they are.

A replaced file is deleted as soon as no commit names it. A reader that has it mapped keeps its content through the map:
the system frees the bytes with the last map. A reader that was about to map it finds it gone, reads the catalogue
again, and gets the photos from the merged segment. Where the system doesn't delete a mapped file (Windows), the next
writer deletes it. On a network file system the maps of other machines' readers don't keep the file: let these open
the gallery again after a compaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.catalogue import Catalogue
from engine.errors import GalleryError
from engine.features import Array, FeatureBlock, FeatureShapes
from engine.records import SegmentState
from engine.schema import (
    insert_segment,
    next_generation,
    read_dropped_rows,
    read_names,
    read_segments,
    write_dropped_rows,
    write_names,
)
from engine.segments import StoredSegment, delete_segment, open_segment, verify_segment, write_segment

TARGET_ROWS = 4096
"""Photos in a merged segment at most: 85 MB and more, which are in memory while it is written."""


@dataclass(frozen=True)
class CompactReport:
    """What a compaction did: segments before and after, dead rows dropped, bytes of files given back."""

    segments_before: int
    segments_after: int
    dropped_rows: int
    freed_bytes: int

    def __str__(self) -> str:
        return (
            f"segments: {self.segments_before} before, {self.segments_after} after; rows of removed photos dropped: "
            f"{self.dropped_rows}; {self.freed_bytes / 1e6:.1f} MB freed"
        )


def compact(directory: Path, catalogue: Catalogue, shapes: FeatureShapes) -> CompactReport:
    """Merge what is small or has dead rows. The caller holds the gallery's lock.

    Args:
        directory: of the segments.
        catalogue: of the gallery.
        shapes: of its features.

    Raises:
        GalleryCorruptError: a segment to be merged is damaged; those merged before it stay merged.
        GalleryError: the disk refused.
    """
    before = catalogue.summary()
    _drop_empty(directory, catalogue)
    state = catalogue.state(since=-1)
    for group in _groups(state.segments):
        try:
            merged = _merge(directory, group, shapes)
        except OSError as error:
            raise GalleryError(
                f"can't write a merged segment to {directory}: {error}. All photos are still there. Free some space: a "
                "merged segment needs as much as those it replaces, which are deleted after it is there"
            ) from error
        with catalogue.transaction("IMMEDIATE") as connection:
            _replace(connection, group, merged)
        for segment in group:
            delete_segment(directory, segment.stored)
    after = catalogue.summary()
    return CompactReport(
        len(before.segments),
        len(after.segments),
        after.dropped_rows - before.dropped_rows,
        sum(segment.bytes for segment in before.segments) - sum(segment.bytes for segment in after.segments),
    )


def _drop_empty(directory: Path, catalogue: Catalogue) -> None:
    """Forget the segments of which no photo is left, quarantined ones too."""
    with catalogue.transaction("IMMEDIATE") as connection:
        used = {seq for (seq,) in connection.execute("SELECT DISTINCT segment FROM photos")}
        empty = [stored for seq, _, stored in read_segments(connection) if seq not in used]
        if empty:
            next_generation(connection)
            _forget(connection, empty, dropped=sum(stored.rows for stored in empty))
    for stored in empty:
        delete_segment(directory, stored)


def _groups(segments: Sequence[SegmentState]) -> list[list[SegmentState]]:
    """Segments to be merged into one each, in their order: neighbours that fit, unless one alone is as it should be."""
    groups: list[list[SegmentState]] = []
    rows = 0
    for segment in segments:
        living = len(_live(segment))
        if living == segment.stored.rows and living >= TARGET_ROWS // 2:
            continue
        if not groups or rows + living > TARGET_ROWS:
            groups.append([])
            rows = 0
        groups[-1].append(segment)
        rows += living
    return [group for group in groups if len(group) > 1 or len(_live(group[0])) < group[0].stored.rows]


def _live(segment: SegmentState) -> NDArray[np.int64]:
    assert segment.live is not None, "the state was read whole"
    return segment.live.rows


def _merge(directory: Path, group: Sequence[SegmentState], shapes: FeatureShapes) -> StoredSegment:
    """Write the living rows of some segments as one."""
    parts: list[tuple[FeatureBlock, NDArray[np.int64]]] = []
    for segment in group:
        # A damaged byte would get a checksum of its own in the merged segment, and never be found.
        verify_segment(directory, segment.stored)
        parts.append((open_segment(directory, segment.stored, shapes), _live(segment)))

    def joined(name: str) -> Array:
        return np.concatenate([block.arrays()[name][rows] for block, rows in parts])

    return write_segment(
        directory,
        FeatureBlock(
            tuple(joined(f"level_{level}") for level in range(len(shapes.level_dims))),
            joined("region_weights"),
            joined("level_weights"),
            joined("maps"),
        ),
    )


def _replace(connection: sqlite3.Connection, group: Sequence[SegmentState], merged: StoredSegment) -> None:
    """Let the photos of some segments lie in a merged one, and forget those segments."""
    seqs = {stored.name: seq for seq, _, stored in read_segments(connection)}
    target = insert_segment(connection, merged, next_generation(connection))
    places = ((seqs[segment.stored.name], row) for segment in group for row in _live(segment).tolist())
    connection.executemany(
        "UPDATE photos SET segment = ?, row = ? WHERE segment = ? AND row = ?",
        ((target, row, *place) for row, place in enumerate(places)),
    )
    dead = sum(segment.stored.rows - len(_live(segment)) for segment in group)
    _forget(connection, [segment.stored for segment in group], dropped=dead)


def _forget(connection: sqlite3.Connection, segments: Sequence[StoredSegment], dropped: int) -> None:
    """Take segments out of the catalogue; ``dropped`` of their rows are nowhere from now on."""
    names = {stored.name for stored in segments}
    connection.executemany("DELETE FROM segments WHERE name = ?", ((name,) for name in names))
    write_dropped_rows(connection, read_dropped_rows(connection) + dropped)
    if names.intersection(quarantined := read_names(connection, "quarantined")):
        write_names(connection, "quarantined", [name for name in quarantined if name not in names])
