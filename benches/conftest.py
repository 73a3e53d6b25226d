"""Options of the benches, and what their JSON says beside the times."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
import torch

from benches.machine import Machine, measure, measure_again
from benches.stage import Stage
from mlrm.devices import find_device
from mlrm.errors import ConfigError
from mlrm.freed_memory import keep_freed_memory

MACHINE = pytest.StashKey[Machine]()
NOT_MEASURED = pytest.StashKey[list[dict[str, Any]]]()
ENCODERS_NOT_MEASURED = pytest.StashKey[list[dict[str, Any]]]()
TABLE2_NOT_MEASURED = pytest.StashKey[list[dict[str, Any]]]()


def pytest_configure() -> None:
    """Spare every provider the page faults of its temporaries: PyTorch's ways lose much to them, ours have few."""
    keep_freed_memory()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sweep", action="store_true", help="measure every declared size, which takes an hour or more")
    parser.addoption("--models", help="folder that keeps the exported models between runs; default: none does")
    parser.addoption(
        "--data",
        action="append",
        default=[],
        help="table 2: a folder of real pairs too, and whose statistics the drawn ones have; repeat for more",
    )
    parser.addoption("--whole", action="store_true", help="table 2: all sketches by every way, which takes an hour")
    parser.addoption("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda or cuda:N")


def device_of(config: pytest.Config) -> torch.device:
    """The device that `--device` names."""
    try:
        return find_device(config.getoption("--device"))
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest) -> Machine:
    """This machine, measured before the first search."""
    found = measure(device_of(request.config))
    request.config.stash[MACHINE] = found
    return found


@pytest.fixture(scope="session")
def not_measured(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Rows without a time, as the JSON lists them."""
    return request.config.stash.setdefault(NOT_MEASURED, [])


@pytest.fixture(scope="session")
def encoders_not_measured(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The same of encoders."""
    return request.config.stash.setdefault(ENCODERS_NOT_MEASURED, [])


@pytest.fixture(scope="session")
def table2_not_measured(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The same of table 2."""
    return request.config.stash.setdefault(TABLE2_NOT_MEASURED, [])


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The gallery and searcher at hand."""
    one = Stage(device_of(request.config))
    yield one
    one.clear()


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    if MACHINE in config.stash:
        output_json["machine"] = asdict(measure_again(config.stash[MACHINE], device_of(config)))
        output_json["not_measured"] = config.stash.get(NOT_MEASURED, [])
        output_json["encoders_not_measured"] = config.stash.get(ENCODERS_NOT_MEASURED, [])
        output_json["table2_not_measured"] = config.stash.get(TABLE2_NOT_MEASURED, [])
