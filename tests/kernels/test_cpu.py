"""The processor's operations against the canonical distance: bounds never above it, answers equal to it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.caching import CacheImpl
from torch import Tensor

from kernels import cpu, distance_topk
from kernels.blocks import GalleryBlock
from kernels.bounds import direct_error, heaviest_weight, underflow_error
from kernels.cpu import nearest, vnni
from kernels.cpu.jit import kernel
from kernels.cpu.packed import packed
from kernels.cpu.refine import smallest_refined
from kernels.cpu.rescore import rescore_pairs
from kernels.cpu.screen import Rough, screen
from kernels.cpu.smallest import smallest
from kernels.cpu.threads import over
from kernels.reference import canonical_distance
from tests.kernels.test_reference import Side, drawn

STORED = [torch.float32, torch.float16, torch.bfloat16]
needs_vnni = pytest.mark.skipif(not vnni.available(), reason="this processor has no AVX-512 VNNI")


def screened(query: Side, block: GalleryBlock, power: int) -> Tensor:
    return torch.from_numpy(screen(query, block, packed(block), power).bounds)


BOUNDS = [
    pytest.param(cpu.lower_bounds, id="direct"),
    pytest.param(screened, id="screen", marks=needs_vnni),
]


def sides(
    queries: int,
    photos: int,
    stored: torch.dtype = torch.float16,
    regions: int = 3,
    channels: tuple[int, ...] = (5, 63, 33),
    seed: int = 0,
) -> tuple[Side, Side]:
    """Some queries in float32, and a gallery stored in a type with its weights in float32."""
    query = drawn(queries, seed + 1, regions, channels, torch.float32)
    gallery = drawn(photos, seed + 2, regions, channels, torch.float32)
    return query, Side(
        tuple(level.to(stored) for level in gallery.levels), gallery.region_weights, gallery.level_weights
    )


def changed(side: Side, change: Callable[[Tensor], Tensor]) -> Side:
    return Side(tuple(change(level).to(level.dtype) for level in side.levels), side.region_weights, side.level_weights)


def shifted(offset: float, spread: float) -> Callable[[Tensor], Tensor]:
    return lambda level: level.float() * spread + offset


def with_row(row: int, factor: float) -> Callable[[Tensor], Tensor]:
    def change(level: Tensor) -> Tensor:
        result = level.clone()
        result[row] = (result[row].float() * factor).to(level.dtype)
        return result

    return change


def without(side: Side, *terms: int) -> Side:
    """Some regions and levels with weight exactly 0."""
    region, level = side.region_weights.clone(), side.level_weights.clone()
    region[:, terms[0]] = 0
    level[:, :, terms[1]] = 0
    return Side(side.levels, region, level)


def hard_cases() -> dict[str, tuple[Side, Side]]:
    """What rounding likes least. Every value is finite."""
    query, gallery = sides(5, 127)
    _, wide = sides(5, 127, torch.float32)
    cases = {
        "plain": (query, gallery),
        "common offset": (changed(query, shifted(100, 1e-2)), changed(gallery, shifted(100, 1))),
        "nearly equal": (changed(query, shifted(1, 1e-6)), changed(wide, shifted(1, 1e-6))),
        "queries far away": (changed(query, shifted(50, 1)), gallery),
        "one huge row": (query, changed(gallery, with_row(17, 1e4))),
        "one overflowing row": (query, changed(wide, with_row(17, 1e30))),
        "one overflowing query": (changed(query, with_row(2, 1e30)), wide),
        "overflowing": (changed(query, shifted(0, 1e25)), changed(wide, shifted(0, 1e25))),
        "float16 denormals": (changed(query, shifted(0, 1e-7)), changed(gallery, shifted(0, 1e-7))),
        "squares underflow": (changed(query, shifted(0, 1e-22)), changed(wide, shifted(0, 1e-22))),
        "denormals": (changed(query, shifted(0, 1e-42)), changed(wide, shifted(0, 1e-42))),
        "denormal rows": (query, changed(wide, shifted(0, 1e-42))),
        "zeros": (changed(query, shifted(0, 0)), changed(gallery, shifted(0, 0))),
        "zero rows": (query, changed(gallery, shifted(0, 0))),
        "zero weights": (without(query, 0, 1), without(gallery, 0, 1)),
        "no weight": (
            Side(query.levels, query.region_weights * 0, query.level_weights),
            Side(gallery.levels, gallery.region_weights * 0, gallery.level_weights),
        ),
        "heavy": (
            Side(query.levels, query.region_weights * 1e6, query.level_weights * 1e6),
            Side(gallery.levels, gallery.region_weights * 1e6, gallery.level_weights * 1e6),
        ),
    }
    duplicates = changed(wide, lambda level: level)
    for level, stored in zip(query.levels, duplicates.levels, strict=True):
        stored[40:45] = level
    cases["duplicates of the queries"] = (query, duplicates)
    ties = drawn(1, 9, 3, (5, 63, 33), torch.float32)
    cases["all equal"] = (
        query,
        Side(
            tuple(level.half().expand(64, -1, -1).contiguous() for level in ties.levels),
            ties.region_weights.expand(64, -1).contiguous(),
            ties.level_weights.expand(64, -1, -1).contiguous(),
        ),
    )
    return cases


HARD = hard_cases()


def oracle(query: Side, gallery: Side, k: int, power: int = 1, live: Tensor | None = None) -> tuple[Tensor, Tensor]:
    distance = canonical_distance(query, gallery, power)
    rows = torch.arange(distance.shape[1]) if live is None else live.nonzero()[:, 0]
    found, order = distance[:, rows].sort(dim=1, stable=True)
    return found[:, :k], rows[order[:, :k]]


def check_topk(query: Side, gallery: Side, k: int, power: int = 1, live: Tensor | None = None) -> None:
    distance, rows = distance_topk(query, gallery, k, region_weight_power=power, live=live, impl="cpu")
    expected, expected_rows = oracle(query, gallery, k, power, live)
    assert torch.equal(rows, expected_rows)
    assert torch.equal(distance, expected)


# The answer


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize(("queries", "photos"), [(1, 1), (1, 127), (3, 1023), (63, 127), (257, 7), (63, 5000)])
def test_topk_equals_the_oracle(queries: int, photos: int, stored: torch.dtype) -> None:
    query, gallery = sides(queries, photos, stored, channels=(5, 8, 3) if photos > 2000 else (5, 63, 33))
    for k in sorted({1, min(10, photos), photos if photos < 2000 else 10}):
        check_topk(query, gallery, k, 1 + k % 2)


@pytest.fixture(params=[0, nearest.SPARSE], ids=["screen", "direct"])
def sparse(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small galleries are screened too, or not."""
    monkeypatch.setattr(nearest, "SPARSE", request.param)


