"""Bounds of chosen pairs: never above the canonical distance, near it, and above it without their slack."""

import pytest
import torch

from benches.cases import Rows
from kernels.blocks import GalleryBlock
from kernels.bounds import direct_error
from kernels.cpu import direct_pairs
from kernels.cpu.direct_pairs import bounds_of_pairs
from kernels.reference import canonical_distance
from tests.kernels.hard_cases import HARD, STORED, Side, sides
from tests.kernels.test_bounds import squares_rounded_up, weighted


def split(gallery: Side, *ends: int) -> list[GalleryBlock]:
    starts = (0, *ends)
    return [GalleryBlock.of(gallery[a:b]) for a, b in zip(starts, (*ends, len(gallery.region_weights)), strict=True)]


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("name", HARD)
def test_they_are_never_above_the_distance(name: str, power: int) -> None:
    query, gallery = HARD[name]
    owner, rows = (
        one.flatten()
        for one in torch.meshgrid(torch.arange(5), torch.arange(len(gallery.region_weights)), indexing="ij")
    )
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    found = bounds_of_pairs(query, owner[order], split(gallery, 40, 41), rows[order], power)
    distance = canonical_distance(query, gallery, power)[owner[order], rows[order]]
    assert found.dtype == torch.float32
    assert (found >= 0).all()
    assert (found.double() <= distance).all()


@pytest.mark.parametrize("fewest", [1, 10_000], ids=["many runs", "one"])
@pytest.mark.parametrize("together", [1, 3, 128])
@pytest.mark.parametrize("stored", STORED)
def test_they_are_near_the_distance(
    stored: torch.dtype, together: int, fewest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within twice what float32 may be off: as many photos are in doubt as it takes, and no more."""
    monkeypatch.setattr(direct_pairs, "FEWEST_PAIRS", fewest)
    monkeypatch.setattr(direct_pairs, "TOGETHER", together)
    query, gallery = sides(7, 90, stored, channels=(1, 63, 128, 130))
    generator = torch.Generator().manual_seed(0)
    owner, rows = torch.randint(7, (300,), generator=generator), torch.randint(90, (300,), generator=generator)
    found = bounds_of_pairs(query, owner, split(gallery, 40, 41), rows)
    distance = canonical_distance(query, gallery)[owner, rows]
    assert (found.double() <= distance).all()
    assert (found.double() >= distance * (1 - 2 * direct_error((130,) * 4, 3) - 2.0**-19)).all()


def test_no_pairs_and_rows_that_are_not_there() -> None:
    query, gallery = sides(2, 9)
    none = torch.empty(0, dtype=torch.int64)
    assert bounds_of_pairs(query, none, split(gallery, 4), none).shape == (0,)
    with pytest.raises(IndexError, match="rows 3 to 9; expected 0 to 8"):
        bounds_of_pairs(query, torch.zeros(2, dtype=torch.int64), split(gallery, 4), torch.tensor([3, 9]))


def same_way(channels: int) -> tuple[Rows, Rows]:
    """Rows of equal values: in some the additions of a long sum round up more than down."""
    return weighted(torch.zeros(1, channels)), weighted(torch.linspace(0.1, 1, 40)[:, None].repeat(1, channels))


@pytest.mark.parametrize(
    ("dropped", "case"), [(0, same_way(1 << 16)), (1, squares_rounded_up())], ids=["relative", "absolute"]
)
def test_without_their_slack_they_would_be_above(
    dropped: int, case: tuple[Rows, Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    query, gallery = case
    rows = torch.arange(len(gallery))
    exact, distance = direct_pairs.slack_of_differences, canonical_distance(query, gallery)[0]
    found = bounds_of_pairs(query, rows * 0, [GalleryBlock.of(gallery)], rows)
    assert (found.double() <= distance).all()
    monkeypatch.setattr(
        direct_pairs,
        "slack_of_differences",
        lambda *given: tuple(0.0 if number == dropped else one for number, one in enumerate(exact(*given))),
    )
    found = bounds_of_pairs(query, rows * 0, [GalleryBlock.of(gallery)], rows)
    assert (found.double() > distance).any()
