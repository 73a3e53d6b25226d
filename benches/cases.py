"""The declared cases of the distance: what tests check and benches measure, by one name.

A name reads Q3-G1023-k10-fp16-centred: queries, gallery, top_k, type of the stored rows, kind of data.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

TRUNKS = {"lite0": (256, 512, 1280), "densenet169": (512, 1280, 1664)}
"""Channels of the levels, by trunk."""

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

KINDS = ("centred", "offset", "unit", "duplicates", "ties", "huge", "denormal", "zero-weights", "dead-rows")
"""What is awkward about a case's data; see `draw`."""

CHUNK_ROWS = 4096
MEAN_NORM, DIRECTIONS, IN_DIRECTIONS = 0.63, 32, 0.83
"""Of `draw_large`."""


@dataclass(frozen=True)
class Case:
    """One search: sizes, types, data."""

    queries: int
    photos: int
    top_k: int
    dtype: str = "fp16"
    kind: str = "unit"
    channels: tuple[int, ...] = (5, 8, 63)
    regions: int = 3
    power: int = 1
    seed: int = 0

    def __str__(self) -> str:
        return f"Q{self.queries}-G{self.photos}-k{self.top_k}-{self.dtype}-{self.kind}"


@dataclass(frozen=True)
class Rows:
    """Features of N images, and which of them live."""

    levels: tuple[Tensor, ...]
    region_weights: Tensor
    level_weights: Tensor
    live: Tensor | None = field(default=None)

    def __len__(self) -> int:
        return len(self.region_weights)

    def __getitem__(self, index: Tensor | slice) -> "Rows":
        return Rows(
            tuple(level[index] for level in self.levels),
            self.region_weights[index],
            self.level_weights[index],
            None if self.live is None else self.live[index],
        )

    def to(self, device: torch.device | str) -> "Rows":
        """Every tensor on `device`."""
        live = None if self.live is None else self.live.to(device)
        return Rows(
            tuple(level.to(device) for level in self.levels),
            self.region_weights.to(device),
            self.level_weights.to(device),
            live,
        )


