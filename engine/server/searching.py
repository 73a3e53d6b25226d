"""One batch of searches: encoded together, and ranked in one pass for each filter among them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageStat

from engine.encoding import encode
from engine.explain import Explanation
from engine.retriever import Retriever
from engine.server.schemas import ExplanationOut, MatchOut, Options, Regions, ReportOut, SearchAnswer
from engine.types import Match, SearchResult
from mlrm.features import Features
from mlrm.strokes import Stroke, ink

LEAST_INK = 0.5
"""Length of all lines, in parts of the canvas's side, below which a drawing is too little to search by: below it the
first ten photos hold the right one no more often than chance (`python -m mlrm.first_lines`, docs/service.md)."""
LEAST_CONTRAST = 1.0
"""Standard deviation of a picture's grey levels (0..255) below which it shows nothing."""
_DECIMALS = 3  # of map values, which are stored in 8 bits

Timed = Callable[[str, float], None]
"""Gets a stage's name and its seconds."""


@dataclass(frozen=True)
class Search:
    """One search of a batch: the sketch, RGB, and what is asked of it."""

    image: Image.Image
    options: Options


def too_little(drawn: Sequence[Stroke]) -> bool:
    """Whether a drawing has too few lines to search by."""
    return ink(drawn) < LEAST_INK


def is_blank(image: Image.Image) -> bool:
    """Whether a picture shows nothing."""
    return ImageStat.Stat(image.convert("L")).stddev[0] < LEAST_CONTRAST


def run_batch(retriever: Retriever, searches: Sequence[Search], timed: Timed) -> list[SearchAnswer | Exception]:
    """The answer of each search, or the error that is its own: what is wrong with one doesn't touch the others."""
    started = time.perf_counter()
    features = encode(retriever.encoder, (search.image for search in searches), "sketch")
    shown = features.to("cpu")  # for explanations; and waits for a GPU, so that the stages' times are their own
    encoded = time.perf_counter()
    timed("encode", encoded - started)
    groups: dict[str, list[int]] = {}
    for number, search in enumerate(searches):
        groups.setdefault(json.dumps([search.options.where, search.options.subset]), []).append(number)
    answers: dict[int, SearchAnswer | Exception] = {}
    for group in groups.values():
        answers |= _ranked(retriever, features, shown, searches, group)
    timed("search", time.perf_counter() - encoded)
    return [answers[number] for number in range(len(searches))]


def _ranked(
    retriever: Retriever, features: Features, shown: Features, searches: Sequence[Search], group: list[int]
) -> dict[int, SearchAnswer | Exception]:
    """The answers of searches that have one filter; if they fail together, each is asked by itself.

    features, shown: of all sketches, where they were encoded and on the CPU.
    """
    options = [searches[number].options for number in group]
    try:
        found = retriever.search_features(
            features[group],
            max(one.top_k for one in options),
            where=options[0].where,
            subset=options[0].subset,
        )
        photos = len(retriever)
        return {
            number: _answer(result, one, shown, number, photos)
            for number, one, result in zip(group, options, found, strict=True)
        }
    except Exception as error:
        if len(group) == 1:
            return {group[0]: error}
        return {
            number: answer
            for one in group
            for number, answer in _ranked(retriever, features, shown, searches, [one]).items()
        }


def _answer(result: SearchResult, options: Options, features: Features, number: int, photos: int) -> SearchAnswer:
    matches = [_match(match, options.explain) for match in result[: options.top_k]]
    sketch = None
    if options.explain and features.maps is not None:
        sketch = _regions(features.region_weights[number].numpy(), features.maps[number].numpy())
    counts = result.report.to_dict()
    del counts["gap"]  # behind the largest top_k of the batch, which may be another search's
    report = ReportOut(**counts)
    return SearchAnswer(status="ok", matches=matches, photos=photos, report=report, sketch=sketch)


def _match(match: Match, explained: bool) -> MatchOut:
    return MatchOut(
        id=match.id,
        rank=match.rank,
        distance=match.distance,
        metadata=None if match.metadata is None else dict(match.metadata),
        explanation=_explanation(match.explain()) if explained else None,
    )


def _explanation(why: Explanation) -> ExplanationOut:
    return ExplanationOut(
        contributions=why.contributions.tolist(), photo=_regions(why.photo_region_weights, why.photo_maps)
    )


def _regions(weights: NDArray[Any], maps: NDArray[Any]) -> Regions:
    return Regions(weights=weights.tolist(), maps=np.round(maps.astype(np.float64), _DECIMALS).tolist())
