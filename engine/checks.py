"""What callers of `Retriever` may give: each check raises the typed error that says what to give instead."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.errors import FeatureShapeError, FeatureValueError, InvalidPhotoError, QueryError
from engine.features import FeatureShapes
from engine.gallery import Gallery
from engine.gallery_writer import check_metadata
from engine.metadata_file import MetadataFile
from engine.sources import Source
from mlrm.features import Features

_NO_MAPS = (1, 1)
"""The map size of a gallery of features without maps: see `engine.encoding.feature_block`."""


DEFAULT_CANDIDATES = 1000
"""Photos whose features a search reads that need not be exact."""


def check_top_k(top_k: int) -> None:
    """Raise `QueryError` unless it is an int of at least 1."""
    # NumPy's integers will do; True is an int, but no number of photos.
    if isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or top_k < 1:
        raise QueryError(f"top_k is {top_k!r}; expected an int of at least 1")


def candidates_allowed(exact: bool, max_candidates: int | None) -> int | None:
    """How many photos' features a search may read; None for all that the proof needs. Raises `QueryError`."""
    if exact and max_candidates is not None:
        raise QueryError("max_candidates bounds a search that need not be exact: give exact=False too, or leave it out")
    if exact:
        return None
    count = DEFAULT_CANDIDATES if max_candidates is None else max_candidates
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
        raise QueryError(f"max_candidates is {count!r}; expected an int of at least 1")
    return int(count)


def check_query(queries: Features) -> None:
    """Raise `FeatureValueError` for what would make a distance or a heat map meaningless."""
    levels = {f"level {number}": level for number, level in enumerate(queries.levels)}
    weights = {"region weights": queries.region_weights, "level weights": queries.level_weights}
    maps = {} if queries.maps is None else {"maps": queries.maps}
    advice = "check the model they come from"
    if not len(queries):
        return
    for name, tensor in (levels | weights | maps).items():
        # Both pass NaN on; a tenth of the time of a mask.
        lowest, highest = (float(limit) for limit in tensor.aminmax())
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            raise FeatureValueError(
                f"the query's {name} hold NaN or infinity; expected finite float32 values: {advice}"
            )
        if name not in levels and lowest < 0:
            raise FeatureValueError(f"the query's {name} go down to {lowest:.4g}; expected 0 or more: {advice}")
        if name in maps and highest > 1:
            raise FeatureValueError(f"the query's maps go up to {highest:.4g}; expected 1 or less: {advice}")


def metadata_by_id(metadata: Any, sources: Sequence[Source]) -> tuple[Mapping[str, Mapping[str, Any]], int]:
    """The metadata given to `add`, by photo id, and how many rows of a file name none of the photos.

    Raises `InvalidPhotoError` for what is neither a dict by id nor a file, and for what can't be stored. In a dict, an
    id that none of the photos has is a slip that would lose its metadata; a file may be of more photos than these.
    """
    if metadata is None:
        return {}, 0
    if isinstance(metadata, (str, os.PathLike)):
        return MetadataFile.read(metadata).of(sources)
    if not isinstance(metadata, Mapping):
        raise InvalidPhotoError(
            f"metadata is a {type(metadata).__name__}; expected dicts by photo id: {{'1.jpg': {{'price': 3}}}}, or the "
            "path of a .csv or .jsonl file"
        )
    ids = {source.id for source in sources}
    # An id made of an image's content is known once it is decoded.
    if None not in ids and (unknown := [id_ for id_ in metadata if id_ not in ids]):
        known = f"expected ids such as {sources[0].id!r}" if sources else "expected none, because no photos were given"
        raise InvalidPhotoError(f"metadata was given for {unknown[0]!r}, which is no photo's id; {known}")
    for id_, entry in metadata.items():
        check_metadata(id_, entry)
    return metadata, 0


def metadata_in_order(metadata: Any, ids: Sequence[str]) -> Sequence[Mapping[str, Any] | None]:
    """The metadata given to `add_features`, if it is a list of what can be stored; raises `InvalidPhotoError`."""
    if metadata is None:
        return [None] * len(ids)
    if isinstance(metadata, (Mapping, str)) or not isinstance(metadata, Sequence) or len(metadata) != len(ids):
        found = f"a list of {len(metadata)}" if isinstance(metadata, (list, tuple)) else f"a {type(metadata).__name__}"
        raise InvalidPhotoError(
            f"metadata is {found}; expected a list with a dict or None for each of the {len(ids)} photos, in the order "
            "of ids: from a dict by id, [metadata.get(id) for id in ids]"
        )
    for id_, entry in zip(ids, metadata, strict=True):
        check_metadata(id_, entry)
    return metadata


def check_maps(features: Features, shapes: FeatureShapes, gallery: Gallery) -> None:
    """Raise `FeatureShapeError` for features without maps where the gallery's photos have them, and the reverse."""
    held = gallery.meta.shapes
    if shapes == held or replace(shapes, map_size=held.map_size) != held:
        return
    height, width = held.map_size
    if features.maps is None:
        raise FeatureShapeError(
            f"these features have no maps (maps=None), and the photos of {gallery.path} have maps of {height} x "
            f"{width}: give the maps too, or add the features to another gallery"
        )
    if held.map_size == _NO_MAPS:
        raise FeatureShapeError(
            f"these features have maps of {shapes.map_size[0]} x {shapes.map_size[1]}, and the photos of "
            f"{gallery.path} have none: leave the maps out (maps=None), or add the features to another gallery"
        )
