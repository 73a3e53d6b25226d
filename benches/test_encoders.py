"""Time from pixels to features by every encoder, and of a search by a sketch's file, part by part.

`pytest benches/ --benchmark-only --benchmark-json=run.json`, then `python -m benches.report run.json`.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benches.conftest import device_of
from benches.encoder_stage import EncoderStage, rounds_for
from benches.encodings import Encoding, Part, encodings, parts
from benches.machine import Machine
from engine.encoders.race import usable_cpus
from mlrm.errors import MLRMError


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Encoder by encoder: neighbours share one."""
    device, sweep = device_of(metafunc.config), metafunc.config.getoption("--sweep")
    if "encoding" in metafunc.fixturenames:
        metafunc.parametrize("encoding", encodings(device.type, sweep, usable_cpus()), ids=str)
    if "part" in metafunc.fixturenames:
        metafunc.parametrize("part", parts(device.type, sweep), ids=str)


@pytest.fixture(scope="module")
def encoders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EncoderStage]:
    """The encoder at hand; torch gets its threads back afterwards."""
    threads = torch.get_num_threads()
    scratch = tmp_path_factory.mktemp("encoders")
    models = Path(request.config.getoption("--models") or scratch)
    models.mkdir(parents=True, exist_ok=True)
    yield EncoderStage(device_of(request.config), models, scratch)
    torch.set_num_threads(threads)


def leave_out(not_measured: list[dict[str, Any]], what: Encoding | Part, reason: str) -> NoReturn:
    not_measured.append(asdict(what) | {"reason": reason})
    pytest.skip(reason)


def test_encoding(
    benchmark: BenchmarkFixture,
    encoding: Encoding,
    machine: Machine,
    encoders: EncoderStage,
    encoders_not_measured: list[dict[str, Any]],
) -> None:
    try:
        encoder = encoders.encoder(encoding.trunk, encoding.encoder, encoding.threads)
        agreement = encoders.agreement(encoding.trunk, encoding.encoder)
    except MLRMError as error:
        leave_out(encoders_not_measured, encoding, str(error))
    images = encoders.images(encoding.trunk, encoding.batch)
    run = encoders.awaited(lambda: encoder.encode(images, "sketch"))
    benchmark.group = f"{encoding.trunk}, batch {encoding.batch}, {encoding.threads} threads on {machine.device}"
    benchmark.pedantic(run, rounds=rounds_for(run))  # type: ignore[no-untyped-call]
    benchmark.extra_info |= asdict(encoding) | {
        "fingerprint": encoder.fingerprint,
        "trained": agreement.trained,
        "rms": max(output.rms for output in agreement.outputs),
        "top1": agreement.ranking.top1,
        "top10": agreement.ranking.top10,
        "judged_as": agreement.dtype,
        "failures": agreement.failures,
    }


def test_part_of_a_search(
    benchmark: BenchmarkFixture,
    part: Part,
    machine: Machine,
    encoders: EncoderStage,
    encoders_not_measured: list[dict[str, Any]],
) -> None:
    try:
        run = encoders.parts(part.trunk, part.encoder, usable_cpus())[part.part]
    except MLRMError as error:
        leave_out(encoders_not_measured, part, str(error))
    benchmark.group = f"search of {part.photos} photos, {part.encoder}, on {machine.device}"
    benchmark.pedantic(run, rounds=rounds_for(run))  # type: ignore[no-untyped-call]
    benchmark.extra_info |= asdict(part)
