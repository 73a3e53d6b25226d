"""Chosen pairs in an order that reads memory well, chunk by chunk of queries and then row by row; runs of them."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.cpu.threads import Work

MOST_PAIRS = 4096
"""That a thread takes at a time: what is converted is shared within such a run, up to 4 ms of work."""
RUNS = 4
"""Into so many the pairs are divided, within the limits."""


class Pairs(NamedTuple):
    """P pairs in order, int64 [P] each.

    order: where each came from. owners: queries. numbers: rows, counted within their blocks. blocks: the numbers of
    these.
    """

    order: NDArray[np.int64]
    owners: NDArray[np.int64]
    numbers: NDArray[np.int64]
    blocks: NDArray[np.int64]

    @classmethod
    def of(cls, owner: Tensor, rows: Tensor, blocks: Sequence[GalleryBlock], chunk: int) -> "Pairs":
        """Of queries `owner[i]`, `chunk` of them together, and rows `rows[i]`, numbered over all blocks.

        Raises `IndexError` for a row that no block holds.
        """
        owners, numbers = owner.numpy(), rows.numpy()
        ends = np.cumsum([len(block) for block in blocks])
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < ends[-1]:
            raise IndexError(f"rows {numbers.min()} to {numbers.max()}; expected 0 to {ends[-1] - 1}, the blocks' rows")
        # One number a pair to sort by: numpy sorts these with the vector units, pairs of keys it doesn't.
        order = np.argsort(owners // chunk * ends[-1] + numbers)
        owners, numbers = owners[order], numbers[order]
        owning = np.searchsorted(ends, numbers, side="right")
        return cls(order, owners, numbers - (ends - [len(block) for block in blocks])[owning], owning)

    def work(self, chunk: int, fewest: int, compute: Callable[[slice], None]) -> Work:
        """`compute` of runs of pairs, each of one block and one chunk of queries.

        fewest: pairs that a thread takes at a time: for less, another would come too late to help.
        """
        most = min(MOST_PAIRS, max(fewest, -(-len(self.order) // RUNS)))
        runs = list(_runs(self.owners // chunk * (1 + self.blocks.max(initial=0)) + self.blocks, most))

        def task(first: int, last: int) -> None:
            for run in runs[first:last]:
                compute(run)

        return Work(len(runs), max(1, len(runs) * fewest // max(1, len(self.order))), task)


def _runs(groups: NDArray[np.int64], most: int) -> Iterator[slice]:
    """Runs of equal numbers, where these lie together."""
    ends = (np.nonzero(groups[1:] != groups[:-1])[0] + 1).tolist()
    for start, stop in pairwise([0, *ends, len(groups)]):
        for first in range(start, stop, most):
            yield slice(first, min(first + most, stop))
