"""The processor's search against the canonical distance: answers equal to it, whichever product finds them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import cpu, distance_topk, topk
from kernels.blocks import GalleryBlock
from kernels.cpu import nearest, products
from kernels.cpu.packed import packed
from kernels.reference import canonical_distance
from tests.kernels.cpu_products import PRODUCTS, needs_a_product, needs_bfloat16_units
from tests.kernels.hard_cases import HARD, STORED, check_topk, oracle, sides
from tests.kernels.test_reference import Side


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize(("queries", "photos"), [(1, 1), (1, 127), (3, 1023), (63, 127), (257, 7), (63, 5000)])
def test_topk_equals_the_oracle(queries: int, photos: int, stored: torch.dtype) -> None:
    query, gallery = sides(queries, photos, stored, channels=(5, 8, 3) if photos > 2000 else (5, 63, 33))
    for k in sorted({1, min(10, photos), photos if photos < 2000 else 10}):
        check_topk(query, gallery, k, 1 + k % 2)


@pytest.fixture(params=[*PRODUCTS, pytest.param("rounded", marks=needs_bfloat16_units), "direct"])
def product(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small galleries are screened too, by one product or the other, in bfloat16, or not at all."""
    without_codes = request.param in ("rounded", "direct")
    monkeypatch.setattr(nearest, "SPARSE", 0)
    monkeypatch.setattr(nearest, "ROUNDED_SPARSE", 0)
    monkeypatch.setattr(products, "fastest", lambda: None if without_codes else request.param)
    monkeypatch.setattr(nearest, "PAYS", 0)
    if request.param == "direct":
        monkeypatch.setattr(nearest, "can_be_rounded", lambda block: False)


@pytest.mark.usefixtures("product")
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("name", HARD)
def test_topk_equals_the_oracle_where_rounding_is_hard(name: str, power: int) -> None:
    check_topk(*HARD[name], 10, power)


@pytest.mark.usefixtures("product")
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


@needs_a_product
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


@pytest.mark.usefixtures("product")
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
        assert len(set(rows[q].tolist())) == rows.shape[1] >= 20
        left = live.clone()
        left[rows[q]] = False
        assert (exact[q, left] >= bounds[q, -1].double()).all()
    assert live[rows].all()


@pytest.mark.usefixtures("product")
@pytest.mark.parametrize("name", HARD)
def test_topk_equals_the_oracle_where_pairs_in_doubt_get_bounds_of_their_own(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    bounds_of_pairs = cpu.bounds_of_pairs
    monkeypatch.setattr(topk, "WORTH_BOUNDING", 1)
    monkeypatch.setattr(cpu, "bounds_of_pairs", lambda *pairs: asked.append(pairs) or bounds_of_pairs(*pairs))
    check_topk(*HARD[name], 10)
    if name == "all equal":
        assert asked


def test_searches_from_several_threads_agree() -> None:
    query, gallery = sides(9, 400)
    block = GalleryBlock.of(gallery)
    expected = oracle(query, gallery, 10)[1]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: distance_topk(query, block, 10, impl="cpu")[1], range(12)))
    assert all(torch.equal(rows, expected) for rows in answers)
