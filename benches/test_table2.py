"""Time of the paper's table 2: TC-Net's, LA's, DLA's and MLRM's way to search, from the same maps, in one run.

`pytest benches/test_table2.py --benchmark-only --benchmark-json=run.json`, then `python -m benches.report run.json`.
`--sweep` adds a gallery of 100,000 photos, `--data FOLDER` the test pairs of a data set. With `--data` drawn sizes have
the statistics of these data sets, and each sketch a photo that it shows; without, they have those of `benches.cases`.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from time import perf_counter
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benches.conftest import device_of
from benches.cuda_timer import CudaTimer
from benches.machine import Machine
from benches.table2.real import real_pairs
from benches.table2.sizes import LARGE_SIZES, SIZES, Size
from benches.table2.stage import CHECKED_SKETCHES, Table2Stage, gallery_of
from benches.table2.ways import Way, ways

SECONDS, MOST_ROUNDS = 0.5, 20
"""Of a row: about, and at most."""
SLOW = 2.0
"""Seconds of a first run that say enough; a provider's may hold compilation, so its second one counts."""


def sizes_of(config: pytest.Config) -> tuple[Size, ...]:
    """What the options ask for."""
    real = real_pairs(config.getoption("--data"))
    drawn = (*SIZES, *(LARGE_SIZES if config.getoption("--sweep") else ()))
    names = ", ".join(size.name for size in real)
    return (*(replace(size, drawn_like=names) for size in drawn), *real)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gallery by gallery and way by way: neighbours share what is expensive to make."""
    device = device_of(metafunc.config)
    timer = pytest.mark.benchmark(timer=CudaTimer(device).read) if device.type == "cuda" else ()
    rows = [
        pytest.param(size, way, id=f"{size}-{way}", marks=timer)
        for _, of_gallery in groupby(sizes_of(metafunc.config), gallery_of)
        for group in [list(of_gallery)]
        for way in ways(device.type)
        for size in group
        if not (size.large and way.needs_grid)
    ]
    metafunc.parametrize(("size", "way"), rows)


@pytest.fixture(scope="module")
def table2_stage(request: pytest.FixtureRequest) -> Iterator[Table2Stage]:
    """The inputs and the gallery at hand."""
    option = request.config.getoption
    device, sizes = device_of(request.config), sizes_of(request.config)
    one = Table2Stage(device, option("--whole"), sizes, real_pairs(option("--data")))
    yield one
    one.clear()


def test_table2(
    benchmark: BenchmarkFixture,
    size: Size,
    way: Way,
    machine: Machine,
    table2_stage: Table2Stage,
    table2_not_measured: list[dict[str, Any]],
) -> None:
    inputs, sketches = table2_stage.inputs(size), way.sketches(size, table2_stage.whole)
    row = {
        "size": size.name, "trunk": size.trunk, "sketches": size.sketches, "photos": size.photos, "top_k": size.top_k,
        "drawn_like": size.drawn_like,
        "method": way.method, "way": way.name,
    }  # fmt: skip
    if obstacle := way.obstacle(size, sketches, table2_stage.device, inputs.free_bytes):
        table2_not_measured.append(row | {"reason": obstacle})
        pytest.skip(obstacle)
    ready, query = table2_stage.ready(way, inputs), inputs.sketches.first(sketches)

    def run() -> Tensor:
        return ready.search(query, size.top_k)

    begin = perf_counter()
    found = run().cpu()
    seconds = perf_counter() - begin
    if way.ours:
        assert torch.equal(found[:CHECKED_SKETCHES], inputs.nearest[: len(found)])
    if seconds < SLOW or way.provider is not None:
        begin = perf_counter()
        run()
        seconds = perf_counter() - begin
    rounds = min(MOST_ROUNDS, max(1, round(SECONDS / seconds)))
    benchmark.group = f"{size} on {machine.device}"
    benchmark.pedantic(run, rounds=rounds)  # type: ignore[no-untyped-call]
    note = ready.note(sketches)
    if way.ours and size.drawn_like and inputs.own is not None:
        first = float((found[:, 0] == inputs.own[: len(found)]).double().mean())
        note = f"{note}; own photo first: {first:.1%}".removeprefix("; ")
    benchmark.extra_info |= row | {"ours": way.ours, "measured_sketches": sketches, "note": note}
