"""Every provider that can run here, on a small gallery: those of our distance find what the oracle finds."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from benches.cases import KINDS, Case, Rows, draw, draw_large
from benches.names import OURS, TUNED
from benches.oracle import oracle
from benches.providers import PROVIDERS, Agreement, Provider
from benches.providers.base import Searcher
from benches.providers.ours import Kernels
from benches.providers.tuned_torch import MULTIPLY
from benches.searches import Search, searches
from kernels.cpu.nearest import PAYS
from kernels.cpu.packed import is_packed
from kernels.reference import canonical_distance

CPU = torch.device("cpu")
CHANNELS = (17, 64, 33)
TOP_K = 10
RECALL = {"torch-bf16": 0.6, "torch-fp16": 0.9}
"""The least share found; other providers compute in float32 and mistake almost nothing."""


@pytest.fixture(scope="module")
def sides() -> tuple[Rows, Rows]:
    return (draw_large(9, CHANNELS, torch.float32, seed=1), draw_large(300, CHANNELS, torch.float16, seed=0))


def recall(found: Tensor, expected: Tensor) -> float:
    return float((found[:, :, None] == expected[:, None]).any(2).double().mean())


MARKS = {
    "cpu": (),
    "cuda": (pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")),
}


@pytest.mark.parametrize(
    ("provider", "device"),
    [
        pytest.param(provider, device, id=f"{provider.name}-{device}", marks=MARKS[device])
        for provider in PROVIDERS
        for device in provider.devices
        if provider.name != "keops"  # it compiles for half a minute: only the benches run it
    ],
)
def test_provider_agrees_with_the_oracle(provider: Provider, device: str, sides: tuple[Rows, Rows]) -> None:
    if reason := provider.why_not(torch.device(device)):
        pytest.skip(reason)
    query, gallery = (side.to(device) for side in sides)
    expected = oracle(query, gallery, TOP_K)
    searcher = provider.prepare(gallery)
    try:
        for count in (1, 9):
            found = searcher.search(query[:count], TOP_K).to(device)
            assert found.shape == (count, TOP_K)
            if provider.agreement is Agreement.EXACT:
                assert torch.equal(found, expected[:count])
            elif provider.agreement is Agreement.RECALL:
                assert recall(found, expected[:count]) >= RECALL.get(provider.name, 0.99)
            else:
                assert found.min() >= 0
    finally:
        searcher.close()


@pytest.mark.parametrize("count", [1, 8])
def test_few_sketches_are_measured_without_codes_however_many_rounds(sides: tuple[Rows, Rows], count: int) -> None:
    query, gallery = sides
    searcher = Kernels(gallery, "cpu")
    for _ in range(PAYS):
        searcher.search(query[:count], TOP_K)
    assert not is_packed(searcher._block)


@pytest.mark.parametrize("kind", KINDS)
def test_oracle_is_the_canonical_ranking(kind: str) -> None:
    query, gallery = draw(Case(3, 127, 10, kind=kind))
    for top_k in (1, 10, 127):
        ranking = canonical_distance(query, gallery).argsort(dim=1, stable=True)
        assert torch.equal(oracle(query, gallery, top_k), ranking[:, :top_k])


@pytest.mark.parametrize("multiply", MULTIPLY)
def test_every_form_of_a_product_is_the_same_product(multiply: str) -> None:
    gallery, query = torch.randn(3, 20, 8), torch.randn(3, 5, 8)
    assert torch.allclose(MULTIPLY[multiply](gallery, query), query @ gallery.transpose(1, 2), atol=1e-5)


def test_goals_and_comparisons_speak_of_providers_that_exist() -> None:
    declared = {provider.name: provider for provider in PROVIDERS}
    assert {*TUNED, *OURS} <= set(declared)
    assert {name for name, provider in declared.items() if provider.agreement is Agreement.EXACT} == set(OURS)


def test_a_search_that_does_not_fit_says_so() -> None:
    provider = next(one for one in PROVIDERS if one.name == "released")
    obstacle = provider.obstacle(Search("densenet169", 20_000, 64, 10), CPU, free_bytes=8 << 30)
    assert obstacle is not None
    assert "doesn't fit: needs about 51.9 GB of the 8.6 GB" in obstacle
    assert provider.obstacle(Search("lite0", 1000, 1, 10), CPU, free_bytes=8 << 30) is None


def test_a_search_that_takes_minutes_says_so() -> None:
    class Nothing(Searcher):
        def search(self, query: Rows, top_k: int) -> Tensor:
            raise NotImplementedError

    slow = Provider("slow", lambda gallery: Nothing(), most_pairs=1000)
    obstacle = slow.obstacle(Search("lite0", 1001, 1, 10), CPU, free_bytes=1 << 40)
    assert obstacle is not None
    assert "1,001 pairs" in obstacle


@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
@pytest.mark.parametrize("sweep", [False, True])
def test_declared_searches_are_distinct_and_gallery_by_gallery(device_type: str, sweep: bool) -> None:
    declared = searches(device_type, sweep)
    assert len(set(declared)) == len(declared)
    galleries = [(search.trunk, search.photos) for search in declared]
    changes = sum(one != other for one, other in pairwise(galleries))
    assert changes == len(set(galleries)) - 1
