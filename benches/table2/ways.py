"""The declared ways to carry out each method: by PyTorch as written, by PyTorch at its best, and by this engine."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from benches.providers import PROVIDERS, Agreement, Provider
from benches.providers.tuned_torch import why_not
from benches.searches import REGIONS, Search
from benches.table2 import positions
from benches.table2.inputs import Side
from benches.table2.published import Method
from benches.table2.sizes import LARGE, Size

GROUP_BYTES = 1 << 30
"""Of the released program's differences and their squares: sketches come in groups that need no more."""


class Searching(Protocol):
    """A gallery made ready."""

    def search(self, query: Side, top_k: int) -> Tensor:
        """Row numbers of the nearest photos, nearest first, int64 [Q, top_k]."""

    def note(self, queries: int) -> str:
        """What a reader should know of the last search."""

    def close(self) -> None:
        """Give back what is not memory."""


@dataclass(frozen=True)
class Way:
    """How a method is carried out.

    what: for a reader. prepare: makes a gallery ready. ours: by this engine, so the answer must be the float64 ranking
    of MLRM's distance. most_pairs: a run compares the first sketches of a larger size only, and scales the time up.
    in_large: whether it is measured in large galleries. provider: whose conditions hold, if it is one's. dtype: what
    PyTorch multiplies in, where that is a choice.
    """

    method: Method
    name: str
    what: str
    prepare: Callable[[Side], Searching]
    ours: bool = False
    most_pairs: int | None = None
    in_large: bool = True
    provider: Provider | None = None
    dtype: torch.dtype | None = None

    def __str__(self) -> str:
        return f"{self.method}-{self.name}"

    @property
    def needs_grid(self) -> bool:
        """Whether the last level's whole grid is compared."""
        return self.method in (Method.LA, Method.DLA)

    def sketches(self, size: Size, whole: bool) -> int:
        """How many of a size's sketches are measured."""
        if self.most_pairs is None or whole:
            return size.sketches
        return min(size.sketches, max(1, self.most_pairs // size.photos))

    def obstacle(self, size: Size, sketches: int, device: torch.device, free_bytes: int) -> str | None:
        """Why so many sketches of a size aren't measured, or None."""
        if size.large and not self.in_large:
            return f"tried in galleries below {LARGE:,} photos"
        if self.dtype and (reason := why_not(self.dtype, device)):
            return reason
        if self.provider is None:
            return None
        search = Search(size.trunk, size.photos, sketches, size.top_k)
        if self.provider.name == "released":
            group = _group(size.photos * REGIONS * max(search.channels))
            search = replace(search, queries=min(sketches, group))
        return self.provider.obstacle(search, device, free_bytes)


class _Vectors:
    """A comparison of grids; one vector is a grid of one position."""

    def __init__(
        self, kind: Callable[[Tensor], positions.Comparison], values: Callable[[Side], Tensor], gallery: Side
    ) -> None:
        self._values, self._comparison = values, kind(values(gallery))

    def search(self, query: Side, top_k: int) -> Tensor:
        return self._comparison.search(self._values(query), top_k)

    def note(self, queries: int) -> str:
        return ""

    def close(self) -> None:
        """Nothing but memory is held."""


class _Regions:
    """A provider of the retrieval benches, `group` sketches at a time."""

    def __init__(self, provider: Provider, group: Callable[[Side], int], gallery: Side) -> None:
        self._searcher, self._group = provider.prepare(gallery.rows), group(gallery)

    def search(self, query: Side, top_k: int) -> Tensor:
        starts = range(0, len(query.rows), self._group)
        parts = (query.rows[start : start + self._group] for start in starts)
        return torch.cat([self._searcher.search(part, top_k).cpu() for part in parts])

    def note(self, queries: int) -> str:
        return self._searcher.note(queries)

    def close(self) -> None:
        self._searcher.close()


def _one_vector(side: Side) -> Tensor:
    return side.vector[:, None]


def _grid(side: Side) -> Tensor:
    return side.grid


def _by(
    method: Method,
    name: str,
    what: str,
    kind: Callable[..., positions.Comparison],
    most_pairs: int | None = None,
    dtype: torch.dtype | None = None,
) -> Way:
    one = method is Method.TC_NET
    prepare = partial(_Vectors, partial(kind, dtype=dtype) if dtype else kind, _one_vector if one else _grid)
    return Way(method, name, what, prepare, most_pairs=most_pairs, in_large=one, dtype=dtype)


def _mlrm(name: str, what: str, provider_name: str, most_pairs: int | None = None, in_large: bool = True) -> Way:
    provider = next(one for one in PROVIDERS if one.name == provider_name)
    group = _group_of if provider_name == "released" else _all_at_once
    ours = provider.agreement is Agreement.EXACT
    prepare = partial(_Regions, provider, group)
    return Way(Method.MLRM, name, what, prepare, ours, most_pairs, in_large, provider)


def _all_at_once(gallery: Side) -> int:
    return 1 << 30


def _group_of(gallery: Side) -> int:
    return _group(max(level.numel() for level in gallery.rows.levels))


def _group(values: int) -> int:
    """Sketches at a time, by the values of the gallery's widest level."""
    return max(1, GROUP_BYTES // (8 * values))


_SAME, _BEST = positions.SameByProducts, positions.BestByProducts
_FLOAT32 = "PyTorch float32, matrix products, the gallery's norms kept, chunks that fit the cache"
_BFLOAT16 = "the same in bfloat16: not exact"

WAYS = (
    _by(Method.TC_NET, "cdist", "`torch.cdist` of the vectors: the baseline of all ratios", positions.VectorCdist),
    _by(Method.TC_NET, "matmul-fp32", _FLOAT32, _SAME, dtype=torch.float32),
    _by(Method.TC_NET, "matmul-bf16", _BFLOAT16, _SAME, dtype=torch.bfloat16),
    _by(Method.LA, "differences", "the formula as written, sketch by sketch", positions.SameByDifferences, 2_000),
    _by(Method.LA, "matmul-fp32", _FLOAT32, _SAME, 160_000, dtype=torch.float32),
    _by(Method.LA, "matmul-bf16", _BFLOAT16, _SAME, 160_000, dtype=torch.bfloat16),
    _by(Method.DLA, "cdist", "`torch.cdist` of all positions, sketch by sketch", positions.BestByCdist, 2_500),
    _by(Method.DLA, "matmul-fp32", _FLOAT32, _BEST, 40_000, dtype=torch.float32),
    _by(Method.DLA, "matmul-bf16", _BFLOAT16, _BEST, 40_000, dtype=torch.bfloat16),
    _mlrm("differences", "the released program's way: differences of all pairs at once", "released", 10_000, False),
    _mlrm("matmul-fp32", "the fastest of several forms of matrix products", "torch-fp32", 400_000, False),
    _mlrm("matmul-bf16", _BFLOAT16, "torch-bf16", 400_000, False),
    _mlrm("scan", "this engine's kernels, exact: every feature is read", "kernels-cpu"),
    _mlrm("codes", "this engine's certified search by short codes", "codes"),
    _mlrm("engine", "`Retriever.search_features` over a gallery on disk", "engine", 400_000, False),
    _mlrm("scan-gpu", "this engine's kernels on a GPU, exact", "kernels-triton"),
)
"""In the order of the table."""
BASELINE = WAYS[0]


def ways(device_type: str) -> tuple[Way, ...]:
    """Those that are meant for a type of device."""
    return tuple(way for way in WAYS if way.provider is None or device_type in way.provider.devices)
