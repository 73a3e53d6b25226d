"""The k nearest gallery rows, exact to the last rank.

1. An implementation's fast pass gives each query the `k + spare` rows, or more, with the smallest *lower bounds* of
   the canonical distance D. 2. The first k are rescored by the canonical routine, then those whose bound is within the
   largest D of these, and, where these are many, a sharper bound of each pair too; the k-th smallest D found, T, is at
   least the true k-th. 3. Where the largest lower bound is above T, no other row can be among the k nearest, ties with
   rank k included: done, as nearly always. Otherwise the queries that are left ask for more bounds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.dispatch import Implementation, pick
from kernels.reference import FeatureTensors, RegionFeatures, check_pair

MORE = 4
"""A query that is left asks for so many times as many bounds."""
WORTH_BOUNDING = 512
"""Pairs from which on bounds of their own, before float64, save more than another call costs."""


@dataclass(frozen=True)
class Nearest:
    """What was found for one query: every row whose distance is at most that of rank k, so more than k under ties.

    rows: int64 [n], numbers over all blocks, one block after the other. distance: float64 [n], canonical, ascending;
    equal distances in the order of their rows.
    """

    rows: Tensor
    distance: Tensor


class Settled(NamedTuple):
    """As `Nearest`, for n queries at once.

    queries: int64 [n], their numbers. rows: int64 [n, m] and distance: float64 [n, m], of which `kept` [n] count.
    """

    queries: Tensor
    rows: Tensor
    distance: Tensor
    kept: Tensor


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
    device = query.region_weights.device
    nothing = Nearest(
        torch.empty(0, dtype=torch.int64, device=device), torch.empty(0, dtype=torch.float64, device=device)
    )
    found = [nothing] * len(query.region_weights)
    for part in settled(query, blocks, k, region_weight_power=region_weight_power, impl=impl):
        answers = zip(part.queries.tolist(), part.rows, part.distance, part.kept.tolist(), strict=True)
        for number, rows, distance, kept in answers:
            found[number] = Nearest(rows[:kept], distance[:kept])
    return found


def settled(
    query: RegionFeatures,
    blocks: Sequence[GalleryBlock],
    k: int,
    *,
    region_weight_power: int = 1,
    impl: str = "auto",
) -> Iterator[Settled]:
    """As `nearest`, in nearly always one part; none of a gallery without live rows."""
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1")
    for block in blocks:
        check_pair(query, block, region_weight_power)
    queries, device = query.region_weights.shape[0], query.region_weights.device
    total = sum(block.live_count for block in blocks)
    if not queries or not total:
        return
    chosen = pick(impl, query, blocks)
    open_, count = torch.arange(queries, device=device), k + spare(k)
    while True:
        part = GalleryBlock.of(query if len(open_) == queries else _rows(query, open_))
        lower, rows = chosen.smallest_bounds(part, blocks, min(count, total), region_weight_power)
        distance, rows = _ranked(_rescored(chosen, part, blocks, lower, rows, k, region_weight_power), rows)
        limit = distance[:, min(k, distance.shape[1]) - 1]
        kept = (distance <= limit[:, None]).sum(1)
        enough = lower[:, -1].double() > limit
        # Both at once: on a GPU each is a wait.
        done, most = torch.stack((enough.sum(), kept.max())).tolist()
        if done == len(open_) or rows.shape[1] == total:
            yield Settled(open_, rows[:, :most], distance[:, :most], kept)
            return
        yield Settled(open_[enough], rows[enough, :most], distance[enough, :most], kept[enough])
        open_, count = open_[~enough], count * MORE


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
    # With sharp bounds few of the spare ones are left; of those, sharper ones of the pairs leave fewer.
    spare_rows, limit = rows[:, k:], first.amax(1, keepdim=True)
    others = torch.full(spare_rows.shape, torch.inf, dtype=torch.float64, device=rows.device)
    owner, place = (lower[:, k:].double() <= limit).nonzero(as_tuple=True)
    if len(owner):
        worth = len(owner) >= WORTH_BOUNDING
        bounds = chosen.bounds_of_pairs(query, owner, blocks, spare_rows[owner, place], power) if worth else None
        if bounds is not None:
            near = bounds.double() <= limit[owner, 0]
            owner, place = owner[near], place[near]
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