def draw(case: Case) -> tuple[Rows, Rows]:
    """Query (float32) and gallery (levels of the case's type, float32 weights) on the CPU, by the case's seed.

    centred: normal values. offset: the same far from 0, so that squares cancel. unit: unit vectors, as l2norm stores.
    duplicates: each query is in the gallery, twice. ties: rows of a few vectors only. huge: one row of a large norm.
    denormal: values below the type's normal range, and queries equal to rows. zero-weights: half of the weights are
    exactly 0. dead-rows: the last third, and every seventh row, are dead and equal to queries.
    """
    generator = torch.Generator().manual_seed(case.seed)
    query = _normal(case.queries, case, generator)
    gallery = _normal(case.photos, case, generator)
    match case.kind:
        case "centred":
            pass
        case "unit":
            query, gallery = (
                _map(side, lambda v: torch.nn.functional.normalize(v, dim=2)) for side in (query, gallery)
            )
        case "offset":
            query, gallery = (_map(side, lambda v: v + 30) for side in (query, gallery))
        case "duplicates":
            gallery = _with_queries(gallery, query, torch.arange(case.photos) % 3 < 2)
        case "ties":
            few = gallery[torch.arange(case.photos) % min(4, case.photos)] if case.photos else gallery
            gallery = few
        case "huge":
            largest = 1e30 if case.dtype == "fp32" else 3e4
            gallery = _map(gallery, lambda v: torch.cat((v[:1] * 0 + largest, v[1:])))
        case "denormal":
            scale = 1e-40 if case.dtype != "fp16" else 1e-7
            query, gallery = (_map(side, lambda v: v * scale) for side in (query, gallery))
            gallery = _with_queries(gallery, query, torch.arange(case.photos) % 5 == 0)
        case "zero-weights":
            query, gallery = (_with_zero_weights(side) for side in (query, gallery))
        case "dead-rows":
            numbers = torch.arange(case.photos)
            live = (numbers % 7 != 3) & (numbers < case.photos - case.photos // 3)
            gallery = replace(_with_queries(gallery, query, ~live), live=live)
        case _:
            raise ValueError(f"kind is {case.kind!r}; expected one of {', '.join(KINDS)}")
    # Queries keep float32 values that the stored type can't hold, except where they must equal rows.
    if case.kind in ("duplicates", "denormal"):
        query = _map(query, lambda v: v.to(DTYPES[case.dtype]).float())
    return query, _map(gallery, lambda v: v.to(DTYPES[case.dtype]))


def draw_large(photos: int, channels: tuple[int, ...], dtype: torch.dtype, seed: int, regions: int = 3) -> Rows:
    """Unit vectors and weights as a gallery stores them, drawn in chunks: no float32 copy of the whole exists.

    With the statistics that matter to a search, as measured on the shipped model's level 3, which carries most of
    the weight, of 400 photos of ShoeV2 (in brackets): the mean vector has a norm of 0.63 (0.53 to 0.66), and of the
    variance 0.83 lies in 32 directions (0.82 to 0.86), falling off by 1 / number. Independent values would
    make all distances equal to 1 %; here they spread by 5 % (7 %). Mean and directions are the same for every seed.
    """
    fixed, generator = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    levels = tuple(torch.empty(photos, regions, width, dtype=dtype) for width in channels)
    for level in levels:
        width = level.shape[2]
        mean = torch.nn.functional.normalize(torch.randn(regions, width, generator=fixed), dim=1) * MEAN_NORM
        scale = (1 / torch.arange(1, DIRECTIONS + 1)).sqrt()
        directions = torch.randn(regions, DIRECTIONS, width, generator=fixed) * scale[:, None]
        directions *= (IN_DIRECTIONS * (1 - MEAN_NORM**2) / directions.square().sum((1, 2)))[:, None, None].sqrt()
        noise = ((1 - IN_DIRECTIONS) * (1 - MEAN_NORM**2) / width) ** 0.5
        for start in range(0, photos, CHUNK_ROWS):
            shape = (min(CHUNK_ROWS, photos - start), regions)
            rows = torch.randn(*shape, width, generator=generator).mul_(noise).add_(mean)
            place = torch.randn(*shape, DIRECTIONS, generator=generator)
            rows += torch.einsum("nrd,rdc->nrc", place, directions)
            level[start : start + CHUNK_ROWS] = torch.nn.functional.normalize(rows, dim=2)
    return Rows(levels, *_weights(photos, regions, len(channels), generator))


def _normal(count: int, case: Case, generator: torch.Generator) -> Rows:
    levels = tuple(torch.randn(count, case.regions, width, generator=generator) for width in case.channels)
    return Rows(levels, *_weights(count, case.regions, len(case.channels), generator))


def _weights(count: int, regions: int, levels: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return (
        torch.randn(count, regions, generator=generator).softmax(1),
        torch.randn(count, regions, levels, generator=generator).softmax(2),
    )


def _map(rows: Rows, function: Callable[[Tensor], Tensor]) -> Rows:
    return replace(rows, levels=tuple(function(level) for level in rows.levels))


def _with_queries(gallery: Rows, query: Rows, where: Tensor) -> Rows:
    """The gallery with the queries' vectors, over and over, in the rows of a mask."""
    if not len(query):
        return gallery
    places = where.nonzero()[:, 0]
    source = torch.arange(len(places)) % len(query)
    levels = tuple(level.clone() for level in gallery.levels)
    for own, other in zip(levels, query.levels, strict=True):
        own[places] = other[source]
    return replace(gallery, levels=levels)


def _with_zero_weights(rows: Rows) -> Rows:
    level = rows.level_weights.clone()
    level.view(len(rows), -1)[:, ::2] = 0
    region = rows.region_weights.clone()
    region[::3, 0] = 0
    return replace(rows, region_weights=region, level_weights=level)


CORRECTNESS = tuple(
    Case(queries, photos, top_k, dtype, kind)
    for number, kind in enumerate(KINDS)
    for dtype in DTYPES
    for queries, photos, top_k in (
        (1, 1, 1),
        (1, 127, 10),
        (3, 7, 7),
        (3, 1023, 10),
        (63, 127, 1),
        (257, 1023, 10) if number % 2 else (63, 1023, 1023),
    )
) + tuple(
    Case(queries, 5000, top_k, dtype) for queries, top_k, dtype in ((1, 10, "fp16"), (63, 1, "bf16"), (3, 5000, "fp32"))
)
"""What every implementation is checked on: every kind with every type, each size with some of them."""

ODD_SHAPES = tuple(
    Case(5, 130, 10, "fp16", "centred", channels, regions, power)
    for channels, regions in (
        ((1,), 1),
        ((3, 5), 2),
        ((63, 1, 130, 17), 5),
        ((512, 1280, 1664), 3),
        ((256, 512, 1280), 3),
    )
    for power in (1, 2)
)
"""Regions, levels and channels that are no power of two, and those of both trunks."""
