"""What the processor's search is made of: selection, rescoring, threads, compilation."""

import numpy as np
import pytest
import torch
from numba.core.caching import CacheImpl
from numpy.typing import DTypeLike, NDArray

from kernels import cpu
from kernels.blocks import GalleryBlock
from kernels.cpu import rescore
from kernels.cpu.jit import kernel
from kernels.cpu.rescore import rescore_pairs
from kernels.cpu.rows import held
from kernels.cpu.smallest import smallest
from kernels.cpu.threads import Work, over, over_all
from kernels.reference import canonical_distance
from tests.kernels.hard_cases import STORED, sides


@pytest.mark.parametrize("order", ["ascending", "descending", "random", "equal"])
@pytest.mark.parametrize(("size", "count"), [(1, 1), (300, 1), (300, 300), (5000, 10), (5000, 1300)])
def test_smallest_is_a_sort_cut_off(size: int, count: int, order: str) -> None:
    values = np.random.default_rng(0).random((3, size)).astype(np.float32)
    values = {"ascending": np.sort(values), "descending": -np.sort(-values), "equal": values * 0}.get(order, values)
    found, columns = smallest(values, count)
    assert np.array_equal(found, np.sort(values)[:, :count])
    assert np.array_equal(np.take_along_axis(values, columns, 1), found)
    assert np.array_equal(columns, np.argsort(values, axis=1, kind="stable")[:, :count])


def test_smallest_never_takes_infinity() -> None:
    values = np.full((1, 500), np.inf, np.float32)
    values[0, 100:400:100] = [3, 1, 2]
    found, columns = smallest(values, 3)
    assert found.tolist() == [[1, 2, 3]]
    assert columns.tolist() == [[200, 300, 100]]


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("near", [1, 3, 7], ids=["one query near", "three", "all"])
@pytest.mark.parametrize(
    ("copies", "meets"),
    [(np.float64, 0), (np.float64, 10_000), (np.float32, 0)],
    ids=["float64 copies", "rows as they are read", "float32 copies"],
)
def test_rescoring_gives_the_bits_of_the_canonical_distance(
    stored: torch.dtype, power: int, near: int, copies: DTypeLike, meets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the ends of runs, of blocks and of chunks of queries."""
    monkeypatch.setattr(rescore, "MEETS", meets)
    monkeypatch.setattr(rescore, "_copies", lambda *_: (np.empty(0, copies), near))
    monkeypatch.setattr(rescore, "FEWEST_PAIRS", 5)
    query, gallery = sides(7, 90, stored, channels=(1, 63, 128, 130))
    blocks = [GalleryBlock.of(gallery[:40]), GalleryBlock.of(gallery[40:41]), GalleryBlock.of(gallery[41:])]
    generator = torch.Generator().manual_seed(0)
    owner, rows = torch.randint(7, (300,), generator=generator), torch.randint(90, (300,), generator=generator)
    expected = canonical_distance(query, gallery, power)[owner, rows]
    assert torch.equal(rescore_pairs(query, owner, blocks, rows, power), expected)
    with pytest.raises(IndexError, match="rows 3 to 90; expected 0 to 89"):
        rescore_pairs(query, owner[:2], blocks, torch.tensor([3, 90]), power)


def test_what_rescoring_copies_depends_on_how_many_queries_want_a_row() -> None:
    query, _ = sides(1000, 1, channels=(1664,))
    ours = held(query)
    found = {pairs: rescore._copies(ours, pairs, 1000) for pairs in (135_000, 16_000, 2_000)}
    assert [(copies.dtype, chunk) for copies, chunk in found.values()] == [
        (np.float64, 68),
        (np.float32, 275),
        (np.float64, 68),
    ]
    few = held(sides(5, 1, channels=(1664,))[0])
    assert rescore._copies(few, 80, 1000)[1] == 5


def test_rescoring_copies_no_float32_weights() -> None:
    """A million photos' in float64 would take 96 MB."""
    _, gallery = sides(1, 5)
    block = GalleryBlock.of(gallery)
    for found, own in zip(held(block).exact_weights, (block.region_weights, block.level_weights), strict=True):
        assert np.shares_memory(found, own.numpy())


def test_float64_weights_count_with_all_their_bits() -> None:
    query, gallery = sides(2, 5)
    wide = GalleryBlock(gallery.levels, gallery.region_weights.double() / 3, gallery.level_weights.double() / 3)
    owner, rows = (torch.from_numpy(one.ravel()) for one in np.mgrid[:2, :5])
    assert torch.equal(rescore_pairs(query, owner, [wide], rows).view(2, 5), canonical_distance(query, wide))


@pytest.mark.parametrize("items", [0, 1, 7, 100])
def test_every_item_is_visited_once(items: int) -> None:
    visits = np.zeros(items, np.int64)

    def visit(start: int, stop: int) -> None:
        visits[start:stop] += 1

    over(items, 3, visit)
    assert (visits == 1).all()


def test_every_item_of_every_work_is_visited_once() -> None:
    visits = [np.zeros(items, np.int64) for items in (5, 0, 1, 40)]

    def visiting(of_work: NDArray[np.int64]) -> Work:
        def visit(start: int, stop: int) -> None:
            of_work[start:stop] += 1

        return Work(len(of_work), 3, visit)

    over_all([visiting(of_work) for of_work in visits])
    assert all((of_work == 1).all() for of_work in visits)


def test_an_error_in_a_thread_is_raised() -> None:
    def fail(start: int, stop: int) -> None:
        raise MemoryError(f"{start} to {stop}")

    with pytest.raises(MemoryError, match=r"\d+ to \d+"):
        over(100, 1, fail)


def test_other_devices_are_refused_by_name() -> None:
    assert cpu.why_not(torch.device("cpu")) is None
    assert "processor's memory" in str(cpu.why_not(torch.device("meta")))


def test_a_processor_without_float16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "host_features", dict)
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    assert "can't convert float16" in str(cpu.why_not(torch.device("cpu")))


def test_it_works_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only installation for a user without a home: numba finds no place for its cache."""
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])

    def twice(value: int) -> int:
        return 2 * value

    assert kernel(twice)(21) == 42