@pytest.mark.usefixtures("sparse")
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("name", HARD)
def test_topk_equals_the_oracle_where_rounding_is_hard(name: str, power: int) -> None:
    check_topk(*HARD[name], 10, power)


@pytest.mark.usefixtures("sparse")
@pytest.mark.parametrize(("regions", "channels"), [(1, (1,)), (1, (3,)), (5, (1, 3, 5, 63)), (2, (64, 130))])
def test_topk_equals_the_oracle_for_odd_shapes(regions: int, channels: tuple[int, ...]) -> None:
    check_topk(*sides(5, 100, regions=regions, channels=channels), 10)
    check_topk(*sides(1, 100, regions=regions, channels=channels), 10)


@pytest.mark.parametrize("queries", [1, 5])
def test_dead_rows_are_never_returned(queries: int) -> None:
    query, gallery = sides(queries, 500)
    live = torch.rand(500, generator=torch.Generator().manual_seed(0)) > 0.9
    live[490:] = False
    check_topk(query, gallery, 10, live=live)


def test_queries_and_rows_may_be_stored_in_different_types_and_strides() -> None:
    query, gallery = sides(5, 200)
    query = Side(tuple(level.bfloat16() for level in query.levels), query.region_weights, query.level_weights)
    apart = Side(
        tuple(torch.cat((level, level), 2)[::2, :, : level.shape[2]] for level in gallery.levels),
        gallery.region_weights[::2].double(),
        gallery.level_weights[::2],
    )
    mixed = Side((apart.levels[0].float(), *apart.levels[1:]), apart.region_weights, apart.level_weights)
    reversed_channels = Side(
        tuple(level.transpose(1, 2).contiguous().transpose(1, 2) for level in apart.levels),
        apart.region_weights,
        apart.level_weights,
    )
    for side in (apart, mixed, reversed_channels):
        check_topk(query, side, 10)


def test_rows_may_be_mapped_from_a_file(tmp_path: Path) -> None:
    query, gallery = sides(5, 300)
    levels = []
    for number, level in enumerate(gallery.levels):
        path = tmp_path / f"{number}.f16"
        path.write_bytes(b"\0\0" + level.numpy().tobytes())  # not aligned to more than its values
        mapped = np.memmap(path, np.float16, "c", offset=2, shape=tuple(level.shape))
        levels.append(torch.from_numpy(mapped))
    check_topk(query, Side(tuple(levels), gallery.region_weights, gallery.level_weights), 10)


