"""When the processor's search builds 8-bit codes of a block; and no answer depends on which blocks have them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.blocks import GalleryBlock
from kernels.cpu import nearest, smallest_bounds
from kernels.cpu.nearest import PAYS, ROUNDED_ALIKE, ROUNDED_SPARSE, SPARSE
from kernels.cpu.packed import is_packed, packed
from kernels.reference import canonical_distance
from kernels.topk import nearest as nearest_rows
from tests.kernels.cpu_products import needs_a_product, needs_bfloat16_units
from tests.kernels.hard_cases import flat, sides

COUNT = 5
PHOTOS = 2 * COUNT * SPARSE


def block_of(photos: int = PHOTOS, seed: int = 0) -> GalleryBlock:
    return GalleryBlock.of(sides(1, photos, seed=seed)[1])


def ask(queries: int, blocks: list[GalleryBlock], count: int = COUNT) -> None:
    smallest_bounds(sides(queries, 1)[0], blocks, count, 1)


def ask_until_packed(block: GalleryBlock) -> None:
    for _ in range(PAYS):
        ask(1, [block])
    assert is_packed(block)


@needs_a_product
@pytest.mark.parametrize("rounding", [False, pytest.param(True, marks=needs_bfloat16_units)])
def test_a_group_that_codes_would_have_saved_enough_packs_at_once(
    rounding: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "can_be_rounded", lambda block: rounding)
    block = block_of(COUNT * ROUNDED_SPARSE)
    ask((PAYS - 1) * ROUNDED_ALIKE if rounding else PAYS, [block])
    assert is_packed(block)


@needs_a_product
@pytest.mark.parametrize(
    ("queries", "rounding", "searches"),
    [(1, False, 32), (3, False, 11), (4, False, 8), (9, False, 4)]
    + [pytest.param(*one, marks=needs_bfloat16_units) for one in ((3, True, 11), (4, True, 32), (130, True, 11))],
)
def test_queries_add_up_until_packing_pays(
    queries: int, rounding: bool, searches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 single ones, or groups: each query of these counts, but where rows are rounded a group with 63 more as one."""
    monkeypatch.setattr(nearest, "can_be_rounded", lambda block: rounding)
    block = block_of(COUNT * ROUNDED_SPARSE)
    for _ in range(searches - 1):
        ask(queries, [block])
        assert not is_packed(block)
    ask(queries, [block])
    assert is_packed(block)


@needs_a_product
def test_a_single_query_waits_for_one_block_at_most() -> None:
    blocks = [block_of(seed=seed) for seed in (0, 1, 2)]
    for _ in range(PAYS - 1):
        ask(1, blocks)
    assert not any(is_packed(block) for block in blocks)
    for count in (1, 2, 3, 3):
        ask(1, blocks)
        assert sum(is_packed(block) for block in blocks) == count


def test_rows_of_which_many_are_wanted_are_not_packed() -> None:
    block = block_of()
    for _ in range(PAYS + 1):
        ask(1, [block], count=PHOTOS // 2)
    assert not is_packed(block)


def test_what_memory_has_no_room_for_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.cpu.packed.physical_memory", lambda: 0)
    block = block_of()
    for _ in range(PAYS + 1):
        ask(1, [block])
    assert not is_packed(block)


@needs_a_product
def test_each_block_counts_its_own_queries() -> None:
    """A segment that came later is packed later; an empty one never."""
    first, later, empty = block_of(), block_of(seed=3), GalleryBlock.of(sides(1, 1)[1][:0])
    for _ in range(PAYS - 2):
        ask(1, [first])
    for _ in range(2):
        ask(1, [first, later, empty])
    assert [is_packed(block) for block in (first, later, empty)] == [True, False, False]
    for _ in range(PAYS - 2):
        ask(1, [later, first, empty])
    assert [is_packed(block) for block in (first, later, empty)] == [True, True, False]


@needs_a_product
def test_codes_outlive_a_removal() -> None:
    block = block_of()
    ask_until_packed(block)
    assert is_packed(block.with_live(torch.arange(PHOTOS) > 3))


@settings(max_examples=25, deadline=None)
@given(
    queries=st.sampled_from([1, 3, 9, 70]),
    sizes=st.lists(st.sampled_from([0, 1, 47, 48, 200]), min_size=1, max_size=4),
    with_codes=st.integers(0, 15),
    dead=st.sampled_from(["none", "some", "a whole block"]),
    k=st.sampled_from([1, 10]),
    in_groups=st.booleans(),
    power=st.sampled_from([1, 2]),
)
def test_the_answer_is_the_oracles_whichever_blocks_have_codes(
    queries: int, sizes: list[int], with_codes: int, dead: str, k: int, in_groups: bool, power: int
) -> None:
    """Some blocks packed and others not, dead rows, and more queries than fit one group."""
    query, gallery = sides(queries, sum(sizes), seed=len(sizes))
    numbers = torch.arange(sum(sizes))
    live = {"none": numbers >= 0, "some": numbers % 3 > 0, "a whole block": numbers >= sizes[0]}[dead]
    blocks, start = [], 0
    for number, size in enumerate(sizes):
        own = slice(start, start + size)
        blocks.append(GalleryBlock.of(gallery[own], None if live[own].all() else live[own]))
        if size and with_codes >> number & 1:
            packed(blocks[-1])
        start += size
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "SPARSE", 0)  # so that few rows are screened too
        patch.setattr(nearest, "ROUNDED_SPARSE", 0)
        if in_groups:
            patch.setattr(nearest, "MATRIX_VALUES", 1)
        found = nearest_rows(query, blocks, k, region_weight_power=power, impl="cpu")
    rows = live.nonzero()[:, 0]
    expected, order = canonical_distance(query, gallery, power)[:, rows].sort(dim=1, stable=True)
    for one, distance, places in zip(found, expected, rows[order], strict=True):
        count = min(k, len(rows))
        assert torch.equal(one.distance[:count], distance[:count])
        assert torch.equal(one.rows[:count], places[:count])


@needs_a_product
@pytest.mark.parametrize(("channels", "codes"), [(65_000, True), (68_000, False)])
def test_rows_too_wide_for_sums_of_32_bits_get_no_codes(channels: int, codes: bool) -> None:
    """Every code as large as it gets: products of up to 255 * 127, of which 66,311 fit into 31 bits."""
    signs = torch.randn(channels, generator=torch.Generator().manual_seed(0)).sign()
    photos = 16 * SPARSE
    factors = torch.linspace(-1, 1, photos)
    gallery = flat((factors[:, None, None] * signs).half())
    query = flat(torch.tensor([1.0, -1.0, 0.999, -0.999])[:, None, None] * signs)
    block = GalleryBlock.of(gallery)
    for _ in range(PAYS):
        found = nearest_rows(query, [block], 1, impl="cpu")
    assert is_packed(block) == codes
    assert [one.rows[:1].tolist() for one in found] == [[photos - 1], [0], [photos - 1], [0]]
    exact = canonical_distance(query, gallery[:: photos - 1]).amin(1)
    assert torch.equal(torch.stack([one.distance[0] for one in found]), exact)
