"""The engine's exact search as it is on a GPU, where all segments are copied into one block: here, to the CPU."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from engine import exact
from engine.errors import DeviceMemoryError
from engine.exact import ExactSearch
from engine.gallery import GallerySnapshot, Selection
from kernels.blocks import GalleryBlock
from tests.engine.test_exact import CPU, Data, brute_force, random_features, snapshot_of, stored

SIZES = [30, 1, 39]
DEAD = {0, 31, 32, 50, 69}


@pytest.fixture
def data() -> Data:
    return Data(random_features(3, 1), stored(random_features(70, 2)))


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> ExactSearch:
    """Moves what it searches, as for a GPU."""
    found = ExactSearch(CPU)
    blocks = found.blocks

    def moved(snapshot: GallerySnapshot) -> list[GalleryBlock]:
        return list(exact._moved(blocks(snapshot), CPU).values())

    monkeypatch.setattr(found, "blocks", moved)
    return found


def test_all_segments_become_one_block_with_its_own_memory(data: Data) -> None:
    blocks = ExactSearch(CPU).blocks(snapshot_of(data, SIZES, DEAD))
    [block] = exact._moved(blocks, CPU).values()
    assert len(block) == 70
    for moved, level in zip(block.levels, data.gallery.levels, strict=True):
        assert moved.dtype == torch.float16
        assert torch.equal(moved.float(), level)
    assert torch.equal(block.region_weights, data.gallery.region_weights)
    assert torch.equal(block.level_weights, data.gallery.level_weights)
    assert block.live is not None
    assert block.live.logical_not().nonzero()[:, 0].tolist() == sorted(DEAD)
    held = {tensor.data_ptr() for own in blocks for tensor in own.levels}
    assert not held & {tensor.data_ptr() for tensor in block.levels}


def test_where_every_photo_lives_there_is_no_mask(data: Data) -> None:
    [block] = exact._moved(ExactSearch(CPU).blocks(snapshot_of(data, SIZES)), CPU).values()
    assert block.live is None


def test_rows_move_again_only_where_some_are_new(data: Data) -> None:
    """A removed photo leaves the rows on the device as they are; of new segments all are laid out anew."""
    found = ExactSearch(CPU)

    def on_device(snapshot: GallerySnapshot) -> GalleryBlock:
        found._blocks = found._on_device(snapshot.segments)
        found._segments = snapshot.segments
        return found._blocks["all"]

    whole = snapshot_of(data, SIZES)
    first = on_device(whole)
    fewer = on_device(snapshot_of(data, SIZES, DEAD))
    other = on_device(GallerySnapshot(2, whole.segments[:-1]))
    places = [[level.data_ptr() for level in block.levels] for block in (first, fewer, other)]
    assert places[0] == places[1]
    assert not set(places[0]) & set(places[2])
    assert fewer.live is not None
    assert fewer.live.logical_not().nonzero()[:, 0].tolist() == sorted(DEAD)
    assert len(other) == sum(SIZES[:-1])
    assert found._on_device(()) == {}


def test_no_segments_make_no_block() -> None:
    assert exact._moved([], CPU) == {}


def test_a_gallery_too_large_for_the_memory_is_a_typed_error(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = ExactSearch(CPU).blocks(snapshot_of(data, SIZES))

    def refuse(*arguments: object, **options: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("Tried to allocate 20 GiB")

    monkeypatch.setattr(torch, "empty", refuse)
    with pytest.raises(DeviceMemoryError, match=r"take 0\.0 GiB, .* Tried to allocate 20 GiB.*device='cpu'"):
        exact._moved(blocks, CPU)


@pytest.mark.parametrize("gathered_rows", [0, exact.GATHERED_ROWS])
@pytest.mark.parametrize("count", [0, 1, 3, 40, None])
def test_a_search_of_one_block_is_the_canonical_ranking_of_the_segments(
    data: Data, search: ExactSearch, count: int | None, gathered_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filtered or not: hits are of the right segment and row, although the blocks are others."""
    monkeypatch.setattr(exact, "GATHERED_ROWS", gathered_rows)
    snapshot = snapshot_of(data, SIZES, DEAD)
    chosen = np.array(sorted(set(range(70)) - DEAD))
    rows = None
    if count is not None:
        chosen = np.sort(np.random.default_rng(count).choice(chosen, count, replace=False))
        ends = np.cumsum([0, *SIZES])
        rows = tuple(chosen[(chosen >= a) & (chosen < b)] - a for a, b in pairwise(ends))
    for top_k in (1, 7, 70):
        results = search(Selection(snapshot, rows), data.query, top_k, 1)
        found = [[(hit.id, hit.distance) for hit in hits] for hits in results]
        assert found == brute_force(data, top_k, without=set(range(70)) - set(chosen.tolist()))
    for hit in results[0]:
        start = int(hit.segment.name.removeprefix("segment-"))
        assert data.ids[start + hit.row] == hit.id
