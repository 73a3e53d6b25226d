"""The page of the architecture and its picture name files that are there, and the contracts that are kept."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE, PICTURE = ROOT / "docs" / "architecture.md", ROOT / "docs" / "architecture.svg"
NAMED = re.compile(r"(?:(?:engine|mlrm|kernels|export|benches|tests|docs)/)[\w/.*]*")


def named(file: Path) -> list[str]:
    return sorted({name.rstrip(".") for name in NAMED.findall(file.read_text(encoding="utf-8"))})


@pytest.mark.parametrize("name", sorted(set(chain(named(PAGE), named(PICTURE)))))
def test_what_is_named_is_there(name: str) -> None:
    assert list(ROOT.glob(name.rstrip("/"))), f"{name}: mend docs/architecture.md and .svg"


def test_every_contract_of_the_linter_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8").replace("`", "")
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    missing = [contract["name"] for contract in contracts if contract["name"].split(":")[0] not in _plain(page)]
    assert not missing


def _plain(page: str) -> str:
    return re.sub(r" \(kernels\.cpu, kernels\.gpu, kernels\.eager\)", "", page)
