"""The k nearest photos by way of short codes: the float64 ranking, from a few percent of the stored features.

1. A screen gives every photo a lower bound of its distance, and an estimate. 2. The photos with the smallest estimates,
of all or of a sample, are rescored by the canonical routine; the k-th smallest distance found, T, is at least the true
k-th. 3. Photos with a lower bound of at most T, smallest estimate first, are rescored too, and T falls; nothing else
can be among the k nearest. On the CPU their rows pass float32 differences first, which keep nearly all of them out.
Where more photos are left than this pays for, the exact scan answers instead: the answer is the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.dispatch import Implementation, pick, screening
from kernels.reference import FeatureTensors, RegionFeatures, check_pair
from kernels.short.queries import ShortQueries, prepare
from kernels.short.screens import Codes, MatrixScreen, Possible, Screen
from kernels.short.sketches import Screened, Sketch, above, kth
from kernels.topk import Nearest, nearest

SEEDS = 14
"""Photos rescored for the first T, beyond k and a quarter of it: estimates are within a percent or two."""
FIRST_ROUND = 512
"""Of the survivors that look nearer than T, so many rows are read before T is looked at again."""
LATER_ROUND = 2048
"""And of the others, round by round."""
ASKED_ROWS = 8192
"""Of all sketches' rows so many are asked for, and then read, at a time: 100 to 170 MB, if none is in memory."""
SCAN_SHARE = 8
"""Where more than one photo in this many survives, all rows are scanned in their order."""
FEW = 1024
"""So many survivors are always read one by one."""
MATRIX_VALUES = 1 << 24
"""Bounds held at a time: 64 MB. More sketches than fit come in groups."""
TOGETHER = 512
"""Sketches in a group at most: the pairs of a round take some 60 MB for each million."""


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
    group = min(TOGETHER, max(8, MATRIX_VALUES // max(1, 2 * total) // 8 * 8))
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
        possible = self._possible(np.array([above(kth(one, self._k)) for one in distance], np.float32))
        sketches = {
            number: Sketch(rows[number, own], distance[number, own], possible[number], self._k, self._most)
            for number, own in enumerate(known)
        }
        self._read(sketches, {number: one.nearer(FIRST_ROUND) for number, one in sketches.items()})
        survivors = [one.survivors for one in sketches.values()]
        many = max(FEW, self._live // SCAN_SHARE)
        scanned = [number for number, one in sketches.items() if one.needs_scan(many)]
        found = self._scanned({number: sketches.pop(number) for number in scanned}, survivors, impl)
        while any(one.left for one in sketches.values()):
            self._read(sketches, {number: one.next(LATER_ROUND) for number, one in sketches.items()})
        found |= {number: one.answer(survivors[number]) for number, one in sketches.items()}
        return [found[number] for number in range(queries)]

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

    def _read(self, sketches: dict[int, Sketch], wanted: dict[int, NDArray[np.int64]]) -> None:
        """Read rows of all sketches at once; rescore those that a bound by their features leaves within the limit."""
        sizes = [len(rows) for rows in wanted.values()]
        rows, owner = np.concatenate(list(wanted.values())), np.repeat(list(wanted), sizes)
        limit = np.repeat([sketches[number].limit for number in wanted], sizes)
        # By rows: those that several sketches want are in one part.
        order, distance = np.argsort(rows, kind="stable"), np.empty(len(rows))
        for start in range(0, len(rows), ASKED_ROWS):
            part = order[start : start + ASKED_ROWS]
            self._ahead(np.unique(rows[part]))
            distance[part] = self._within(owner[part], rows[part], limit[part])
        for number, found in zip(wanted, np.split(distance, np.cumsum(sizes)[:-1]), strict=True):
            sketches[number].read(wanted[number], found)

    def _within(
        self, owner: NDArray[np.int64], rows: NDArray[np.int64], limit: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """The canonical distances of pairs, or infinity for those whose bound is above the limit."""
        distance, pairs = np.full(len(rows), np.inf), self._pairs(owner, rows)
        bounds = self._chosen.bounds_of_pairs(self._query, pairs[0], self._blocks, pairs[1], self._power)
        if bounds is None:
            return self._rescored(*pairs)
        if (near := bounds <= torch.from_numpy(limit)).any():
            distance[near.numpy()] = self._rescored(*(one[near] for one in pairs))
        return distance

    def _scanned(self, sketches: dict[int, Sketch], survivors: Sequence[int], impl: str) -> dict[int, Screened]:
        """The answers by an exact scan of all rows, one for all these sketches."""
        if not sketches:
            return {}
        self._ahead(None)
        query, total = _rows(self._query, list(sketches)), sum(map(len, self._blocks))
        answers = nearest(query, self._blocks, self._k, region_weight_power=self._power, impl=impl)
        return {
            number: Screened(
                Nearest(answer.rows.cpu(), answer.distance.cpu()),
                certified=True,
                survivors=survivors[number],
                rescored=self._live,
                rows_read=len(one.rows) + total,
                fell_through=True,
            )
            for (number, one), answer in zip(sketches.items(), answers, strict=True)
        }

    def _rescored(self, owner: Tensor, rows: Tensor) -> NDArray[np.float64]:
        found = self._chosen.rescore_pairs(self._query, owner, self._blocks, rows, self._power)
        result: NDArray[np.float64] = found.cpu().numpy()
        return result

    def _pairs(self, owner: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        device = self._query.region_weights.device
        return torch.from_numpy(owner).to(device), torch.from_numpy(rows).to(device)


def _rows(query: RegionFeatures, part: slice | list[int]) -> GalleryBlock:
    """Some of the sketches, and what is derived of them."""
    return GalleryBlock.of(FeatureTensors.of(query, lambda values: values[part]))
