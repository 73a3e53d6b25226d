"""Retrieval time of every provider on the same galleries and queries, beside what each answer is worth.

`pytest benches/ --benchmark-only --benchmark-json=run.json`, then `python -m benches.report run.json`.
"""

from dataclasses import asdict
from itertools import groupby
from time import perf_counter
from typing import Any, NoReturn

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benches.conftest import device_of
from benches.cuda_timer import CudaTimer
from benches.machine import Machine
from benches.names import OURS
from benches.providers import PROVIDERS, Agreement, Provider
from benches.searches import Search, searches
from benches.stage import CHECKED_QUERIES, Stage

SECONDS = 1.0
"""Spent on the rounds of a row, about."""
MOST_ROUNDS = 50


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gallery by gallery and provider by provider: neighbours share what is expensive to make."""
    device = device_of(metafunc.config)
    declared = searches(device.type, metafunc.config.getoption("--sweep"))

    def timer() -> Any:
        """Each row its own: after a round that failed, a shared one would take ends for beginnings."""
        return pytest.mark.benchmark(timer=CudaTimer(device).read) if device.type == "cuda" else ()

    rows = [
        pytest.param(search, provider, id=f"{search}-{provider.name}", marks=timer())
        for _, of_gallery in groupby(declared, key=lambda search: (search.trunk, search.photos))
        for group in [list(of_gallery)]
        for provider in PROVIDERS
        if device.type in provider.devices
        for search in group
    ]
    metafunc.parametrize(("search", "provider"), rows)


def test_retrieval(
    benchmark: BenchmarkFixture,
    search: Search,
    provider: Provider,
    machine: Machine,
    stage: Stage,
    not_measured: list[dict[str, Any]],
) -> None:
    inputs = stage.inputs(search)

    def leave_out(reason: str) -> NoReturn:
        not_measured.append(asdict(search) | {"provider": provider.name, "reason": reason})
        pytest.skip(reason)

    if obstacle := provider.obstacle(search, stage.device, inputs.free_bytes):
        leave_out(obstacle)
    query = inputs.query[: search.queries]

    try:
        ready = stage.ready(provider, inputs)
        found = ready.searcher.search(query, search.top_k)[:CHECKED_QUERIES].cpu()
    except Exception as error:
        if provider.name in OURS:
            raise
        # Another library's failure, whatever its type, is a row that says so and no end of the table.
        leave_out(f"failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
    expected = inputs.nearest[: search.queries, : search.top_k].cpu()
    if provider.agreement is Agreement.EXACT:
        assert torch.equal(found, expected)

    def run() -> Tensor:
        return ready.searcher.search(query, search.top_k)

    ready.memory.reset()
    run()  # takes the memory again that `reset` gave back: no round has to
    begin = perf_counter()
    run()
    rounds = min(MOST_ROUNDS, max(1, round(SECONDS / (perf_counter() - begin))))
    benchmark.group = f"{search} on {machine.device}"
    benchmark.pedantic(run, rounds=rounds)  # type: ignore[no-untyped-call]
    benchmark.extra_info |= asdict(search) | {
        "provider": provider.name,
        "agreement": provider.agreement,
        "recall": None if provider.agreement is Agreement.OTHER else _recall(found, expected),
        "peak_bytes": ready.memory.peak(),
        "note": ready.searcher.note(search.queries),
    }


def _recall(found: Tensor, expected: Tensor) -> float:
    """The share of the true nearest that was found."""
    return float((found[:, :, None] == expected[:, None]).any(2).double().mean())
