"""On real photos and sketches, with the shipped model: certified search prunes, never falls through, and is exact.

Two thousand photos and a thousand sketches are encoded once, which takes two minutes of two cores.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from benches.cases import Rows
from engine.certified import Answer, CertifiedSearch
from engine.encoders.opening import open_encoder
from engine.encoding import encode
from engine.exact import ExactSearch
from engine.features import FeatureBlock
from engine.gallery import Gallery
from engine.optimize import optimize
from engine.planning import TRIED_BY
from kernels.blocks import GalleryBlock
from kernels.reference import canonical_distance
from kernels.topk import nearest
from mlrm.features import Features
from mlrm.images import load_image

PHOTOS, SKETCHES, SEGMENT, TOP_K = 2200, 1000, 512, 10
SHARE = 0.1
"""Of the photos that the first screen may leave, on average."""
CHECKED_FULLY = 60
"""Sketches whose answer is compared with all canonical distances; the others' with our scan, held to them by tests."""

pytestmark = pytest.mark.data


def encoded(paths: list[Path], domain: str) -> Features:
    encoder = open_encoder(None, torch.device("cpu"), "torch").encoder
    return encode(encoder, (load_image(path) for path in paths), domain)


def photo_paths(data_root: Path) -> list[Path]:
    own = [
        path for part in ("test", "train") for path in sorted((data_root / "qmul_v1/shoes" / part / "images").iterdir())
    ]
    return (own + sorted((data_root / "shoev2_photos").iterdir()))[:PHOTOS]


def sketch_paths(data_root: Path) -> list[Path]:
    sets = ("qmul_v1/shoes/test", "qmul_v1/shoes/train", "qmul_v1_shoes_more_sketches")
    return [path for one in sets for path in sorted((data_root / one / "sketches").iterdir())][:SKETCHES]


@pytest.fixture(scope="module")
def photos(data_root: Path) -> Features:
    """As a gallery stores them."""
    return encoded(photo_paths(data_root), "photo")


@pytest.fixture(scope="module")
def sketches(data_root: Path) -> Features:
    return encoded(sketch_paths(data_root), "sketch")


@pytest.fixture(scope="module")
def gallery(photos: Features, sketches: Features, tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    block = FeatureBlock(
        tuple(level.numpy() for level in photos.levels),
        photos.region_weights.numpy(),
        photos.level_weights.numpy(),
        np.zeros((len(photos), photos.region_weights.shape[1], 1, 1), np.uint8),
    ).encoded()
    path = tmp_path_factory.mktemp("real") / "my.gallery"
    made = Gallery.create(path, shapes=block.shapes, model_fingerprint="shipped")
    with made.writer() as writer:
        for start in range(0, len(block), SEGMENT):
            rows = slice(start, start + SEGMENT)
            arrays = (tuple(level[rows] for level in block.levels), block.region_weights[rows])
            part = FeatureBlock(*arrays, block.level_weights[rows], block.maps[rows])
            writer.add(part, [f"{start + number:05}" for number in range(len(part))])
    optimize(made, sketches[-TRIED_BY:])
    return made


@pytest.fixture(scope="module")
def stored(gallery: Gallery) -> Rows:
    """The features as they were stored, all in one."""
    segments = gallery.snapshot().segments
    levels = zip(*(segment.levels for segment in segments), strict=True)
    return Rows(
        tuple(torch.from_numpy(np.concatenate(level)) for level in levels),
        torch.from_numpy(np.concatenate([segment.region_weights for segment in segments])),
        torch.from_numpy(np.concatenate([segment.level_weights for segment in segments])),
    )


@pytest.fixture(scope="module")
def answers(gallery: Gallery, sketches: Features) -> list[Answer]:
    search = CertifiedSearch(ExactSearch(torch.device("cpu")), "codes")
    return search(gallery, gallery.select(None), sketches, TOP_K)


def ranking(answer: Answer) -> list[tuple[int, float]]:
    return [(int(hit.id), hit.distance) for hit in answer.hits]


def test_real_sketches_find_what_brute_force_finds(answers: list[Answer], stored: Rows, sketches: Features) -> None:
    for start in range(0, CHECKED_FULLY, 10):
        distance, order = canonical_distance(sketches[start : start + 10], stored).sort(dim=1, stable=True)
        for number in range(len(distance)):
            expected = list(zip(order[number, :TOP_K].tolist(), distance[number, :TOP_K].tolist(), strict=True))
            assert ranking(answers[start + number]) == expected
    found = nearest(sketches, [GalleryBlock.of(stored)], TOP_K)
    assert len(found) == SKETCHES
    for answer, scanned in zip(answers, found, strict=True):
        expected = list(zip(scanned.rows[:TOP_K].tolist(), scanned.distance[:TOP_K].tolist(), strict=True))
        assert ranking(answer) == expected


def test_few_photos_survive_and_none_fall_through(answers: list[Answer], gallery: Gallery) -> None:
    assert len(gallery.snapshot()) == PHOTOS
    assert all(one.report.read == "codes" and one.report.certified and not one.report.note for one in answers)
    assert np.mean([one.report.survivors for one in answers]) <= SHARE * PHOTOS
    assert np.mean([one.report.rescored for one in answers]) <= SHARE * PHOTOS
