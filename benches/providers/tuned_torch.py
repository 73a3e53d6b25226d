"""PyTorch at its best: one matrix product a region and level with norms kept, the rest in chunks, then `topk`.

||a - b||^2 = |a|^2 + |b|^2 - 2 a.b, without centring: near neighbours cancel, which is what its recall shows. The
fastest form depends on the number of queries, the type and the machine, so for each number of queries every form is
timed on the gallery's first rows, as many as the largest chunk has, and the fastest is kept.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from benches.cases import Rows
from benches.providers.base import Searcher
from benches.searches import Search
from mlrm.devices import computes_bfloat16

CHUNKS = {"cpu": (1024, 4096), "cuda": (16384, 65536)}
"""Gallery rows at a time, at least; fewer queries may take more, up to as many pairs as follow."""
CHUNK_PAIRS = {"cpu": 1 << 18, "cuda": 1 << 24}
CONVERTED_ROWS = 4096
COMPILED_QUERIES = 32
"""Queries from which `torch.compile` is tried: with fewer, the elementwise rest is little beside reading the rows."""


@dataclass(frozen=True)
class Form:
    """One way to compute the same: which product, how many rows at a time, the elementwise rest compiled or not."""

    multiply: str
    chunk: int
    compiled: bool = False

    def __str__(self) -> str:
        return f"{self.multiply}, {self.chunk} rows at a time{', torch.compile' if self.compiled else ''}"


def _batched(gallery: Tensor, query: Tensor) -> Tensor:
    return torch.bmm(gallery, query.transpose(1, 2)).transpose(1, 2)


def _gallery_first(gallery: Tensor, query: Tensor) -> Tensor:
    dots = gallery.new_empty(len(gallery), gallery.shape[1], query.shape[1])
    for region, out in enumerate(dots):
        torch.mm(gallery[region], query[region].T, out=out)
    return dots.transpose(1, 2)


def _query_first(gallery: Tensor, query: Tensor) -> Tensor:
    dots = gallery.new_empty(len(gallery), query.shape[1], gallery.shape[1])
    for region, out in enumerate(dots):
        torch.mm(query[region], gallery[region].T, out=out)
    return dots


MULTIPLY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bmm": _batched,
    "gallery @ query": _gallery_first,
    "query @ gallery": _query_first,
}
"""a.b of one level: gallery [R, n, C] and query [R, Q, C] -> [R, Q, n]."""


@dataclass(frozen=True)
class _Side:
    """Features with the regions first, and what of them goes into every pair: weights [.., R, n], |v|^2 L x [R, n]."""

    levels: tuple[Tensor, ...]
    squares: tuple[Tensor, ...]
    region_weights: Tensor
    level_weights: Tensor

    @classmethod
    def of(cls, rows: Rows, dtype: torch.dtype) -> "_Side":
        levels = tuple(level.transpose(0, 1).to(dtype).contiguous() for level in rows.levels)
        squares = tuple(_squares(level) for level in levels)
        return cls(
            levels, squares, rows.region_weights.T.contiguous(), rows.level_weights.permute(2, 1, 0).contiguous()
        )


def _squares(level: Tensor) -> Tensor:
    """|v|^2 of [R, N, C] in float32, [R, N], without a float32 copy of the whole."""
    starts = range(0, level.shape[1], CONVERTED_ROWS)
    return torch.cat([level[:, start : start + CONVERTED_ROWS].float().square().sum(2) for start in starts], 1)


def _plus_level(
    total: Tensor,
    dot: Tensor,
    query_square: Tensor,
    gallery_square: Tensor,
    query_weight: Tensor,
    gallery_weight: Tensor,
) -> Tensor:
    """total + ||a - b|| (w_a + w_b) of one level, from a.b, |a|^2 and |b|^2; all broadcast to [R, Q, n]."""
    norm = (query_square + gallery_square - 2 * dot.float()).clamp_min(0).sqrt()
    return total + norm * (query_weight + gallery_weight)


class TunedTorch(Searcher):
    """Keeps the gallery as `dtype`, each region's rows together, and their squared norms."""

    def __init__(self, gallery: Rows, dtype: torch.dtype) -> None:
        self._dtype, self._gallery, self._photos = dtype, _Side.of(gallery, dtype), len(gallery)
        self._form: dict[int, Form] = {}
        self._not_compiled = ""

    def search(self, query: Rows, top_k: int) -> Tensor:
        """The distances in the fastest form, the nearest."""
        if (count := len(query)) not in self._form:
            self._form[count] = self._fastest(query)
        return self._distance(query, self._form[count], self._photos).topk(top_k, largest=False).indices

    def note(self, queries: int) -> str:
        """The form that was fastest."""
        return f"{self._form[queries]}{self._not_compiled}"

    def _distance(self, query: Rows, form: Form, photos: int) -> Tensor:
        own, gallery, multiply = _Side.of(query, self._dtype), self._gallery, MULTIPLY[form.multiply]
        plus_level = _compiled() if form.compiled else _plus_level
        distance = []
        for start in range(0, photos, form.chunk):
            rows = slice(start, min(photos, start + form.chunk))
            weight = own.region_weights[:, :, None] + gallery.region_weights[:, None, rows]
            total = torch.zeros_like(weight)
            for level, values in enumerate(gallery.levels):
                total = plus_level(
                    total,
                    multiply(values[:, rows], own.levels[level]),
                    own.squares[level][:, :, None],
                    gallery.squares[level][:, None, rows],
                    own.level_weights[level][:, :, None],
                    gallery.level_weights[level][:, None, rows],
                )
            distance.append((total * weight).sum(0) / 4)
        return torch.cat(distance, 1)

    def _fastest(self, query: Rows) -> Form:
        device_type = query.region_weights.device.type
        chunks: tuple[int, ...] = CHUNKS[device_type]
        if (largest := CHUNK_PAIRS[device_type] // len(query)) > chunks[-1]:
            chunks = (*chunks, largest)
        seconds = {
            form: self._seconds(query, form, chunks[-1])
            for form in (Form(multiply, chunk) for multiply, chunk in product(MULTIPLY, chunks))
        }
        best = min(seconds, key=lambda form: seconds[form])
        if len(query) < COMPILED_QUERIES:
            return best
        compiled = replace(best, compiled=True)
        try:
            return compiled if self._seconds(query, compiled, chunks[-1]) < seconds[best] else best
        except RuntimeError as error:  # no compiler: dynamo's errors are of this type
            self._not_compiled = f"; torch.compile can't run here: {str(error).splitlines()[0]}"
            return best

    def _seconds(self, query: Rows, form: Form, photos: int) -> float:
        """The faster of two runs after one more."""
        seconds = []
        for _ in range(3):
            begin = time.perf_counter()
            self._distance(query, form, min(photos, self._photos))
            if query.region_weights.is_cuda:
                torch.cuda.synchronize(query.region_weights.device)
            seconds.append(time.perf_counter() - begin)
        return min(seconds[1:])


def _compiled() -> Callable[..., Tensor]:
    """`_plus_level` through `torch.compile`, which keeps what it compiled."""
    return torch.compile(_plus_level, dynamic=True)


def why_not(dtype: torch.dtype, device: torch.device) -> str | None:
    """A type that the device only emulates is no tuning."""
    if dtype == torch.bfloat16 and not computes_bfloat16(device):
        return "this processor has no bfloat16 and PyTorch emulates it, at a hundredth of float32's speed"
    return None


def needs(bytes_a_value: int) -> Callable[[Search], int]:
    """The converted gallery, and the distances of all pairs with one copy."""
    return lambda search: bytes_a_value * search.photos * search.values + 2 * 4 * search.pairs
