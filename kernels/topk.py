"""The k nearest gallery rows, exact to the last rank.

1. An implementation's fast pass gives each query the `k + spare` rows with the smallest *lower bounds* of the canonical
   distance D. 2. Those are rescored by the canonical routine; the k-th smallest D found, T, is at least the true k-th.
3. Where the largest kept lower bound is above T, no other row can be among the k nearest: done, as nearly always.
   Otherwise all rows with a lower bound of at most T are rescored: they hold the answer, ties with rank k included.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.dispatch import Implementation, pick
from kernels.reference import RegionFeatures, check_pair


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
        empty = Nearest(
            torch.empty(0, dtype=torch.int64, device=device), torch.empty(0, dtype=torch.float64, device=device)
        )
        return [empty] * queries
    chosen = pick(impl, query, blocks)
    if k >= total:
        everything = torch.cat(_live_rows(blocks))
        return [_cut(chosen, query, number, blocks, everything, k, region_weight_power) for number in range(queries)]
    lower, rows = chosen.smallest_bounds(query, blocks, min(total, k + spare(k)), region_weight_power)
    distance = _rescored(chosen, query, blocks, lower, rows, k, region_weight_power)
    order = _by_distance_then_row(distance, rows)
    distance, rows = distance.gather(1, order), rows.gather(1, order)
    limit = distance[:, k - 1]
    settled = (lower[:, -1].double() > limit) if rows.shape[1] < total else torch.ones_like(limit, dtype=torch.bool)
    kept = (distance <= limit[:, None]).sum(1).tolist()
    found = [Nearest(rows[i, :n], distance[i, :n]) for i, n in enumerate(kept)]
    for number in settled.logical_not().nonzero()[:, 0].tolist():
        candidates = _within(chosen, query, number, blocks, limit[number], region_weight_power)
        found[number] = _cut(chosen, query, number, blocks, candidates, k, region_weight_power)
    return found


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
    distance = torch.full(rows.shape, torch.inf, dtype=torch.float64, device=rows.device)
    owner = torch.arange(len(rows), device=rows.device)[:, None].expand_as(rows)
    first = chosen.rescore_pairs(query, owner[:, :k].flatten(), blocks, rows[:, :k].flatten(), power)
    distance[:, :k] = first.view(len(rows), k)
    # With sharp bounds few of the spare ones are left.
    open_ = lower.double() <= distance[:, :k].amax(1, keepdim=True)
    open_[:, :k] = False
    distance[open_] = chosen.rescore_pairs(query, owner[open_], blocks, rows[open_], power)
    return distance


def spare(k: int) -> int:
    """Rows kept beyond k, so that the bounds' slack seldom leaves a query open."""
    return 8 + k // 8


def _within(
    chosen: Implementation,
    query: RegionFeatures,
    number: int,
    blocks: Sequence[GalleryBlock],
    limit: Tensor,
    power: int,
) -> Tensor:
    """All live rows whose lower bound for one query is at most `limit`."""
    one, first, found = _select(query, number), 0, []
    for block in blocks:
        close = chosen.lower_bounds(one, block, power)[0].double() <= limit
        if block.live is not None:
            close &= block.live
        found.append(close.nonzero()[:, 0] + first)
        first += len(block)
    return torch.cat(found)


def _cut(
    chosen: Implementation,
    query: RegionFeatures,
    number: int,
    blocks: Sequence[GalleryBlock],
    candidates: Tensor,
    k: int,
    power: int,
) -> Nearest:
    """The answer among `candidates`, rows in ascending order that hold it."""
    owner = torch.full_like(candidates, number)
    distance, order = chosen.rescore_pairs(query, owner, blocks, candidates, power).sort(stable=True)
    kept = int((distance <= distance[min(k, len(distance)) - 1]).sum())
    return Nearest(candidates[order[:kept]], distance[:kept])


def _by_distance_then_row(distance: Tensor, rows: Tensor) -> Tensor:
    """The order [Q, K] by (distance, row)."""
    by_row = rows.argsort(1)
    return by_row.gather(1, distance.gather(1, by_row).argsort(dim=1, stable=True))


def _live_rows(blocks: Sequence[GalleryBlock]) -> list[Tensor]:
    result, first = [], 0
    for block in blocks:
        rows = torch.arange(len(block), device=block.device) if block.live is None else block.live.nonzero()[:, 0]
        result.append(rows + first)
        first += len(block)
    return result


class _One:
    """One query of several."""

    def __init__(self, query: RegionFeatures, number: int) -> None:
        self.levels = tuple(level[number : number + 1] for level in query.levels)
        self.region_weights = query.region_weights[number : number + 1]
        self.level_weights = query.level_weights[number : number + 1]


def _select(query: RegionFeatures, number: int) -> RegionFeatures:
    return _One(query, number)
