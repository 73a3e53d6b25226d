"""The k nearest photos by way of short codes: the float64 ranking, from a few percent of the stored features.

1. A screen gives every photo a lower bound of its distance, and an estimate. 2. The photos with the smallest estimates,
of all or of a sample, are rescored by the canonical routine; the k-th smallest distance found, T, is at least the true
k-th. 3. Photos with a lower bound of at most T, smallest estimate first, are rescored too, and T falls; nothing else
can be among the k nearest. On the CPU their rows pass float32 differences first, which keep nearly all of them out.
Where more photos are left than this pays for, the exact scan answers instead: the answer is the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.dispatch import Implementation, pick, screening
from kernels.reference import FeatureTensors, RegionFeatures, check_pair
from kernels.short.queries import ShortQueries, prepare
from kernels.short.screens import Codes, MatrixScreen, Possible, Screen
from kernels.topk import Nearest, nearest

SEEDS = 14
"""Photos rescored for the first T, beyond k and a quarter of it: estimates are within a percent or two."""
FIRST_ROUND = 512
"""Of the survivors that look nearer than T, so many rows are read before T is looked at again."""
LATER_ROUND = 2048
"""And of the others, round by round."""
SCAN_SHARE = 8
"""Where more than one photo in this many survives, all rows are scanned in their order."""
FEW = 1024
"""So many survivors are always read one by one."""
MATRIX_VALUES = 1 << 24
"""Bounds held at a time: 64 MB. More sketches than fit come in groups."""


@dataclass(frozen=True)
class CodedRun:
    """Blocks of gallery rows, and the short codes of all their rows; None: their features are screened instead."""

    blocks: tuple[GalleryBlock, ...]
    codes: Codes | None

    def __post_init__(self) -> None:
        if self.codes is None:
            return
        if len(self.codes) != len(self):
            raise ValueError(f"codes of {len(self.codes)} photos for {len(self)} rows; encode the rows anew")
        for block in self.blocks:  # or the slack of float32 differences would need the weights of all photos
            block.weigh(*map(float, self.codes.scales.heaviest))

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def live(self) -> Tensor | None:
        """Which rows may be returned, bool [N]; None: all."""
        if all(block.live is None for block in self.blocks):
            return None
        return torch.cat(
            [
                torch.ones(len(block), dtype=torch.bool, device=block.device) if block.live is None else block.live
                for block in self.blocks
            ]
        )


@dataclass(frozen=True)
class Screened:
    """One answer, and what it took.

    nearest: as `kernels.topk.nearest` gives it. certified: whether it is proven to be the float64 ranking.
    survivors: photos that the screen leaves possible, once those that look nearest have been rescored. rescored: photos
    whose float64 distance was computed. rows_read: rows whose features were read, each as often as it was from memory
    or disk. fell_through: whether the exact scan answered.
    """

    nearest: Nearest
    certified: bool
    survivors: int
    rescored: int
    rows_read: int
    fell_through: bool


def nearest_screened(
    query: RegionFeatures,
    runs: Sequence[CodedRun],
    k: int,
    *,
    region_weight_power: int = 1,
    impl: str = "auto",
    most: int | None = None,
    ahead: Callable[[NDArray[np.int64] | None], None] = lambda rows: None,
) -> list[Screened]:
    """The k nearest live rows of several runs, and every row that ties with rank k; one answer for each sketch.

    Rows are numbered over all blocks of all runs. query: features of Q sketches, on the blocks' device; codes may be
    held by another. impl: as for `kernels.topk.nearest`. Answers are on the CPU.
    most: read the features of no more photos than this for a sketch, and never scan: the answer may then not be proven.
    ahead: told the numbers of rows, int64 [n], before their features are read, and None before a scan reads all: where
    they lie on a disk, it may ask for them.
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
        part = _rows(query, slice(start, start + group))
        found += _Group(chosen, part, runs, k, region_weight_power, most, ahead).answers(impl)
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
        ahead: Callable[[NDArray[np.int64] | None], None],
    ) -> None:
        self._chosen, self._query, self._k, self._power, self._most = chosen, query, k, power, most
        self._ahead = ahead
        self._blocks = [block for run in runs for block in run.blocks]
        self._live = sum(block.live_count for block in self._blocks)
        self._screens = self._screened(runs)

    def _screened(self, runs: Sequence[CodedRun]) -> list[tuple[int, Screen]]:
        """The number of each run's first row, and its screen."""
        queries: dict[str, ShortQueries] = {}
        screens: list[tuple[int, Screen]] = []
        first = 0
        for run in runs:
            if len(run):
                screens.append((first, self._screen(run, queries)))
            first += len(run)
        return screens

    def _screen(self, run: CodedRun, queries: dict[str, ShortQueries]) -> Screen:
        """queries: the sketches along the bases met so far, by name."""
        if (codes := run.codes) is None:
            lower = torch.cat([self._chosen.lower_bounds(self._query, block, self._power) for block in run.blocks], 1)
            if (live := run.live) is not None:
                lower.masked_fill_(~live, torch.inf)
            bounds = lower.cpu().numpy()
            return MatrixScreen(bounds, bounds)
        if (name := codes.basis.name) not in queries:
            levels = [level.cpu().numpy() for level in self._query.levels]
            weights = (self._query.region_weights, self._query.level_weights)
            queries[name] = prepare(codes.basis, levels, *(one.cpu().numpy() for one in weights))
        return screening(codes.held_by).screen_codes(queries[name], codes, run.live, self._power)

    def answers(self, impl: str) -> list[Screened]:
        """The answer of each sketch."""
        queries = len(self._query.region_weights)
        seeds = min(self._live, self._k + self._k // 4 + SEEDS, self._most or self._live)
        if not seeds:
            empty = Nearest(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64))
            return [Screened(empty, True, 0, 0, 0, False)] * queries
        rows = self._likely(seeds)
        known = rows >= 0
        distance = np.full(rows.shape, np.inf)
        self._ahead(rows[known])
        distance[known] = self._rescored(*self._pairs(np.nonzero(known)[0], rows[known]))
        possible = self._possible(np.array([_above(_kth(one, self._k)) for one in distance], np.float32))
        return [
            self._answer(number, _Read(rows[number, own], distance[number, own]), possible[number], impl)
            for number, own in enumerate(known)
        ]

    def _likely(self, count: int) -> NDArray[np.int64]:
        """The rows of the smallest estimates over all runs, [Q, count]; -1 where there are fewer."""
        found = [(first, screen.likely(count)) for first, screen in self._screens]
        estimate = np.concatenate([one.estimate for _, one in found], 1)
        rows = np.concatenate([np.where(one.rows < 0, -1, one.rows + first) for first, one in found], 1)
        return np.take_along_axis(rows, np.argsort(estimate, 1, kind="stable")[:, :count], 1)

    def _possible(self, limits: NDArray[np.float32]) -> list[Possible]:
        """The rows within the limits over all runs."""
        parts = [[one.behind(first) for one in screen.possible(limits)] for first, screen in self._screens]
        return [Possible.joined(own) for own in zip(*parts, strict=True)]

    def _answer(self, number: int, done: "_Read", possible: Possible, impl: str) -> Screened:
        """One sketch's answer from the rows rescored so far, and those that may be nearer than their k-th."""
        limit = _kth(done.distance, self._k)
        left = possible.of(~np.isin(possible.rows, done.rows))
        left = left.of(np.lexsort((left.rows, left.estimate)))  # those that look nearest bring the limit down
        room = len(left) if self._most is None else self._most - len(done.rows)
        # After a sample these are some, and T is then what it would have been without one.
        nearer = min(room, FIRST_ROUND, int(np.searchsorted(left.estimate, limit)))
        if nearer:
            done, left, room = (
                self._further(number, done, left.of(slice(nearer))),
                left.of(slice(nearer, None)),
                room - nearer,
            )
            limit = _kth(done.distance, self._k)
            left = left.of(left.lower <= _above(limit))
        survivors = int((possible.lower <= _above(limit)).sum()) if possible.complete else possible.count
        if self._most is None and (not possible.complete or len(left) > max(FEW, self._live // SCAN_SHARE)):
            self._ahead(None)
            one = _rows(self._query, slice(number, number + 1))
            answer = nearest(one, self._blocks, self._k, region_weight_power=self._power, impl=impl)[0]
            scanned = Nearest(answer.rows.cpu(), answer.distance.cpu())
            read = len(done.rows) + sum(map(len, self._blocks))
            return Screened(scanned, True, survivors, self._live, read, True)
        left = left.of(slice(room))  # no more than `most`: so the ones that look nearest
        while len(left):
            now, left = left.of(slice(LATER_ROUND)), left.of(slice(LATER_ROUND, None))
            done = self._further(number, done, now)
            limit = _kth(done.distance, self._k)
            left = left.of(left.lower <= _above(limit))
        within = possible.rows[possible.lower <= _above(limit)]
        certified = possible.complete and bool(np.isin(within, done.rows).all())
        order = np.lexsort((done.rows, done.distance))
        kept = order[: int((done.distance <= limit).sum())]
        answer = Nearest(torch.from_numpy(done.rows[kept]), torch.from_numpy(done.distance[kept]))
        rescored = int(np.isfinite(done.distance).sum())
        return Screened(answer, certified, survivors, rescored, len(done.rows), False)

    def _further(self, number: int, done: "_Read", now: Possible) -> "_Read":
        """Read more rows, and rescore those that a bound by their features leaves within the k-th distance so far."""
        self._ahead(now.rows)
        distance, pairs = np.full(len(now), np.inf), self._pairs(np.full(len(now), number), now.rows)
        bounds = self._chosen.bounds_of_pairs(self._query, pairs[0], self._blocks, pairs[1], self._power)
        if bounds is None:
            distance = self._rescored(*pairs)
        elif (near := bounds <= float(_above(_kth(done.distance, self._k)))).any():
            distance[near.numpy()] = self._rescored(*(one[near] for one in pairs))
        return _Read(np.concatenate((done.rows, now.rows)), np.concatenate((done.distance, distance)))

    def _rescored(self, owner: Tensor, rows: Tensor) -> NDArray[np.float64]:
        found = self._chosen.rescore_pairs(self._query, owner, self._blocks, rows, self._power)
        result: NDArray[np.float64] = found.cpu().numpy()
        return result

    def _pairs(self, owner: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        device = self._query.region_weights.device
        return torch.from_numpy(owner).to(device), torch.from_numpy(rows).to(device)


class _Read(NamedTuple):
    """Rows of one sketch that were read, int64 [n], and their canonical distances, float64 [n].

    Infinity for a row that is farther than the k-th: its distance wasn't computed.
    """

    rows: NDArray[np.int64]
    distance: NDArray[np.float64]


def _kth(distance: NDArray[np.float64], k: int) -> float:
    """The k-th smallest distance; infinity where there are fewer: then every live row counts."""
    return float(np.partition(distance, k - 1)[k - 1]) if len(distance) >= k else np.inf


def _above(limit: float) -> np.float32:
    """The limit in float32, not below: bounds are compared in their own type. Dead rows, at infinity, stay out."""
    above = min(np.nextafter(np.float32(limit), np.float32(np.inf)), np.finfo(np.float32).max)
    return np.float32(above)


def _rows(query: RegionFeatures, part: slice) -> GalleryBlock:
    """Some of the sketches, and what is derived of them."""
    return GalleryBlock.of(FeatureTensors.of(query, lambda values: values[part]))
