"""The k nearest photos by way of short codes: the float64 ranking, from a few percent of the stored features.

1. A screen gives every photo a lower bound of its distance, and an estimate. 2. The photos with the smallest estimates
are rescored by the canonical routine; the k-th smallest distance found, T, is at least the true k-th. 3. Photos with a
lower bound of at most T, nearest bound first, are rescored too, and T falls; nothing else can be among the k nearest.
Where more photos are left than rescoring pays for, the exact scan answers instead: the answer is the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.cpu.short import screen
from kernels.cpu.smallest import smallest
from kernels.dispatch import Implementation, pick
from kernels.reference import RegionFeatures, check_pair
from kernels.short.codes import ShortCodes
from kernels.short.queries import ShortQueries, prepare
from kernels.topk import Nearest, nearest

SEEDS = 14
"""Photos rescored for the first T, beyond k and a quarter of it: estimates are within a percent or two."""
FIRST_ROUND = 512
"""Survivors rescored before T is looked at again; twice as many in each round that follows."""
SCAN_SHARE = 8
"""Where more than one photo in this many survives, a scan of all rows in their order takes less time than rescoring."""
FEW = 1024
"""As many survivors are always rescored."""
MATRIX_VALUES = 1 << 24
"""Bounds held at a time: 64 MB. More sketches than fit come in groups."""


@dataclass(frozen=True)
class CodedRun:
    """Blocks of gallery rows, and the short codes of all their rows; None: their features are screened instead."""

    blocks: tuple[GalleryBlock, ...]
    codes: ShortCodes | None

    def __post_init__(self) -> None:
        rows = sum(map(len, self.blocks))
        if self.codes is not None and len(self.codes) != rows:
            raise ValueError(f"codes of {len(self.codes)} photos for {rows} rows; encode the rows anew")


@dataclass(frozen=True)
class Screened:
    """One answer, and what it took.

    nearest: as `kernels.topk.nearest` gives it. certified: whether it is proven to be the float64 ranking.
    survivors: photos that the screen left possible at the first T. rescored: photos whose float64 distance was
    computed. fell_through: whether the exact scan answered.
    """

    nearest: Nearest
    certified: bool
    survivors: int
    rescored: int
    fell_through: bool


def nearest_screened(
    query: RegionFeatures,
    runs: Sequence[CodedRun],
    k: int,
    *,
    region_weight_power: int = 1,
    impl: str = "auto",
    most: int | None = None,
) -> list[Screened]:
    """The k nearest live rows of several runs, and every row that ties with rank k; one answer for each sketch.

    Rows are numbered over all blocks of all runs. query: features of Q sketches; all on the CPU. impl: as for
    `kernels.topk.nearest`.
    most: rescore no more photos than this for a sketch, and never scan: the answer may then not be proven.
    Raises `ValueError` for sides that don't match, or k or `most` below 1.
    """
    if k < 1 or (most is not None and most < 1):
        raise ValueError(f"k is {k}, most is {most}; expected at least 1")
    blocks = [block for run in runs for block in run.blocks]
    for block in blocks:
        check_pair(query, block, region_weight_power)
    chosen = pick(impl, query, blocks)
    total = sum(map(len, blocks))
    group = max(4, MATRIX_VALUES // max(1, 2 * total) // 4 * 4)
    found = []
    for start in range(0, len(query.region_weights), group):
        part = _Rows(query, slice(start, start + group))
        found += _Group(chosen, part, runs, k, region_weight_power, most).answers(impl)
    return found


class _Group:
    """Some sketches on their way to their answers."""

    def __init__(
        self,
        chosen: Implementation,
        query: RegionFeatures,
        runs: Sequence[CodedRun],
        k: int,
        power: int,
        most: int | None,
    ) -> None:
        self._chosen, self._query, self._k, self._power, self._most = chosen, query, k, power, most
        self._blocks = [block for run in runs for block in run.blocks]
        self._live = sum(block.live_count for block in self._blocks)
        self._lower, self._estimate = self._screened(runs)

    def _screened(self, runs: Sequence[CodedRun]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Bounds and estimates of all rows, infinite for dead ones: float32 [Q, N]."""
        queries: dict[str, ShortQueries] = {}
        empty = np.empty((len(self._query.region_weights), 0), np.float32)
        lower, estimate = [], []
        for run in runs:
            if (codes := run.codes) is None:
                parts = [self._chosen.lower_bounds(self._query, block, self._power).numpy() for block in run.blocks]
                bounds = np.concatenate([empty, *parts], 1)
                pair = (bounds, bounds.copy())
            else:
                if (name := codes.basis.name) not in queries:
                    levels = [level.numpy() for level in self._query.levels]
                    weights = self._query.region_weights.numpy(), self._query.level_weights.numpy()
                    queries[name] = prepare(codes.basis, levels, *weights)
                pair = tuple(screen(queries[name], codes, self._power))  # type: ignore[assignment]
            first = 0
            for block in run.blocks:
                if block.live is not None:
                    dead = np.flatnonzero(~block.live.numpy()) + first
                    pair[0][:, dead] = pair[1][:, dead] = np.inf
                first += len(block)
            lower.append(pair[0])
            estimate.append(pair[1])
        if len(runs) == 1:
            return lower[0], estimate[0]
        return np.concatenate([empty, *lower], 1), np.concatenate([empty, *estimate], 1)

    def answers(self, impl: str) -> list[Screened]:
        """The answer of each sketch."""
        queries = len(self._lower)
        seeds = min(self._live, self._k + self._k // 4 + SEEDS, self._most or self._live)
        if not seeds:
            empty = Nearest(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64))
            return [Screened(empty, True, 0, 0, False)] * queries
        _, rows = smallest(self._estimate, seeds)
        distance = self._rescored(np.repeat(np.arange(queries), seeds), rows.ravel()).reshape(rows.shape)
        return [self._answer(number, rows[number], distance[number], impl) for number in range(queries)]

    def _answer(self, number: int, rows: NDArray[np.int64], distance: NDArray[np.float64], impl: str) -> Screened:
        """One sketch's answer from the rows rescored so far."""
        lower = self._lower[number]
        limit = _kth(distance, self._k)
        left = np.flatnonzero(lower <= _above(limit))
        survivors = len(left)
        left = np.setdiff1d(left, rows, assume_unique=True)
        if self._most is None and len(left) > max(FEW, self._live // SCAN_SHARE):
            one = _Rows(self._query, slice(number, number + 1))
            answer = nearest(one, self._blocks, self._k, region_weight_power=self._power, impl=impl)[0]
            return Screened(answer, True, survivors, self._live, True)
        if self._most is not None and len(left) > self._most - len(rows):
            # No proof is to be had by this: so the ones that look nearest.
            left = left[np.argsort(self._estimate[number, left], kind="stable")[: self._most - len(rows)]]
            cut_short = True
        else:
            left = left[np.argsort(lower[left], kind="stable")]
            cut_short = False
        size = FIRST_ROUND
        while len(left):
            now, left = left[:size], left[size:]
            more = self._rescored(np.full(len(now), number), now)
            rows, distance = np.concatenate((rows, now)), np.concatenate((distance, more))
            limit = _kth(distance, self._k)
            left = left[lower[left] <= _above(limit)]
            size *= 2
        certified = not cut_short or self._proven(number, rows, limit)
        order = np.lexsort((rows, distance))
        kept = order[: int((distance <= limit).sum())]
        answer = Nearest(torch.from_numpy(rows[kept]), torch.from_numpy(distance[kept]))
        return Screened(answer, certified, survivors, len(rows), False)

    def _proven(self, number: int, rows: NDArray[np.int64], limit: float) -> bool:
        """Whether all rows that may be within the limit were rescored."""
        possible = np.flatnonzero(self._lower[number] <= _above(limit))
        return len(np.setdiff1d(possible, rows, assume_unique=True)) == 0

    def _rescored(self, owner: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        found = self._chosen.rescore_pairs(
            self._query, torch.from_numpy(owner), self._blocks, torch.from_numpy(rows), self._power
        )
        result: NDArray[np.float64] = found.numpy()
        return result


def _kth(distance: NDArray[np.float64], k: int) -> float:
    """The k-th smallest distance; infinity where there are fewer: then every live row counts."""
    return float(np.partition(distance, k - 1)[k - 1]) if len(distance) >= k else np.inf


def _above(limit: float) -> np.float32:
    """The limit in float32, not below: bounds are compared in their own type. Dead rows, at infinity, stay out."""
    above = min(np.nextafter(np.float32(limit), np.float32(np.inf)), np.finfo(np.float32).max)
    return np.float32(above)


class _Rows:
    """Some of the sketches."""

    def __init__(self, query: RegionFeatures, part: slice) -> None:
        self.levels: tuple[Tensor, ...] = tuple(level[part] for level in query.levels)
        self.region_weights = query.region_weights[part]
        self.level_weights = query.level_weights[part]
