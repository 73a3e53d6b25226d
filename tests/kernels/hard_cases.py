"""Sides that rounding likes least, and the answers by definition."""

from collections.abc import Callable

import torch
from torch import Tensor

from kernels import distance_topk
from kernels.reference import canonical_distance
from tests.kernels.test_reference import Side, drawn

STORED = [torch.float32, torch.float16, torch.bfloat16]


def sides(
    queries: int,
    photos: int,
    stored: torch.dtype = torch.float16,
    regions: int = 3,
    channels: tuple[int, ...] = (5, 63, 33),
    seed: int = 0,
) -> tuple[Side, Side]:
    """Some queries in float32, and a gallery stored in a type with its weights in float32."""
    query = drawn(queries, seed + 1, regions, channels, torch.float32)
    gallery = drawn(photos, seed + 2, regions, channels, torch.float32)
    return query, Side(
        tuple(level.to(stored) for level in gallery.levels), gallery.region_weights, gallery.level_weights
    )


def flat(level: Tensor) -> Side:
    """One region, one level, weights of 1."""
    ones = torch.ones(len(level), 1)
    return Side((level,), ones, ones[..., None])


def changed(side: Side, change: Callable[[Tensor], Tensor]) -> Side:
    return Side(tuple(change(level).to(level.dtype) for level in side.levels), side.region_weights, side.level_weights)


def shifted(offset: float, spread: float) -> Callable[[Tensor], Tensor]:
    return lambda level: level.float() * spread + offset


def with_row(row: int, factor: float) -> Callable[[Tensor], Tensor]:
    def change(level: Tensor) -> Tensor:
        result = level.clone()
        result[row] = (result[row].float() * factor).to(level.dtype)
        return result

    return change


def without(side: Side, *terms: int) -> Side:
    """Some regions and levels with weight exactly 0."""
    region, level = side.region_weights.clone(), side.level_weights.clone()
    region[:, terms[0]] = 0
    level[:, :, terms[1]] = 0
    return Side(side.levels, region, level)


def hard_cases() -> dict[str, tuple[Side, Side]]:
    """What rounding likes least. Every value is finite."""
    query, gallery = sides(5, 127)
    _, wide = sides(5, 127, torch.float32)
    cases = {
        "plain": (query, gallery),
        "common offset": (changed(query, shifted(100, 1e-2)), changed(gallery, shifted(100, 1))),
        "nearly equal": (changed(query, shifted(1, 1e-6)), changed(wide, shifted(1, 1e-6))),
        "queries far away": (changed(query, shifted(50, 1)), gallery),
        "one huge row": (query, changed(gallery, with_row(17, 1e4))),
        "one overflowing row": (query, changed(wide, with_row(17, 1e30))),
        "one overflowing query": (changed(query, with_row(2, 1e30)), wide),
        "overflowing mean": (changed(query, shifted(3e38, 1e36)), changed(wide, shifted(3e38, 1e36))),
        "opposite and large": (changed(query, shifted(1.5e18, 1e16)), changed(wide, shifted(-1.5e18, 1e16))),
        "overflowing": (changed(query, shifted(0, 1e25)), changed(wide, shifted(0, 1e25))),
        "float16 denormals": (changed(query, shifted(0, 1e-7)), changed(gallery, shifted(0, 1e-7))),
        "squares underflow": (changed(query, shifted(0, 1e-22)), changed(wide, shifted(0, 1e-22))),
        "denormals": (changed(query, shifted(0, 1e-42)), changed(wide, shifted(0, 1e-42))),
        "denormal rows": (query, changed(wide, shifted(0, 1e-42))),
        "zeros": (changed(query, shifted(0, 0)), changed(gallery, shifted(0, 0))),
        "zero rows": (query, changed(gallery, shifted(0, 0))),
        "zero weights": (without(query, 0, 1), without(gallery, 0, 1)),
        "no weight": (
            Side(query.levels, query.region_weights * 0, query.level_weights),
            Side(gallery.levels, gallery.region_weights * 0, gallery.level_weights),
        ),
        "heavy": (
            Side(query.levels, query.region_weights * 1e6, query.level_weights * 1e6),
            Side(gallery.levels, gallery.region_weights * 1e6, gallery.level_weights * 1e6),
        ),
    }
    duplicates = changed(wide, lambda level: level)
    for level, stored in zip(query.levels, duplicates.levels, strict=True):
        stored[40:45] = level
    cases["duplicates of the queries"] = (query, duplicates)
    ties = drawn(1, 9, 3, (5, 63, 33), torch.float32)
    cases["all equal"] = (
        query,
        Side(
            tuple(level.half().expand(64, -1, -1).contiguous() for level in ties.levels),
            ties.region_weights.expand(64, -1).contiguous(),
            ties.level_weights.expand(64, -1, -1).contiguous(),
        ),
    )
    return cases


HARD = hard_cases()


def oracle(query: Side, gallery: Side, k: int, power: int = 1, live: Tensor | None = None) -> tuple[Tensor, Tensor]:
    distance = canonical_distance(query, gallery, power)
    rows = torch.arange(distance.shape[1]) if live is None else live.nonzero()[:, 0]
    found, order = distance[:, rows].sort(dim=1, stable=True)
    return found[:, :k], rows[order[:, :k]]


def check_topk(query: Side, gallery: Side, k: int, power: int = 1, live: Tensor | None = None) -> None:
    distance, rows = distance_topk(query, gallery, k, region_weight_power=power, live=live, impl="cpu")
    expected, expected_rows = oracle(query, gallery, k, power, live)
    assert torch.equal(rows, expected_rows)
    assert torch.equal(distance, expected)
