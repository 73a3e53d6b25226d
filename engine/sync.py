"""A gallery that follows a folder: new photos added, changed ones read again, those that are gone removed.

What is gone is a photo whose file was below the folder and isn't there any more. A folder without any image is refused
(`NoImagesError`), so that a disk that isn't mounted empties no gallery. Photos from elsewhere are left alone.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import NoImagesError
from engine.exact import rows_of
from engine.gallery import Gallery, GallerySnapshot, SegmentView
from engine.ingest import Progress
from engine.retriever import Retriever
from engine.types import AddReport
from kernels.reference import canonical_distance
from mlrm.features import Features

NEAR = 0.35
"""Near-duplicates are nearer than this share of the median distance between photos. On 40 drawn photos, one saved as
JPEG (quality 85) or cropped by 2 % on each side is always below 0.30 from itself, and never below 0.42 from another."""
COMPARED_PHOTOS = 1000
"""New photos that are compared with the gallery: each costs a search."""
_SAMPLE = 64
_BATCH = 64
_Place = tuple[SegmentView, int]


@dataclass(frozen=True)
class NearDuplicate:
    """A new photo that looks like another one: `distance` as a search by photo finds it; `same` pixels or not."""

    id: str
    other: str
    distance: float
    same: bool


@dataclass(frozen=True)
class SyncReport:
    """What became of a folder and of the gallery that follows it."""

    photos: AddReport
    removed: tuple[str, ...]
    near_duplicates: tuple[NearDuplicate, ...]
    not_compared: int
    """New photos beyond `COMPARED_PHOTOS`, of which only equal pixels would have been noticed."""

    def summary(self) -> str:
        """All counts, and the pairs of near-duplicates."""
        lines = [self.photos.summary(), f"removed, because their files are gone: {len(self.removed)}"]
        lines.append(f"new photos that look like another one: {len(self.near_duplicates)}")
        lines += [
            f"  {pair.id}: {'the same pixels as' if pair.same else 'nearly'} {pair.other} ({pair.distance:.4f})"
            for pair in self.near_duplicates
        ]
        if self.not_compared:
            lines.append(f"new photos not compared with others: {self.not_compared}")
        return "\n".join(lines)


def sync(
    retriever: Retriever,
    folder: str | os.PathLike[str],
    *,
    metadata: Mapping[str, Mapping[str, Any]] | str | os.PathLike[str] | None = None,
    near: float = NEAR,
    progress: Progress | None = None,
) -> SyncReport:
    """Bring a gallery up to date with a folder. Interrupted at any moment, the same call again goes on from there.

    metadata: as for `Retriever.add`.
    near: the share of the median distance between photos below which two are reported as near-duplicates.
    progress: as for `Retriever.add`.
    Raises as `Retriever.add`; nothing is removed then.
    """
    root = Path(folder).resolve()
    if not root.is_dir():
        raise NoImagesError(f"{folder} is no folder; give the folder that the gallery is to follow")
    photos = retriever.add(root, metadata=metadata, replace=True, progress=progress)
    if (gallery := retriever.gallery) is None:  # no photo could be used
        return SyncReport(photos, (), (), 0)
    gone = sorted(
        record.id
        for record in gallery.existing().values()
        if record.path is not None and root in Path(record.path).parents and _is_gone(Path(record.path))
    )
    if gone:
        retriever.remove(gone)
    compared = photos.added[:COMPARED_PHOTOS]
    pairs = _near_duplicates(retriever, gallery, compared, near)
    return SyncReport(photos, tuple(gone), pairs, len(photos.added) - len(compared))


def _is_gone(path: Path) -> bool:
    """Whether nothing is at a path; what can't be looked at is not gone."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _near_duplicates(
    retriever: Retriever, gallery: Gallery, ids: tuple[str, ...], near: float
) -> tuple[NearDuplicate, ...]:
    """For each photo the nearest other one, if it is near; each pair once."""
    if not ids:
        return ()
    places = _places(gallery.snapshot())
    hashes = {id_: record.content_hash for id_, record in gallery.existing().items()}
    limit = near * _typical_distance(places, gallery.meta.region_weight_power)
    left = [id_ for id_ in ids if id_ in places]  # another process may have removed one
    seen, pairs = set[frozenset[str]](), []
    for start in range(0, len(left), _BATCH):
        batch = left[start : start + _BATCH]
        results = retriever.search_features(_features(places[id_] for id_ in batch), 2)
        for id_, result in zip(batch, results, strict=True):
            for match in result:
                pair = frozenset((id_, match.id))
                if match.id == id_ or match.distance > limit or pair in seen:
                    continue
                seen.add(pair)
                same = hashes.get(id_) is not None and hashes.get(id_) == hashes.get(match.id)
                pairs.append(NearDuplicate(id_, match.id, match.distance, same))
    return tuple(pairs)


def _typical_distance(places: Mapping[str, _Place], region_weight_power: int) -> float:
    """The median distance between photos, of a sample spread over the gallery; 0 where there are less than two."""
    if len(places) < 2:
        return 0.0
    everywhere = list(places.values())
    chosen = np.unique(np.linspace(0, len(everywhere) - 1, _SAMPLE).astype(int))
    sample = _features(everywhere[number] for number in chosen)
    distances = canonical_distance(sample, sample, region_weight_power).numpy()
    return float(np.median(distances[~np.eye(len(distances), dtype=bool)]))


def _places(snapshot: GallerySnapshot) -> dict[str, _Place]:
    """Where the features of each photo are: its segment and row."""
    return {
        id_: (segment, row)
        for segment in snapshot.segments
        for row, id_ in zip(segment.live_rows.tolist(), segment.ids, strict=True)
    }


def _features(places: Iterable[_Place]) -> Features:
    """The stored features of some photos, in their order, without maps."""
    return Features.cat(rows_of(segment, np.array([row])) for segment, row in places)
