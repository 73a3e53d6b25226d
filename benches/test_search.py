"""Retrieval time of one sketch: the released program's way, the eager reference, and the engine's exact search.

Rows of one group share gallery and query; the ratio to read is `released way` over `engine`. What the engine reads is
the stored float16 features once, `megabytes` in the extra info: the physical limit is that over memory bandwidth.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from engine.exact import search_snapshot
from engine.gallery import Gallery
from engine.ingest import feature_block
from kernels.reference import pair_distance, pair_weights
from mlrm.features import Features

TOP_K = 10
LEVEL_DIMS = {"lite": (256, 512, 1280), "densenet": (512, 1280, 1664)}


def features(count: int, dims: tuple[int, ...], seed: int) -> Features:
    """Unit vectors as stored (float16 values) and weights that sum to 1."""
    generator = torch.Generator().manual_seed(seed)
    levels = tuple(
        torch.nn.functional.normalize(torch.randn(count, 3, dim, generator=generator), dim=2).half().float()
        for dim in dims
    )
    return Features(
        levels,
        torch.randn(count, 3, generator=generator).softmax(1),
        torch.randn(count, 3, len(dims), generator=generator).softmax(2),
    )


def released_way(query: Features, gallery: Features) -> torch.Tensor:
    """Broadcast differences of all nine vectors, then the nearest."""
    norms = [(q[:, None] - g[None]).square().sum(3).sqrt() for q, g in zip(query.levels, gallery.levels, strict=True)]
    distance = (pair_weights(query, gallery, 1) * torch.stack(norms, 3)).sum((2, 3))
    return distance.topk(TOP_K, largest=False).indices


def eager_reference(query: Features, gallery: Features) -> torch.Tensor:
    """`torch.cdist` a region and level, then the nearest."""
    distance = pair_distance(query, gallery)
    assert isinstance(distance, torch.Tensor)
    return distance.topk(TOP_K, largest=False).indices


@pytest.fixture(params=LEVEL_DIMS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Features, Features, Gallery]:
    photos = request.config.getoption("--photos")
    dims = LEVEL_DIMS[request.param]
    stored, query = features(photos, dims, 0), features(1, dims, 1)
    block = feature_block(stored)
    gallery = Gallery.create(tmp_path / "gallery", shapes=block.shapes, model_fingerprint="benchmark")
    with gallery.writer() as writer:
        writer.add(block, [f"{number:08}" for number in range(photos)])
    return f"G{photos}-{request.param}", stored, query, gallery


@pytest.mark.parametrize("provider", ["released way", "eager reference", "engine"])
def test_search(benchmark: BenchmarkFixture, case: tuple[str, Features, Features, Gallery], provider: str) -> None:
    name, stored, query, gallery = case
    expected = [hit.id for hit in search_snapshot(gallery.snapshot(), query, TOP_K, 1, torch.device("cpu"))[0]]
    in_memory: dict[str, Callable[[], torch.Tensor]] = {
        "released way": lambda: released_way(query, stored),
        "eager reference": lambda: eager_reference(query, stored),
    }
    benchmark.group = name
    benchmark.extra_info["megabytes"] = round(sum(level[0].numel() * 2 for level in stored.levels) * len(stored) / 1e6)
    if provider == "engine":
        snapshot = gallery.snapshot()
        benchmark(lambda: search_snapshot(snapshot, query, TOP_K, 1, torch.device("cpu")))
    else:
        found = benchmark(in_memory[provider])[0].tolist()
        assert set(found) == {int(id_) for id_ in expected}
