"""Options of the benchmarks."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--photos", type=int, default=5000, help="largest gallery of the benchmarks")
