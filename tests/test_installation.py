"""What pip is told can be installed: on a machine with a GPU too, where torch asks for one release of Triton."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
TRITON = {"2.11.0": "3.6.0", "2.13.0": "3.7.1"}
"""What torch's builds for NVIDIA GPUs on PyPI require, by their version: their METADATA, "Requires-Dist: triton=="."""


def constraint(name: str) -> Requirement:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    [found] = [line for line in lines if re.match(rf"{name}\b[=<>]", line)]
    return Requirement(found)


def test_the_constraints_admit_the_triton_that_their_torch_asks_for() -> None:
    [pin] = constraint("torch").specifier
    assert constraint("triton").specifier.contains(TRITON[pin.version])


@pytest.mark.parametrize("extra", ["gpu", "dev"])
def test_an_extra_admits_the_triton_of_every_torch_it_is_installed_with(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(line) for line in project["optional-dependencies"][extra]]
    [triton] = [one for one in wanted if one.name == "triton"]
    assert all(triton.specifier.contains(version) for version in TRITON.values())
    oldest = next(Requirement(line) for line in project["dependencies"] if line.startswith("torch"))
    assert all(oldest.specifier.contains(version) for version in TRITON)
    assert str(oldest.specifier) == ">=2.11"  # of an older one the table would have to know the release too
