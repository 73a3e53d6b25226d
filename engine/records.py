"""What the catalogue is given and gives back. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.artefacts import Artefact
from engine.features import FeatureShapes
from engine.ids import Ids
from engine.segments import StoredSegment


@dataclass(frozen=True)
class GalleryMeta:
    """What was decided when the gallery was made; it never changes."""

    format_version: int
    gallery_id: str
    model_fingerprint: str
    model_name: str
    shapes: FeatureShapes
    region_weight_power: int
    created_with: str


@dataclass(frozen=True)
class NewPhoto:
    """A photo to be catalogued, in the order of its segment's rows.

    ``content_hash`` is of its pixels; ``file_stamp`` tells whether the file at ``path`` was written again since.
    """

    id: str
    path: str | None = None
    content_hash: str | None = None
    file_stamp: str | None = None
    metadata: Mapping[str, Any] | None = None
    preview: bytes | None = None


@dataclass(frozen=True)
class PhotoFile:
    """Where the file of the photo ``id`` is now, and its stamp."""

    id: str
    path: str
    stamp: str | None


@dataclass(frozen=True)
class PhotoRecord:
    """What the catalogue knows of a photo; its features are row ``row`` of segment ``segment``."""

    id: str
    path: str | None
    content_hash: str | None
    file_stamp: str | None
    metadata: dict[str, Any] | None
    segment: str
    row: int


@dataclass(frozen=True, eq=False)
class LivingPhotos:
    """The rows of a segment that count, ascending, int64 [M], and their M ids."""

    rows: NDArray[np.int64]
    ids: Ids


@dataclass(frozen=True, eq=False)
class SegmentState:
    """A segment, and its living photos; None: as they were."""

    stored: StoredSegment
    live: LivingPhotos | None


@dataclass(frozen=True, eq=False)
class CatalogueState:
    """All segments at one generation that are not quarantined, in the order they were added.

    chosen: the rows of each segment, ascending, that a filter lets through, by the segment's name; None without one.
    """

    generation: int
    segments: tuple[SegmentState, ...]
    chosen: dict[str, list[int]] | None = None


@dataclass(frozen=True)
class CatalogueSummary:
    """The counts of one commit, and all its segments; ``quarantined`` names those that readers leave out."""

    generation: int
    photos: int
    segments: tuple[StoredSegment, ...]
    quarantined: tuple[str, ...]
    quarantined_photos: int
    dropped_rows: int
    index_keys: tuple[str, ...]
    artefacts: Mapping[Artefact, int]


@dataclass(frozen=True)
class GalleryInfo:
    """A gallery's counts at one commit, and the constants it was made with."""

    path: Path
    generation: int
    photos: int
    dead_rows: int  # rows of removed photos, still on the disk
    quarantined_photos: int  # in segments found damaged: not searched, and not among `photos`
    rows_ever: int  # with those that compaction dropped
    segments: int
    bytes_on_disk: int
    bytes_resident: int  # what a search reads, and so keeps in memory: weights and levels of all rows, no maps
    index_keys: tuple[str, ...]
    artefacts: Mapping[Artefact, int]  # what made features, and of how many photos; of add_features nobody knows
    meta: GalleryMeta
