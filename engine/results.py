"""From what search found to what people get: matches with paths, explanations and pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from engine import picture
from engine.certified import Answer
from engine.errors import ImageError
from engine.exact import rows_of
from engine.explain import Explanation
from engine.gallery import Gallery, PhotoRecord, SegmentView
from engine.types import Match, SearchResult
from kernels.reference import canonical_terms
from mlrm.features import Features
from mlrm.images import MAX_PIXELS, load_image


def make_results(
    gallery: Gallery | None, queries: Features, answers: Sequence[Answer], sketches: Sequence[Image.Image | None]
) -> list[SearchResult]:
    """The results of Q queries: features of Q sketches, and their images where there are some.

    gallery: None if it has no photo yet; then there are no hits. The catalogue is asked once for all of them.
    """
    ids = {hit.id for answer in answers for hit in answer.hits}
    records = {} if gallery is None else gallery.records(ids)
    return [
        _make_result(gallery, records, queries, number, answer, sketch)
        for number, (answer, sketch) in enumerate(zip(answers, sketches, strict=True))
    ]


def _make_result(
    gallery: Gallery | None,
    records: Mapping[str, PhotoRecord],
    queries: Features,
    number: int,
    answer: Answer,
    sketch: Image.Image | None,
) -> SearchResult:
    hits = answer.hits

    def explain(match: Match) -> Explanation:
        assert gallery is not None
        query, hit = queries[number : number + 1], hits[match.rank - 1]
        photo = rows_of(hit.segment, np.array([hit.row]))
        terms = canonical_terms(query, photo, gallery.meta.region_weight_power)[0, 0]
        return Explanation(
            id=hit.id,
            distance=hit.distance,
            contributions=terms.numpy(),
            sketch_maps=_query_maps(query),
            photo_maps=_photo_maps(hit.segment, hit.row),
            sketch_region_weights=_array(query.region_weights[0]),
            photo_region_weights=_array(photo.region_weights[0]),
            sketch=sketch,
            photo=photo_image(gallery, match),
        )

    def draw(result: SearchResult, truth: str | None) -> Image.Image:
        query = queries[number : number + 1]
        return picture.draw_results(
            sketch,
            [
                picture.Hit(
                    id=match.id,
                    rank=match.rank,
                    distance=match.distance,
                    image=photo_image(gallery, match),
                    maps=_photo_maps(hit.segment, hit.row),
                    region_weights=hit.segment.region_weights[hit.row],
                )
                for match, hit in ((match, hits[match.rank - 1]) for match in result)
            ],
            sketch_maps=_query_maps(query),
            sketch_region_weights=_array(query.region_weights[0]),
            truth=truth,
        )

    matches = []
    for rank, hit in enumerate(hits, 1):
        # A photo removed since the snapshot was taken is still an answer of that snapshot.
        record = records.get(hit.id)
        path, metadata = (record.path, record.metadata) if record else (None, None)
        matches.append(Match(hit.id, hit.distance, rank, path, metadata, explain))
    return SearchResult(tuple(matches), draw, answer.report)


def photo_image(gallery: Gallery | None, match: Match) -> Image.Image | None:
    """A photo as it looks: its file, or the preview kept of one added from memory; None if neither is left."""
    try:
        return None if gallery is None else stored_picture(gallery, match.id, match.path)
    except ImageError:
        return None


def stored_picture(gallery: Gallery, id_: str, path: str | None, *, max_pixels: int = MAX_PIXELS) -> Image.Image | None:
    """The picture of a photo that is at `path`, or, where that is None, kept in the gallery; None if neither is.

    Raises `ImageError` for a file that is gone or can't be decoded.
    """
    source = gallery.preview(id_) if path is None else path
    return None if source is None else load_image(source, max_pixels=max_pixels)


def _query_maps(query: Features) -> NDArray[np.float32]:
    if query.maps is None:
        return np.zeros((query.region_weights.shape[1], 1, 1), np.float32)
    return _array(query.maps[0])


def _photo_maps(segment: SegmentView, row: int) -> NDArray[np.float32]:
    maps: NDArray[np.float32] = segment.maps[row].astype(np.float32) / 255
    return maps


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[Any] = tensor.numpy()
    return array
