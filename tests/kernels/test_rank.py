"""Ranks against their definition."""

import pytest
import torch

from benches.cases import KINDS, Case, draw
from kernels import GalleryBlock, distance_rank
from kernels.reference import canonical_distance

IMPLEMENTATIONS = ("reference", "cpu")


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "dead-rows"])
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_rank_counts_the_rows_that_are_at_most_as_far(dtype: str, kind: str, impl: str) -> None:
    query, gallery = draw(Case(7, 300, 1, dtype, kind))
    distance = canonical_distance(query, gallery)
    # The nearest, the farthest, and some between.
    own = distance.argsort(1)[torch.arange(7), torch.tensor([0, 299, 1, 2, 50, 150, 298])]
    expected = (distance <= distance.gather(1, own[:, None])).sum(1)
    assert torch.equal(distance_rank(query, gallery, own, impl=impl), expected)


def test_dead_rows_have_no_rank() -> None:
    query, gallery = draw(Case(3, 60, 1, "fp16", "dead-rows"))
    assert gallery.live is not None
    distance = canonical_distance(query, gallery)
    own = torch.full((3,), int(gallery.live.nonzero()[0]))
    expected = ((distance <= distance.gather(1, own[:, None])) & gallery.live).sum(1)
    assert (expected < (distance <= distance.gather(1, own[:, None])).sum(1)).any()
    assert torch.equal(distance_rank(query, GalleryBlock.of(gallery, gallery.live), own), expected)


def test_no_queries_have_no_ranks() -> None:
    query, gallery = draw(Case(2, 5, 1))
    assert distance_rank(query[:0], gallery, torch.empty(0, dtype=torch.int64)).shape == (0,)