@needs_vnni
@settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.integers(1, 1000), st.sampled_from(STORED), st.integers(1, 20), st.integers(0, 1000))
def test_topk_does_not_depend_on_the_form_that_found_it(
    queries: int, photos: int, stored: torch.dtype, k: int, seed: int
) -> None:
    query, gallery = sides(queries, photos, stored, seed=seed)
    screened_block, direct_block = GalleryBlock.of(gallery), GalleryBlock.of(gallery)
    packed(screened_block)
    answers = [distance_topk(query, block, k, impl="cpu") for block in (screened_block, direct_block)]
    one_by_one = [distance_topk(query[q : q + 1], direct_block, k, impl="cpu") for q in range(queries)]
    answers.append((torch.cat([one[0] for one in one_by_one]), torch.cat([one[1] for one in one_by_one])))
    for distance, rows in answers[1:]:
        assert torch.equal(distance, answers[0][0])
        assert torch.equal(rows, answers[0][1])


# Bounds and accuracy


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("name", HARD)
def test_bounds_are_never_above_the_canonical_distance(
    name: str, bounds: Callable[[Side, GalleryBlock, int], Tensor], power: int
) -> None:
    query, gallery = HARD[name]
    lower = bounds(query, GalleryBlock.of(gallery), power)
    assert lower.dtype == torch.float32
    assert (lower >= 0).all()  # so not NaN
    assert (lower.double() <= canonical_distance(query, gallery, power)).all()


@pytest.mark.parametrize("bounds", BOUNDS)
@settings(max_examples=40, deadline=None)
@given(
    st.integers(-40, 30),
    st.integers(-40, 30),
    st.integers(-40, 30),
    st.sampled_from(STORED),
    st.integers(0, 10_000),
)
def test_bounds_hold_at_any_scale(
    bounds: Callable[[Side, GalleryBlock, int], Tensor],
    offset: int,
    query_spread: int,
    spread: int,
    stored: torch.dtype,
    seed: int,
) -> None:
    query, gallery = sides(3, 17, torch.float32, 2, (7, 20), seed)
    largest = torch.finfo(stored).max / 2
    query = changed(query, shifted(10.0**offset, 10.0**query_spread))
    gallery = changed(gallery, shifted(10.0**offset, 10.0**spread))
    gallery = Side(
        tuple(level.clamp(-largest, largest).to(stored) for level in gallery.levels),
        gallery.region_weights,
        gallery.level_weights,
    )
    lower = bounds(query, GalleryBlock.of(gallery), 1)
    assert (lower >= 0).all()
    assert (lower.double() <= canonical_distance(query, gallery)).all()


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("queries", [1, 2, 7])
def test_pair_distance_is_within_the_derived_error(queries: int, stored: torch.dtype) -> None:
    query, gallery = sides(queries, 131, stored, channels=(5, 200, 33))
    exact = canonical_distance(query, gallery)
    distance = cpu.pair_distance(query, GalleryBlock.of(gallery), 1)
    assert distance.dtype == torch.float32
    assert ((distance - exact).abs() <= direct_error((5, 200, 33), 3) * exact + 1e-30).all()


def test_near_neighbours_do_not_cancel() -> None:
    query, gallery = HARD["nearly equal"]
    exact = canonical_distance(query, gallery)
    error = direct_error((5, 63, 33), 3) * exact + underflow_error((5, 63, 33), 3, heaviest_weight([(1, 1)], 1))
    assert ((cpu.pair_distance(query, GalleryBlock.of(gallery), 1) - exact).abs() <= error).all()


@needs_vnni
def test_the_screen_is_sharp_for_far_queries_too() -> None:
    """Its slack is that of 8 bits, about 1 % of the rows' spread, and not of the offset between the two sides."""
    query, gallery = sides(5, 300, channels=(256, 512, 128))
    for offset in (0, 10):
        far = changed(query, shifted(offset, 1))
        exact = canonical_distance(far, gallery)
        lost = exact - screened(far, GalleryBlock.of(gallery), 1)
        assert (lost / canonical_distance(query, gallery)).max() < 0.02


@pytest.mark.usefixtures("sparse")
@pytest.mark.parametrize("queries", [1, 5])
@pytest.mark.parametrize("name", HARD)
def test_smallest_bounds_leave_no_smaller_one_out(name: str, queries: int) -> None:
    query, gallery = HARD[name]
    live = torch.arange(len(gallery.region_weights)) % 3 > 0
    block = GalleryBlock.of(gallery, live)
    bounds, rows = cpu.smallest_bounds(query[:queries], [block], 20, 1)
    exact = canonical_distance(query[:queries], gallery)
    assert (bounds.diff(dim=1) >= 0).all()
    assert (bounds.double() <= exact.gather(1, rows)).all()
    for q in range(queries):
        assert len(set(rows[q].tolist())) == 20
        left = live.clone()
        left[rows[q]] = False
        assert (exact[q, left] >= bounds[q, -1].double()).all()
    assert live[rows].all()


