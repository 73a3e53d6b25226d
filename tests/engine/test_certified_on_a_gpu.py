"""Certified search as it is on a GPU: one block of all rows, codes in its memory; here the CPU's, and on a real one."""

from pathlib import Path

import pytest
import torch

from benches.cases import Rows
from engine import exact
from engine.certified import CertifiedSearch
from engine.errors import DeviceMemoryError
from engine.exact import ExactSearch
from engine.gallery import Gallery, GallerySnapshot
from engine.optimize import keep_up, optimize
from kernels import gpu
from kernels.blocks import GalleryBlock
from mlrm.features import Features
from tests.engine.coded_gallery import (
    PHOTOS,
    add,
    brute_force,
    everything,
    filtered,
    gallery_of,
    joined,
    photos_drawn,
    ranking,
    sketches_drawn,
)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return photos_drawn(PHOTOS)


@pytest.fixture
def gallery(rows: Rows, codes_pay: None, tmp_path: Path) -> Gallery:
    made = gallery_of(tmp_path / "my.gallery", rows)
    optimize(made, sketches_drawn(16))
    return made


@pytest.fixture
def sketches() -> Features:
    return sketches_drawn(6)


@pytest.fixture
def one_block(monkeypatch: pytest.MonkeyPatch) -> CertifiedSearch:
    """Searches all rows as one block, as on a GPU."""
    found = ExactSearch(torch.device("cpu"))
    blocks = found.blocks

    def moved(snapshot: GallerySnapshot) -> list[GalleryBlock]:
        return list(exact._moved(blocks(snapshot), found.device).values())

    monkeypatch.setattr(found, "blocks", moved)
    return CertifiedSearch(found)


def test_one_block_of_all_rows_is_searched_by_codes(
    gallery: Gallery, rows: Rows, sketches: Features, one_block: CertifiedSearch
) -> None:
    found = everything(gallery, one_block, sketches)
    assert ranking(found) == brute_force(rows, sketches)
    assert {(one.report.read, one.report.note) for one in found} == {("codes", "")}
    halves = filtered(gallery, one_block, sketches, {"even": True})
    assert ranking(halves) == brute_force(rows, sketches, left=set(range(0, PHOTOS, 2)))
    assert {one.report.read for one in halves} == {"codes"}


def test_photos_without_codes_are_scanned_for_with_all_others(
    gallery: Gallery, rows: Rows, sketches: Features, one_block: CertifiedSearch
) -> None:
    more = photos_drawn(700, seed=5)
    add(gallery, more, first=PHOTOS)
    found = everything(gallery, one_block, sketches)
    assert ranking(found) == brute_force(joined(rows, more), sketches)
    assert all(one.report.read == "features" and "have no codes yet" in one.report.note for one in found)
    keep_up(gallery)
    found = everything(gallery, one_block, sketches)
    assert ranking(found) == brute_force(joined(rows, more), sketches)
    assert {one.report.read for one in found} == {"codes"}


def test_codes_too_large_for_the_memory_are_a_typed_error(
    gallery: Gallery, sketches: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise torch.OutOfMemoryError("Tried to allocate 50 GiB")

    monkeypatch.setattr("kernels.cpu.hold_codes", refuse)
    with pytest.raises(
        DeviceMemoryError, match=r"short codes take 0\.0 GiB, .* Tried to allocate 50 GiB.*device='cpu'"
    ):
        everything(gallery, CertifiedSearch(ExactSearch(torch.device("cpu"))), sketches)


@pytest.mark.gpu
@pytest.mark.parametrize("memory", ["auto", "codes", "features"])
def test_a_gpu_finds_what_brute_force_finds(gallery: Gallery, rows: Rows, sketches: Features, memory: str) -> None:
    device = torch.device("cuda")
    if reason := gpu.why_not(device):
        pytest.skip(f"no GPU to run on: {reason}")
    found = everything(gallery, CertifiedSearch(ExactSearch(device), memory), sketches)
    assert ranking(found) == brute_force(rows, sketches)
    assert {one.report.read for one in found} == {"features" if memory == "features" else "codes"}
