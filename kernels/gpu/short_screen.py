"""A search's screen of short codes on a GPU: limits from an even sample of the photos, then one pass over all of them.

The pass needs a limit before it begins, so that what is above it is never written: the sample's k-th distance is one. A
sample of one photo in SHARE lets a few times more photos pass than the true limit would, and their number is known.
"""

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from torch import Tensor

from kernels.gpu import short
from kernels.gpu.nearest import NOTHING, bounds_of
from kernels.gpu.short_codes import ResidentCodes
from kernels.short.bounds import check_basis
from kernels.short.codes import ShortCodes
from kernels.short.queries import ShortQueries
from kernels.short.screens import Likely, Possible

SAMPLED = 1 << 14
"""Photos that are always sampled: all of a small gallery."""
SAMPLED_PER_WANTED = 16
"""And so many for each photo that is wanted."""
SHARE = 16
"""One photo in so many is sampled of a large one: 6 % more bytes are read."""
LIST_SHARE = 4
"""A list holds one photo in so many; where more are within a limit, a scan takes less time than rescoring them."""
SHORTEST_LIST = 1 << 12


def hold_codes(codes: ShortCodes, device: torch.device) -> ResidentCodes:
    """Codes in the device's memory. May raise `torch.OutOfMemoryError`."""
    return ResidentCodes.of(codes, device)


def screen_codes(
    queries: ShortQueries, codes: ResidentCodes, live: Tensor | None, region_weight_power: int
) -> "ListScreen":
    """The screen of Q sketches. Raises `ValueError` for queries along another basis than the codes'."""
    check_basis(queries, codes.basis)
    return ListScreen(queries, codes, live, region_weight_power)


class ListScreen:
    """A `kernels.short.screens.Screen` whose bounds are compared and thrown away where they are made."""

    def __init__(
        self, queries: ShortQueries, codes: ResidentCodes, live: Tensor | None, region_weight_power: int
    ) -> None:
        self._codes, self._power, self._queries = codes, region_weight_power, len(queries.scale)
        self._live = codes.everyone if live is None else live.to(codes.everyone.device)
        self._tile = short.tile_for(self._queries)
        self._sketches, self._slack = codes.sketches(queries, region_weight_power, self._tile.queries)

    def likely(self, count: int) -> Likely:
        """Of every SHARE-th tile of photos, or of all where a sample would be small."""
        count_of_all, tile = len(self._codes), self._tile.rows
        wanted = max(SAMPLED, SAMPLED_PER_WANTED * count, count_of_all // SHARE)
        apart = max(1, count_of_all // wanted)
        capacity = tile * triton.cdiv(triton.cdiv(count_of_all, tile), apart)
        found = self._found(capacity, np.zeros(self._queries, np.float32))
        self._launch(found, apart, append=False)
        estimates, places = found.estimates.topk(min(count, capacity), largest=False, sorted=True)
        rows = (found.keys.gather(1, places) & 0xFFFFFFFF).masked_fill_(estimates.isinf(), -1)
        return Likely(estimates.cpu().numpy(), rows.cpu().numpy())

    def possible(self, limits: NDArray[np.float32]) -> list[Possible]:
        """In one pass over all photos."""
        capacity = min(len(self._codes), max(SHORTEST_LIST, len(self._codes) // LIST_SHARE))
        found = self._found(capacity, limits)
        self._launch(found, 1, append=True)
        counts = found.counts.tolist()
        kept = min(capacity, max(counts, default=0))
        keys, order = found.keys[:, :kept].contiguous(), found.estimates[:, :kept].cpu().numpy()
        lower, rows = bounds_of(keys).cpu().numpy(), (keys & 0xFFFFFFFF).cpu().numpy()
        answers = []
        for number, count in enumerate(counts):
            own = np.argsort(rows[number, :count])
            answers.append(Possible(rows[number, own], lower[number, own], order[number, own], count))
        return answers

    def _found(self, capacity: int, limits: NDArray[np.float32]) -> short.Found:
        device, shape = self._live.device, (self._queries, capacity)
        return short.Found(
            torch.full(shape, NOTHING, dtype=torch.int64, device=device),
            torch.full(shape, torch.inf, dtype=torch.float32, device=device),
            capacity,
            torch.zeros(self._queries, dtype=torch.int32, device=device),
            torch.from_numpy(limits).to(device),
            self._live,
        )

    def _launch(self, found: short.Found, apart: int, append: bool) -> None:
        if found.capacity and self._queries:
            short.launch(
                self._sketches,
                self._codes.photos,
                found,
                self._queries,
                self._codes.basis.levels,
                self._power,
                self._slack,
                apart,
                append,
            )
