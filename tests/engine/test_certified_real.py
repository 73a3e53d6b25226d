"""On real photos and sketches, with the shipped model: certified search prunes, never falls through, and is exact.

Shoes and chairs. Two thousand photos and a thousand sketches are encoded once, which is most of the time; the plan is
fitted to others that are not searched by. Every answer is compared with all canonical distances.
"""

import os
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
from kernels.cpu.rescore import rescore_pairs
from mlrm.features import Features
from mlrm.images import load_image

PHOTOS, SKETCHES, SEGMENT, TOP_K = 2000, 1000, 512, 10
SHARE = 0.1
"""Of the photos that the first screen may leave, on average."""
TOGETHER = 100
"""Sketches compared at a time: 200,000 pairs."""
SETS = [f"qmul_v1/{kind}/{part}" for kind in ("chairs", "shoes") for part in ("test", "train")]

pytestmark = pytest.mark.data


def encoded(paths: list[Path], domain: str) -> Features:
    encoder, threads = open_encoder(None, torch.device("cpu"), "torch").encoder, torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)  # the other tests' models are tiny, and take one
    try:
        return encode(encoder, (load_image(path) for path in paths), domain)
    finally:
        torch.set_num_threads(threads)


def photo_paths(data_root: Path) -> list[Path]:
    own = [path for one in SETS for path in sorted((data_root / one / "images").iterdir())]
    return (own + sorted((data_root / "shoev2_photos").iterdir()))[:PHOTOS]


def sketch_paths(data_root: Path) -> list[Path]:
    """Those that the plan is fitted to, from all over the sets, and behind them those to search by."""
    sets = (*SETS, "qmul_v1_shoes_more_sketches")
    paths = [path for one in sets for path in sorted((data_root / one / "sketches").iterdir())][: SKETCHES + TRIED_BY]
    held_out = paths[:: len(paths) // TRIED_BY][:TRIED_BY]
    return held_out + [path for path in paths if path not in held_out]


@pytest.fixture(scope="module")
def photos(data_root: Path) -> Features:
    """As a gallery stores them."""
    return encoded(photo_paths(data_root), "photo")


@pytest.fixture(scope="module")
def sketches(data_root: Path) -> Features:
    return encoded(sketch_paths(data_root), "sketch")


@pytest.fixture(scope="module")
def gallery(photos: Features, sketches: Features, codes_pay: None, tmp_path_factory: pytest.TempPathFactory) -> Gallery:
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
    optimize(made, sketches[:TRIED_BY])
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
    return search(gallery, gallery.select(None), sketches[TRIED_BY:], TOP_K)


def test_every_sketch_finds_what_brute_force_finds(answers: list[Answer], stored: Rows, sketches: Features) -> None:
    searched = sketches[TRIED_BY:]
    assert len(answers) == len(searched) == SKETCHES
    for start in range(0, SKETCHES, TOGETHER):
        own = searched[start : start + TOGETHER]
        owner, rows = torch.arange(TOGETHER).repeat_interleave(PHOTOS), torch.arange(PHOTOS).repeat(TOGETHER)
        distance = rescore_pairs(own, owner, [GalleryBlock.of(stored)], rows).view(TOGETHER, PHOTOS)
        nearest, order = distance.sort(dim=1, stable=True)
        for answer, ids, values in zip(answers[start:], order.tolist(), nearest.tolist(), strict=False):
            assert [int(hit.id) for hit in answer.hits] == ids[:TOP_K]
            assert [hit.distance for hit in answer.hits] == values[:TOP_K]


def test_few_photos_survive_and_none_fall_through(answers: list[Answer], gallery: Gallery) -> None:
    assert len(gallery.snapshot()) == PHOTOS
    assert all(one.report.read == "codes" and one.report.certified and not one.report.note for one in answers)
    assert np.mean([one.report.survivors for one in answers]) <= SHARE * PHOTOS
    assert np.mean([one.report.rescored for one in answers]) <= SHARE * PHOTOS