@pytest.mark.parametrize("queries", [1, 70])
def test_refining_finds_the_smallest_whatever_the_rough_bounds(queries: int) -> None:
    query, gallery = sides(queries, 300)
    block = GalleryBlock.of(gallery)
    sharp = cpu.lower_bounds(query, block, 1)
    generator = torch.Generator().manual_seed(3)
    levels = torch.stack(
        [
            canonical_distance(
                Side((q,), query.region_weights, query.level_weights[:, :, number, None]),
                Side((g,), gallery.region_weights, gallery.level_weights[:, :, number, None]),
            )
            for number, (q, g) in enumerate(zip(query.levels, gallery.levels, strict=True))
        ]
    )
    parts = (levels * torch.rand(levels.shape, generator=generator) * 0.999).float()
    rough = Rough((parts.sum(0) * (1 - 2.0**-20)).numpy(), parts.numpy())
    bounds, rows = smallest_refined(query, [block], [rough], 11, 1)
    assert np.allclose(bounds, sharp.sort(dim=1).values[:, :11], rtol=1e-4)
    assert np.allclose(sharp.gather(1, torch.from_numpy(rows)), bounds, rtol=1e-4)
    assert (torch.from_numpy(rough.bounds) <= canonical_distance(query, gallery)).all()


# The parts


@pytest.mark.parametrize("order", ["ascending", "descending", "random", "equal"])
@pytest.mark.parametrize(("size", "count"), [(1, 1), (300, 1), (300, 300), (5000, 10), (5000, 1300)])
def test_smallest_is_a_sort_cut_off(size: int, count: int, order: str) -> None:
    values = np.random.default_rng(0).random((3, size)).astype(np.float32)
    values = {"ascending": np.sort(values), "descending": -np.sort(-values), "equal": values * 0}.get(order, values)
    found, columns = smallest(values, count)
    assert np.array_equal(found, np.sort(values)[:, :count])
    assert np.array_equal(np.take_along_axis(values, columns, 1), found)
    assert all(len(set(row)) == count for row in columns.tolist())


def test_smallest_never_takes_infinity() -> None:
    values = np.full((1, 500), np.inf, np.float32)
    values[0, 100:400:100] = [3, 1, 2]
    found, columns = smallest(values, 3)
    assert found.tolist() == [[1, 2, 3]]
    assert columns.tolist() == [[200, 300, 100]]


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("power", [1, 2])
def test_rescoring_gives_the_bits_of_the_canonical_distance(stored: torch.dtype, power: int) -> None:
    query, gallery = sides(7, 90, stored, channels=(1, 63, 130))
    blocks = [GalleryBlock.of(gallery[:40]), GalleryBlock.of(gallery[40:41]), GalleryBlock.of(gallery[41:])]
    generator = torch.Generator().manual_seed(0)
    owner, rows = torch.randint(7, (300,), generator=generator), torch.randint(90, (300,), generator=generator)
    expected = canonical_distance(query, gallery, power)[owner, rows]
    assert torch.equal(rescore_pairs(query, owner, blocks, rows, power), expected)
    with pytest.raises(IndexError, match="rows 3 to 90; expected 0 to 89"):
        rescore_pairs(query, owner[:2], blocks, torch.tensor([3, 90]), power)


@needs_vnni
def test_codes_cost_one_byte_a_value_and_24_bytes_a_vector() -> None:
    _, gallery = sides(1, 480, channels=(4, 64, 32))
    block = packed(GalleryBlock.of(gallery))
    assert block.codes.nbytes == 480 * 3 * (4 + 64 + 32)
    assert block.sides.nbytes == 480 * 9 * 24


@pytest.mark.parametrize("items", [0, 1, 7, 100])
def test_every_item_is_visited_once(items: int) -> None:
    visits = np.zeros(items, np.int64)

    def visit(start: int, stop: int) -> None:
        visits[start:stop] += 1

    over(items, 3, visit)
    assert (visits == 1).all()


def test_an_error_in_a_thread_is_raised() -> None:
    def fail(start: int, stop: int) -> None:
        raise MemoryError(f"{start} to {stop}")

    with pytest.raises(MemoryError, match=r"\d+ to \d+"):
        over(100, 1, fail)


def test_searches_from_several_threads_agree() -> None:
    query, gallery = sides(9, 400)
    block = GalleryBlock.of(gallery)
    expected = oracle(query, gallery, 10)[1]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: distance_topk(query, block, 10, impl="cpu")[1], range(12)))
    assert all(torch.equal(rows, expected) for rows in answers)


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
