"""Exact search of a snapshot by `kernels.topk`: ranked by (canonical distance, id), whatever segments or device.

On a CPU the segments are searched where they lie, memory-mapped. On a GPU they are copied to it once for each commit.
Where a filter leaves few photos, their rows are gathered and nothing else is read; otherwise all other rows count as
dead. The answer is the same.
"""

import threading
import warnings
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import ConfigError, DeviceMemoryError
from engine.features import Array
from engine.gallery import GallerySnapshot, SegmentView, Selection
from kernels.blocks import GalleryBlock
from kernels.dispatch import ImplementationError, pick_for
from kernels.topk import Nearest, nearest
from mlrm.features import Features

QUERY_CHUNK = 1024
GATHERED_ROWS = 1024
"""Filtered rows that are copied together for a search: 21 MB. Of a larger copy, most of the time goes to the system for
fresh memory; a search of all rows is quicker."""


class Hit(NamedTuple):
    """A photo found: where it lies and how far it is."""

    id: str
    distance: float
    segment: SegmentView
    row: int


class ExactSearch:
    """Searches the snapshots of one gallery on one device; keeps what it derives from segments while they are in use.

    impl: as for `kernels.distance_topk`. Safe to share between threads. Raises `ConfigError` if it can't run here.
    """

    def __init__(self, device: torch.device, impl: str = "auto") -> None:
        try:
            pick_for(impl, device)
        except ImplementationError as error:
            raise ConfigError(f"no search on {device}: {error}") from error
        self.device, self.impl = device, impl
        self._lock = threading.Lock()
        self._segments: tuple[SegmentView, ...] | None = None
        self._blocks: dict[str, GalleryBlock] = {}

    def __call__(
        self, selection: Selection, queries: Features, top_k: int, region_weight_power: int
    ) -> list[list[Hit]]:
        """The `top_k` nearest of the selected photos (all, if there are fewer) of each query, by (distance, id).

        queries: float32 features of Q sketches on any device, finite. Raises `DeviceMemoryError` where the gallery
        doesn't fit the GPU.
        """
        snapshot = selection.snapshot
        blocks, numbers = selected(self.blocks(snapshot), selection)
        results = []
        for start in range(0, len(queries), QUERY_CHUNK):
            chunk = queries[start : start + QUERY_CHUNK].to(self.device)
            found = nearest(chunk, blocks, top_k, region_weight_power=region_weight_power, impl=self.impl)
            results += [hits[:top_k] for hits in ranked_hits(snapshot, found, numbers)]
        return results

    def blocks(self, snapshot: GallerySnapshot) -> list[GalleryBlock]:
        """The snapshot's rows, dead ones too, in the order of its segments."""
        with self._lock:
            if snapshot.segments != self._segments:  # a commit of metadata alone leaves them as they were
                if self.device.type == "cpu":
                    known = self._blocks
                    self._blocks = {one.name: _block(one, known.get(one.name)) for one in snapshot.segments}
                else:
                    self._blocks = self._on_device(snapshot.segments)
                self._segments = snapshot.segments
            return list(self._blocks.values())

    def _on_device(self, segments: tuple[SegmentView, ...]) -> dict[str, GalleryBlock]:
        """All rows as one block: a launch for each of a thousand segments would cost more than their bytes."""
        blocks = [_block(one, None) for one in segments]
        if self._blocks and [one.name for one in self._segments or ()] == [one.name for one in segments]:
            # No new rows: photos were removed.
            return {name: block.with_live(_live(blocks, self.device)) for name, block in self._blocks.items()}
        # What is there goes first: a gallery of more than half the memory doesn't fit twice.
        self._blocks, self._segments = {}, None
        return _moved(blocks, self.device)


def rows_of(segment: SegmentView, rows: NDArray[np.int64]) -> Features:
    """The stored features of some rows, as float32 (which holds float16 exactly)."""

    def read(array: Array) -> Tensor:
        return torch.from_numpy(array[rows]).float()

    return Features(
        tuple(read(level) for level in segment.levels), read(segment.region_weights), read(segment.level_weights)
    )


def _block(segment: SegmentView, known: GalleryBlock | None) -> GalleryBlock:
    """The segment's arrays as they lie in memory, and what is known of them already."""
    live = None
    if len(segment.live_rows) < len(segment.region_weights):
        live = _alive(len(segment.region_weights), torch.from_numpy(segment.live_rows))
    if known is not None:
        return known.with_live(live)
    with warnings.catch_warnings():
        # Torch has no read-only tensors; nothing writes to these.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return GalleryBlock(
            tuple(torch.from_numpy(level) for level in segment.levels),
            torch.from_numpy(segment.region_weights),
            torch.from_numpy(segment.level_weights),
            live,
        )


