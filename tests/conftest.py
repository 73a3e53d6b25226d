"""Fixtures shared by every test."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is the machine's business; slow ones are found by --durations.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that holds the research data sets; without it a test is skipped, or fails if that is asked for."""
    folder = os.environ.get("MLRM_DATA", "")
    if folder and Path(folder).is_dir():
        return Path(folder)
    found = f"MLRM_DATA is {folder!r}, which is no folder" if folder else "MLRM_DATA is not set"
    reason = f"{found}; set it to the folder that holds the research data sets (qmul_v1/, ...)"
    if os.environ.get("MLRM_REQUIRE_DATA") == "1":
        pytest.fail(f"{reason}, or unset MLRM_REQUIRE_DATA to skip such tests")
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test marked `data` that finds its data some other way: it would fail where there is none."""
    for item in items:
        if item.get_closest_marker("data") and "data_root" not in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(f"{item.nodeid} is marked data; it must use the fixture data_root")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="Also what takes longer than a run for every change may.")
    parser.addoption("--screenshots", default="runs/screenshots", help="Where the browser's tests keep what they saw.")
