"""Galleries of drawn features with short codes, and brute force to compare a search by them with."""

from pathlib import Path

import numpy as np
import torch

from benches.cases import Rows, draw_large
from engine.certified import Answer, CertifiedSearch
from engine.exact import ExactSearch
from engine.features import FeatureBlock, FeatureShapes
from engine.filters import Filter
from engine.gallery import Gallery
from kernels.reference import canonical_distance
from mlrm.features import Features

CHANNELS = (32, 64, 256)
PHOTOS, SEGMENT = 2500, 600
SHAPES = FeatureShapes(3, CHANNELS, (1, 1))
TOP_K = 10


def photos_drawn(count: int, seed: int = 0) -> Rows:
    return draw_large(count, CHANNELS, torch.float16, seed)


def sketches_drawn(count: int) -> Features:
    rows = draw_large(count, CHANNELS, torch.float32, seed=1)
    return Features(rows.levels, rows.region_weights, rows.level_weights)


def joined(one: Rows, other: Rows) -> Rows:
    """The photos of both, one after the other."""
    return Rows(
        tuple(torch.cat(pair) for pair in zip(one.levels, other.levels, strict=True)),
        torch.cat((one.region_weights, other.region_weights)),
        torch.cat((one.level_weights, other.level_weights)),
    )


def ids_of(first: int, count: int) -> list[str]:
    """In reverse, so that the order of ids isn't that of rows."""
    return [f"photo-{99999 - number}" for number in range(first, first + count)]


def block_of(rows: Rows) -> FeatureBlock:
    maps = np.zeros((len(rows), 3, 1, 1), np.uint8)
    levels = tuple(level.numpy() for level in rows.levels)
    return FeatureBlock(levels, rows.region_weights.numpy(), rows.level_weights.numpy(), maps)


def add(gallery: Gallery, rows: Rows, first: int = 0) -> None:
    with gallery.writer() as writer:
        for start in range(0, len(rows), SEGMENT):
            part = rows[slice(start, start + SEGMENT)]
            ids = ids_of(first + start, len(part))
            writer.add(block_of(part), ids, metadata=[{"even": (first + start + n) % 2 == 0} for n in range(len(part))])


def gallery_of(path: Path, rows: Rows) -> Gallery:
    gallery = Gallery.create(path, shapes=SHAPES, model_fingerprint="drawn")
    add(gallery, rows)
    return gallery


def searcher(memory: str = "auto") -> CertifiedSearch:
    return CertifiedSearch(ExactSearch(torch.device("cpu")), memory)


def ranking(answers: list[Answer]) -> list[list[tuple[str, float]]]:
    return [[(hit.id, hit.distance) for hit in answer.hits] for answer in answers]


def brute_force(
    rows: Rows, sketches: Features, top_k: int = TOP_K, left: set[int] | None = None
) -> list[list[tuple[str, float]]]:
    """The definition, over the rows `left` (all): the smallest by (canonical distance, id)."""
    ids = ids_of(0, len(rows))
    found = []
    for start in range(0, len(sketches), 16):
        for distances in canonical_distance(sketches[start : start + 16], rows).tolist():
            pairs = sorted((distances[row], ids[row]) for row in (range(len(rows)) if left is None else left))
            found.append([(id_, distance) for distance, id_ in pairs[:top_k]])
    return found


def everything(gallery: Gallery, search: CertifiedSearch, sketches: Features, **options: object) -> list[Answer]:
    """Each sketch alone, so that "auto" takes the codes."""
    selection = gallery.select(None)
    alone = (search(gallery, selection, sketches[i : i + 1], TOP_K, **options) for i in range(len(sketches)))  # type: ignore[arg-type]
    return [answer for answers in alone for answer in answers]


def filtered(gallery: Gallery, search: CertifiedSearch, sketches: Features, where: dict[str, object]) -> list[Answer]:
    """As `everything`, of the photos that pass a filter."""
    selection = gallery.select(Filter.parse(where, None))
    return [search(gallery, selection, sketches[i : i + 1], TOP_K)[0] for i in range(len(sketches))]
