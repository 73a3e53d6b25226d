"""The bounds hold where they are tight, and without them photos would be lost."""

import pytest
import torch
from torch import Tensor

from benches.cases import Rows
from kernels import distance_topk, eager
from kernels.blocks import GalleryBlock, heaviest, slack_of_differences
from kernels.bounds import direct_error, heaviest_weight, underflow_error
from kernels.reference import canonical_distance, pair_distance


def weighted(levels: Tensor, region: float = 1.0, level: float = 1.0) -> Rows:
    """[N, C] as one region and one level."""
    return Rows((levels[:, None],), torch.full((len(levels), 1), region), torch.full((len(levels), 1, 1), level))


def near_ties() -> tuple[Rows, Rows]:
    """Rows whose distances differ by less than float32 resolves: the order of channels alone moves it there.

    Row n is the query moved by the same values in 4095 channels, in its own order, and by n / 100000 in one more: the
    distances, near 37, ascend with n by parts in 10^13, and float32 knows parts in 10^7.
    """
    generator = torch.Generator().manual_seed(0)
    step = torch.rand(4095, generator=generator).half().float()
    rows = torch.zeros(60, 4096)
    for number in range(60):
        order = torch.randperm(4096, generator=generator)
        rows[number, order[:4095]] = step
        rows[number, order[4095]] = number / 100_000
    return weighted(torch.zeros(1, 4096)), weighted(rows.half())


def squares_rounded_up() -> tuple[Rows, Rows]:
    """The nearest row has 1000 values whose squares are 0.6 of the smallest number of float32, and count as 1 there.

    The others have one value each: farther, and known well.
    """
    smallest = 2.0**-149
    rows = torch.zeros(20, 1000)
    rows[0] = (0.6 * smallest) ** 0.5
    rows[1:, 0] = torch.linspace(700, 800, 19).mul(smallest).sqrt()
    return weighted(torch.zeros(1, 1000)), weighted(rows)


def ranking(query: Rows, gallery: Rows) -> list[list[int]]:
    return distance_topk(query, gallery, 3, impl="reference")[1].tolist()


def by_definition(query: Rows, gallery: Rows) -> list[list[int]]:
    return canonical_distance(query, gallery).sort(dim=1, stable=True).indices[:, :3].tolist()


def test_near_ties_are_ordered_by_what_float32_cannot_see() -> None:
    query, gallery = near_ties()
    for top_k in (1, 10, 30):
        assert distance_topk(query, gallery, top_k)[1].tolist() == [list(range(top_k))]


def test_without_the_relative_bound_photos_would_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation that shows the test above to be sharp: one spare row, and its bound is the float32 distance."""
    query, gallery = near_ties()
    monkeypatch.setattr("kernels.topk.spare", lambda k: 1)
    assert ranking(query, gallery) == by_definition(query, gallery)
    monkeypatch.setattr(eager, "slack_of_differences", lambda *sides: (0.0, slack_of_differences(*sides)[1]))
    assert ranking(query, gallery) != by_definition(query, gallery)


def test_without_the_underflow_bound_photos_would_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = squares_rounded_up()
    monkeypatch.setattr("kernels.topk.spare", lambda k: 1)
    assert ranking(query, gallery) == by_definition(query, gallery)
    monkeypatch.setattr(eager, "slack_of_differences", lambda *sides: (slack_of_differences(*sides)[0], 0.0))
    assert ranking(query, gallery) != by_definition(query, gallery)


def thirds(channels: int) -> tuple[Rows, Rows]:
    """Equal terms: every addition of a long sum rounds the same way."""
    return weighted(torch.full((2, channels), 1 / 3)), weighted(torch.full((3, channels), 1.0))


def cancelling(channels: int) -> tuple[Rows, Rows]:
    generator = torch.Generator().manual_seed(0)
    return (
        weighted(torch.randn(4, channels, generator=generator) + 100, 0.3, 0.7),
        weighted(torch.randn(50, channels, generator=generator) + 100, 0.2, 0.9),
    )


def mixed(channels: int) -> tuple[Rows, Rows]:
    """One large square and many that it swallows when it comes first."""
    query, gallery = cancelling(channels)
    gallery.levels[0][:, :, 0] = 4096.0
    return query, gallery


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("channels", [1, 16, 1280])
@pytest.mark.parametrize("case", [thirds, cancelling, mixed], ids=lambda case: case.__name__)
def test_the_relative_error_of_differences_is_bounded(case, channels: int, power: int) -> None:  # type: ignore[no-untyped-def]
    query, gallery = case(channels)
    found = pair_distance(query, gallery, power)
    assert isinstance(found, Tensor)
    exact = canonical_distance(query, gallery, power)
    error = float(((found.double() - exact).abs() / exact).max())
    assert 0 < error < direct_error([channels], 1) < 1e-4


@pytest.mark.parametrize("scale", [1e-20, 1e-22, 1e-30, 1e-40])
def test_what_underflow_takes_is_bounded(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    query = weighted(scale * torch.randn(4, 30, generator=generator), 0.5, 20.0)
    gallery = weighted(scale * torch.randn(50, 30, generator=generator), 0.5, 30.0)
    found, exact = pair_distance(query, gallery), canonical_distance(query, gallery)
    assert isinstance(found, Tensor)
    weight = heaviest_weight([heaviest(query), GalleryBlock.of(gallery).heaviest], 1)
    assert weight == 30
    bound = direct_error([30], 1) * exact + underflow_error([30], 1, weight)
    assert ((found.double() - exact).abs() <= bound).all()


def test_the_heaviest_weight_of_nothing_is_1() -> None:
    empty = weighted(torch.empty(0, 3))
    assert heaviest(empty) == (0.0, 0.0)
    assert heaviest_weight([heaviest(empty)], 2) == 1.0
