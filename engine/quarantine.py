"""Verification: every segment's checksum against the catalogue; readers leave damaged segments out. No torch here.

Quarantine is a mark in the catalogue, which readers see with the next commit; no file is moved. The photos of a
quarantined segment are not found and count as absent, until their file is right again (then `verify` takes the mark
away) or they are added again (which replaces them, and keeps their metadata). What is left of the segment goes with the
next compaction.
Damaged short codes are deleted: they are derived data, and searches read the features of their photos meanwhile.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from engine.catalogue import Catalogue, name_ids
from engine.errors import GalleryError
from engine.schema import SEGMENTS, next_generation, read_names, write_names
from engine.segments import StoredSegment, find_fault
from engine.short_codes import DamagedCodes, ShortCodeFiles


@dataclass(frozen=True)
class Damage:
    """A damaged segment: what is wrong with its file, and whose features were in it."""

    file: Path
    fault: str
    ids: tuple[str, ...]


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` found: how many segments are right, those that aren't, and those that are right again.

    codes: the files of short codes that weren't what was written, now deleted.
    """

    gallery: Path
    intact: int
    damaged: tuple[Damage, ...]
    healed: tuple[Path, ...]
    codes: tuple[DamagedCodes, ...] = ()

    def __str__(self) -> str:
        lines = [f"segments as they were written: {self.intact}, damaged: {len(self.damaged)}"]
        lines += [f"{file}: right again, its photos are back" for file in self.healed]
        for damage in self.damaged:
            photos = (
                f"{len(damage.ids)} photos: {name_ids(damage.ids)}" if damage.ids else "no photo that is still needed"
            )
            lines.append(f"{damage.file}: {damage.fault}. Quarantined with {photos}")
        place = shlex.quote(str(self.gallery))
        lines += [f"{one}: not what was written, and deleted" for one in self.codes]
        if self.codes:
            lines.append(
                "Searches stay exact and read features instead. To repair, make the short codes again: `python -m "
                f"engine optimize --gallery {place}`"
            )
        if any(damage.ids for damage in self.damaged):
            lines.append(
                "The rest can be searched. To repair, add the photos again (`python -m engine index PHOTOS --gallery "
                f"{place}`: those that are missing are computed anew), or restore the gallery from a snapshot (`python "
                f"-m engine restore SNAPSHOT --gallery {place}`), or put the files back from a backup and verify "
                f"again. What isn't needed any more: `python -m engine remove ID --gallery {place}`"
            )
        return "\n".join(lines)


def verify(path: Path, catalogue: Catalogue) -> VerifyReport:
    """Read the catalogue, segments and short codes; quarantine or delete what is damaged. The caller holds the lock.

    Args:
        path: the gallery's directory.
        catalogue: of the gallery.

    Raises:
        GalleryCorruptError: the catalogue itself is damaged.
        GalleryError: the disk refused.
    """
    catalogue.check()
    found, directory = catalogue.summary(), path / SEGMENTS
    faults = {segment.name: fault for segment in found.segments if (fault := _fault(directory, segment)) is not None}
    if set(faults) != set(found.quarantined):
        _mark(catalogue, sorted(faults))
    ids = _ids(catalogue, faults)
    damaged = tuple(
        Damage(segment.path(directory), faults[segment.name], ids[segment.name])
        for segment in found.segments
        if segment.name in faults
    )
    healed = tuple(
        segment.path(directory)
        for segment in found.segments
        if segment.name in found.quarantined and segment.name not in faults
    )
    try:
        codes = ShortCodeFiles(path).delete_damaged()
    except OSError as error:
        raise GalleryError(f"can't check the short codes of {path}: {error}") from error
    return VerifyReport(path, len(found.segments) - len(faults), damaged, healed, codes)


def _fault(directory: Path, segment: StoredSegment) -> str | None:
    try:
        return find_fault(directory, segment)
    except OSError as error:  # what can't be read is as good as damaged
        return f"it can't be read: {error}"


def _mark(catalogue: Catalogue, names: list[str]) -> None:
    with catalogue.transaction("IMMEDIATE") as connection:
        generation = next_generation(connection)
        before = set(read_names(connection, "quarantined"))
        write_names(connection, "quarantined", names)
        # A reader that left a segment out knows nothing of its rows.
        connection.executemany(
            "UPDATE segments SET changed = ? WHERE name = ?", ((generation, name) for name in before.difference(names))
        )


def _ids(catalogue: Catalogue, names: dict[str, str]) -> dict[str, tuple[str, ...]]:
    query = "SELECT id FROM photos JOIN segments ON seq = segment WHERE name = ? ORDER BY row"
    with catalogue.transaction() as connection:
        return {name: tuple(id_ for (id_,) in connection.execute(query, (name,))) for name in names}
