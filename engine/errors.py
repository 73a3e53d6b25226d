"""The errors people catch. Every message says what was found, what was expected and what to do.

They all derive from :class:`mlrm.errors.MLRMError`; those of the model's side are re-exported, so that
``engine.errors`` is the only module a caller has to import.
"""

from __future__ import annotations

from mlrm.errors import CheckpointError, ConfigError, DatasetError, ImageError, MLRMError

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DatasetError",
    "DeviceMemoryError",
    "DuplicateIdError",
    "EngineError",
    "FeatureShapeError",
    "FeatureValueError",
    "FilterError",
    "GalleryCorruptError",
    "GalleryError",
    "GalleryLockedError",
    "GalleryVersionError",
    "ImageError",
    "InvalidPhotoError",
    "MLRMError",
    "ModelMismatchError",
    "NoImagesError",
    "NotAGalleryError",
    "QueryError",
    "UnknownIdError",
]


class EngineError(MLRMError):
    """Base of what the engine raises."""


class QueryError(EngineError):
    """A search that can't be answered as it was asked (``top_k`` below 1, for example)."""


class FilterError(QueryError):
    """A ``where`` or ``subset`` of a search, or a metadata key to be indexed, that is not of the form it must have."""


class DeviceMemoryError(EngineError):
    """A gallery doesn't fit the memory of the GPU that was asked for."""


class NoImagesError(EngineError):
    """A folder to be indexed holds no image."""


class GalleryError(EngineError):
    """Base of the gallery's errors; raised itself when the disk, not the gallery, is at fault."""


class NotAGalleryError(GalleryError):
    """The path is missing or holds something other than a gallery."""


class GalleryVersionError(GalleryError):
    """The gallery was written by a newer release, in a format this one can't read."""


class GalleryCorruptError(GalleryError):
    """The catalogue or a segment file is missing, truncated or not what the catalogue recorded."""


class GalleryLockedError(GalleryError):
    """Another writer has the gallery open. ``pid``, ``host`` and ``since`` may be unknown: None."""

    def __init__(
        self, message: str, *, pid: int | None = None, host: str | None = None, since: str | None = None
    ) -> None:
        super().__init__(message)
        self.pid = pid
        self.host = host
        self.since = since


class ModelMismatchError(GalleryError):
    """The gallery holds the features of another model."""


class FeatureShapeError(GalleryError):
    """Regions, levels, channels, map size or dtypes differ from the gallery's, or among themselves."""


class FeatureValueError(GalleryError):
    """A feature that can't be stored: NaN, infinite, beyond float16; a weight below 0; a map outside 0..1."""


class InvalidPhotoError(GalleryError):
    """An id, path or metadata entry that can't be stored, or lists of unequal length."""


class DuplicateIdError(GalleryError):
    """An id was given twice, or is in the gallery already."""


class UnknownIdError(GalleryError):
    """An id that is not in the gallery."""
