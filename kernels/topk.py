"""The k nearest gallery rows, exact to the last rank.

1. An implementation's fast pass gives each query the `k + spare` rows, or more, with the smallest *lower bounds* of
   the canonical distance D. 2. The first k are rescored by the canonical routine, then those whose bound is within the
   largest D of these; the k-th smallest D found, T, is at least the true k-th. 3. Where the largest lower bound is
   above T, no other row can be among the k nearest, ties with rank k included: done, as nearly always. Otherwise the
   queries that are left ask for more bounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.dispatch import Implementation, pick
from kernels.reference import FeatureTensors, RegionFeatures, check_pair

MORE = 4
"""A query that is left asks for so many times as many bounds."""


@dataclass(frozen=True)
class Nearest:
    """What was found for one query: every row whose distance is at most that of rank k, so more than k under ties.

    rows: int64 [n], numbers over all blocks, one block after the other. distance: float64 [n], canonical, ascending;
    equal distances in the order of their rows.
    """

    rows: Tensor
    distance: Tensor


def nearest(
    query: RegionFeatures,
    blocks: Sequence[GalleryBlock],
    k: int,
    *,
    region_weight_power: int = 1,
    impl: str = "auto",
) -> list[Nearest]:
    """The k nearest live rows of several blocks, searched as one gallery, and every row that ties with rank k.

    query: features of Q images; blocks: on the same device. impl: "auto", or one of `kernels.dispatch.IMPLEMENTATIONS`.
    Returns one `Nearest` for each query; all live rows where there are no more than k.
    Raises `ValueError` for sides that don't match or k below 1, `ImplementationError` for an `impl` that can't run.
    """
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1")
    for block in blocks:
        check_pair(query, block, region_weight_power)
    queries, device = query.region_weights.shape[0], query.region_weights.device
    total = sum(block.live_count for block in blocks)
    if not queries or not total:
        return [_nothing(device)] * queries
    chosen = pick(impl, query, blocks)
    found, open_, count = [_nothing(device)] * queries, list(range(queries)), k + spare(k)
    while open_:
        part = GalleryBlock.of(query if len(open_) == queries else _rows(query, torch.tensor(open_, device=device)))
        settled = _attempt(chosen, part, blocks, k, min(count, total), region_weight_power)
        for number, one in zip(open_, settled, strict=True):
            if one is not None:
                found[number] = one
        open_ = [number for number, one in zip(open_, settled, strict=True) if one is None]
        count *= MORE
    return found


def _nothing(device: torch.device) -> Nearest:
    return Nearest(torch.empty(0, dtype=torch.int64, device=device), torch.empty(0, dtype=torch.float64, device=device))


def _attempt(
    chosen: Implementation, query: GalleryBlock, blocks: Sequence[GalleryBlock], k: int, count: int, power: int
) -> list[Nearest | None]:
    """What the `count` smallest bounds settle; None for a query that needs more of them."""
    lower, rows = chosen.smallest_bounds(query, blocks, count, power)
    distance, rows = _ranked(_rescored(chosen, query, blocks, lower, rows, k, power), rows)
    limit = distance[:, min(k, distance.shape[1]) - 1]
    everything = rows.shape[1] == sum(block.live_count for block in blocks)
    enough = torch.ones_like(limit, dtype=torch.bool) if everything else lower[:, -1].double() > limit
    # Both at once: on a GPU each is a wait.
    kept, settled = torch.stack(((distance <= limit[:, None]).sum(1), enough)).tolist()
    # All queries at once: slicing one by one takes a thousand of them 5 ms. Only ties differ in length.
    most = max(kept)
    found = zip(rows[:, :most].unbind(), distance[:, :most].unbind(), kept, settled, strict=True)
    return [Nearest(_first(row, n), _first(own, n)) if done else None for row, own, n, done in found]


def _first(values: Tensor, count: int) -> Tensor:
    return values if count == len(values) else values[:count]


def _rescored(
    chosen: Implementation,
    query: RegionFeatures,
    blocks: Sequence[GalleryBlock],
    lower: Tensor,
    rows: Tensor,
    k: int,
    power: int,
) -> Tensor:
    """Canonical distances of the candidates, [Q, K]; infinity for those that k others keep from the answer."""
    owner = torch.arange(len(rows), device=rows.device)[:, None].expand_as(rows)
    first = chosen.rescore_pairs(query, owner[:, :k].flatten(), blocks, rows[:, :k].flatten(), power)
    first = first.view(len(rows), -1)
    # With sharp bounds few of the spare ones are left.
    spare_rows, open_ = rows[:, k:], lower[:, k:].double() <= first.amax(1, keepdim=True)
    others = torch.full(open_.shape, torch.inf, dtype=torch.float64, device=rows.device)
    owner, place = open_.nonzero(as_tuple=True)
    if len(owner):
        others[owner, place] = chosen.rescore_pairs(query, owner, blocks, spare_rows[owner, place], power)
    return torch.cat((first, others), 1)


def spare(k: int) -> int:
    """Rows kept beyond k, so that the bounds' slack seldom leaves a query open."""
    return 8 + k // 8


def _ranked(distance: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Both [Q, K] in the order of (distance, row); of infinite distances in any."""
    ordered, order = distance.sort(1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & ordered[:, 1:].isfinite()).any():
        by_row = rows.argsort(1)
        order = by_row.gather(1, distance.gather(1, by_row).argsort(dim=1, stable=True))
        ordered = distance.gather(1, order)
    return ordered, rows.gather(1, order)


def _rows(features: RegionFeatures, rows: Tensor) -> RegionFeatures:
    return FeatureTensors.of(features, lambda values: values[rows])
