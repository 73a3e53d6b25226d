"""Exact search of a gallery snapshot: a float32 pass with a proven error bound, then the canonical float64 distance.

The ranking is by (canonical distance, id), whatever the segments, chunks or device. The float32 pass only leaves out
photos that its bound proves farther than the k nearest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.gallery import GallerySnapshot, SegmentView
from kernels.reference import canonical_distance, pair_distance
from mlrm.features import Features

CHUNK_ROWS = 1024
"""Gallery rows converted to float32 at a time: 42 MB at 10,368 values a photo."""
QUERY_CHUNK = 64


@dataclass(frozen=True)
class Hit:
    """A photo found: where it lies and how far it is."""

    id: str
    distance: float
    segment: SegmentView
    row: int


def search_snapshot(
    snapshot: GallerySnapshot, queries: Features, top_k: int, region_weight_power: int, device: torch.device
) -> list[list[Hit]]:
    """The `top_k` nearest photos (all, if there are fewer) of each query, by (distance, id).

    queries: float32 features of Q sketches on the CPU, finite.
    """
    results = []
    for start in range(0, len(queries), QUERY_CHUNK):
        chunk = queries[start : start + QUERY_CHUNK]
        for number, candidates in enumerate(_candidates(snapshot, chunk, top_k, region_weight_power, device)):
            places = _places(snapshot, candidates)
            exact = _rescore(chunk[number : number + 1], places, region_weight_power)
            hits = [Hit(id_, d, segment, row) for (segment, row, id_), d in zip(places, exact, strict=True)]
            results.append(sorted(hits, key=lambda hit: (hit.distance, hit.id))[:top_k])
    return results


def relative_error(features: Features) -> float:
    """Bound on |d32 - d| / d of the float32 pass, where nothing under- or overflows.

    With unit roundoff u: a difference and its square cost 3 u of the square, C additions in any order C u, so a norm
    is within (3 + C) u / 2 + u (the root's own); its weight (two means, up to two products) within 5 u, the product
    1 u, the sum of R L terms R L u. All terms are >= 0, so relative errors don't grow in the sum. 1 % covers u^2.
    """
    channels = max(level.shape[2] for level in features.levels)
    terms = features.level_weights.shape[1] * features.level_weights.shape[2]
    return 1.01 / 2**24 * ((3 + channels) / 2 + 1 + 5 + 1 + terms)


def underflow_error(features: Features, heaviest: float) -> float:
    """Bound on what squares and products below float32's normal range add to a distance.

    heaviest: at least max(1, level weight) * max(1, region weight) ** p, for all images.

    A square errs by at most 2^-126 (flushed to zero), C of them move a norm by less than sqrt(C) 2^-63, and that
    counts with a weight of at most `heaviest`. Each of the up to five steps to a weighted norm errs by 2^-126 more,
    times its other factors: weights of at most `heaviest`, and a norm below 2^64, or its square would overflow.
    2^-58 is more than five times 2^-62, and the rest covers what the relative error adds to all of this.
    """
    channels = max(level.shape[2] for level in features.levels)
    terms = features.level_weights.shape[1] * features.level_weights.shape[2]
    return terms * heaviest * (math.sqrt(channels) / 2**63 + 1 / 2**58)


def _candidates(
    snapshot: GallerySnapshot, queries: Features, top_k: int, region_weight_power: int, device: torch.device
) -> list[NDArray[np.int64]]:
    """For each query the numbers of the photos that may be among its `top_k` nearest, ascending."""
    if top_k >= len(snapshot):
        return [np.arange(len(snapshot))] * len(queries)
    screened, heaviest = _screen(snapshot, queries, region_weight_power, device)
    relative, absolute = relative_error(queries), underflow_error(queries, heaviest)
    return [_not_farther(distances, top_k, relative, absolute) for distances in screened]


def _not_farther(distances: NDArray[np.float32], top_k: int, relative: float, absolute: float) -> NDArray[np.int64]:
    """Numbers of the photos that these bounds don't prove farther than `top_k` others (of which there are more)."""
    values = distances.astype(np.float64)
    # NaN and infinity are overflow: such a distance is unknown, so its photo is always a candidate.
    known = np.isfinite(values)
    upper = np.where(known, values / (1 - relative) + absolute, np.inf)
    lower = np.where(known, values / (1 + relative) - absolute, -np.inf)
    threshold = np.partition(upper, top_k - 1)[top_k - 1]
    return np.flatnonzero(lower <= threshold)


def _screen(
    snapshot: GallerySnapshot, queries: Features, region_weight_power: int, device: torch.device
) -> tuple[NDArray[np.float32], float]:
    """Float32 distances [Q, G] to the living photos, in the order of the snapshot's ids, and `heaviest`."""
    query = queries.to(device)
    distances = [np.empty((len(queries), 0), np.float32)]
    level_weight = max(1.0, float(query.level_weights.max()))
    region_weight = max(1.0, float(query.region_weights.max()))
    for segment in snapshot.segments:
        for start in range(0, len(segment.live_rows), CHUNK_ROWS):
            photos = rows_of(segment, segment.live_rows[start : start + CHUNK_ROWS]).to(device)
            distance = pair_distance(query, photos, region_weight_power)
            assert isinstance(distance, Tensor)
            distances.append(distance.cpu().numpy())
            level_weight = max(level_weight, float(photos.level_weights.max()))
            region_weight = max(region_weight, float(photos.region_weights.max()))
    return np.concatenate(distances, axis=1), level_weight * region_weight**region_weight_power


def _places(snapshot: GallerySnapshot, numbers: NDArray[np.int64]) -> list[tuple[SegmentView, int, str]]:
    """Segment, row and id of living photos by their number in the snapshot."""
    ends = np.cumsum([len(segment.ids) for segment in snapshot.segments])
    places = []
    for number in numbers.tolist():
        index = int(np.searchsorted(ends, number, side="right"))
        segment = snapshot.segments[index]
        within = number - (int(ends[index]) - len(segment.ids))
        places.append((segment, int(segment.live_rows[within]), segment.ids[within]))
    return places


def _rescore(query: Features, places: Sequence[tuple[SegmentView, int, str]], region_weight_power: int) -> list[float]:
    """Canonical distances of one query to some photos."""
    result: list[float] = []
    for start in range(0, len(places), CHUNK_ROWS):
        # Consecutive places of one segment are read at once; the order stays.
        runs = groupby(places[start : start + CHUNK_ROWS], key=itemgetter(0))
        photos = Features.cat(rows_of(segment, np.array([row for _, row, _ in run])) for segment, run in runs)
        result += canonical_distance(query, photos, region_weight_power)[0].tolist()
    return result


def rows_of(segment: SegmentView, rows: NDArray[np.int64]) -> Features:
    """The stored features of some rows, as float32 (which holds float16 exactly)."""

    def read(array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array[rows]).float()

    return Features(
        tuple(read(level) for level in segment.levels), read(segment.region_weights), read(segment.level_weights)
    )