def selected(blocks: list[GalleryBlock], selection: Selection) -> tuple[list[GalleryBlock], NDArray[np.int64] | None]:
    """Blocks that hold the selected rows alive, and the numbers of their rows over all blocks where they are others."""
    if selection.rows is None:
        return blocks, None
    lengths = [len(segment.region_weights) for segment in selection.snapshot.segments]
    starts = np.cumsum([0, *lengths])
    numbers = np.concatenate(
        [np.empty(0, np.int64), *(rows + start for rows, start in zip(selection.rows, starts, strict=False))]
    )
    # The blocks may be others than the segments: all of these as one, on a GPU.
    first, parts = 0, []
    for block in blocks:
        inside = numbers[np.searchsorted(numbers, first) : np.searchsorted(numbers, first + len(block))] - first
        parts.append((block, torch.from_numpy(inside).to(block.device)))
        first += len(block)
    if not len(numbers):
        return [], None
    if len(numbers) <= min(GATHERED_ROWS, first // 8):
        return [_gathered([part for part in parts if len(part[1])])], numbers
    return [block.with_live(_alive(len(block), rows)) for block, rows in parts], None


def _gathered(parts: list[tuple[GalleryBlock, Tensor]]) -> GalleryBlock:
    levels = range(len(parts[0][0].levels))
    return GalleryBlock(
        tuple(torch.cat([block.levels[level][rows] for block, rows in parts]) for level in levels),
        torch.cat([block.region_weights[rows] for block, rows in parts]),
        torch.cat([block.level_weights[rows] for block, rows in parts]),
    )


def _alive(count: int, rows: Tensor) -> Tensor:
    live = torch.zeros(count, dtype=torch.bool, device=rows.device)
    live[rows] = True
    return live


def _moved(blocks: list[GalleryBlock], device: torch.device) -> dict[str, GalleryBlock]:
    """All rows as one block on the device; none where there are none."""
    if not blocks:
        return {}
    needed = sum(level.nbytes for block in blocks for level in block.levels)
    try:
        # Segment by segment into its place: no second copy of the whole, here or there.
        moved = GalleryBlock(
            tuple(
                _joined([block.levels[number] for block in blocks], device) for number in range(len(blocks[0].levels))
            ),
            _joined([block.region_weights for block in blocks], device),
            _joined([block.level_weights for block in blocks], device),
            _live(blocks, device),
        )
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(
            f"the gallery's features take {needed / 2**30:.1f} GiB, more than is free on {device}: {error}. Search on "
            "the CPU with device='cpu', or on a GPU with more memory"
        ) from error
    return {"all": moved}


def _live(blocks: list[GalleryBlock], device: torch.device) -> Tensor | None:
    """Which rows of all blocks are alive; None if all are."""
    live = torch.cat(
        [torch.ones(len(block), dtype=torch.bool) if block.live is None else block.live for block in blocks]
    )
    return None if live.all() else live.to(device)


def _joined(parts: list[Tensor], device: torch.device) -> Tensor:
    joined = torch.empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype=parts[0].dtype, device=device)
    for target, part in zip(joined.split([len(part) for part in parts]), parts, strict=True):  # type: ignore[no-untyped-call]
        target.copy_(part)
    return joined


def ranked_hits(
    snapshot: GallerySnapshot, found: Sequence[Nearest], numbers: NDArray[np.int64] | None = None
) -> list[list[Hit]]:
    """Segment, row and id of what each of Q queries found, by (distance, id).

    found: rows numbered over all segments, or, where `numbers` is given, places in it.
    """
    if not found:
        return []
    # All queries at once: one by one, a thousand of them take about as long as their search.
    rows = torch.cat([one.rows for one in found]).cpu().numpy()
    rows = rows if numbers is None else numbers[rows]
    distance = torch.cat([one.distance for one in found]).tolist()
    ends = np.cumsum([len(segment.region_weights) for segment in snapshot.segments])
    owners = np.searchsorted(ends, rows, side="right")
    ids, within = [""] * len(rows), rows.copy()
    for owner in np.unique(owners).tolist():
        segment, places = snapshot.segments[owner], np.nonzero(owners == owner)[0]
        size = len(segment.region_weights)
        own = within[places] = rows[places] - (ends[owner] - size)
        live = own if len(segment.ids) == size else np.searchsorted(segment.live_rows, own)
        for place, id_ in zip(places.tolist(), segment.ids.at(live), strict=True):
            ids[place] = id_
    segments = [snapshot.segments[owner] for owner in owners.tolist()]
    hits = list(map(Hit, ids, distance, segments, within.tolist()))
    limits = pairwise(accumulate((len(one.rows) for one in found), initial=0))
    return [sorted(hits[start:stop], key=lambda hit: (hit.distance, hit.id)) for start, stop in limits]
