"""What becomes of one row: measured, left out with a reason, or a failure of ours."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from benches.cases import Rows
from benches.providers import PROVIDERS, Provider, Searcher
from benches.searches import Search
from benches.stage import Stage
from benches.test_retrieval import test_retrieval as measure
from tests.benches.runs import MACHINE

SEARCH = Search("lite0", 128, 3, 10)
REFERENCE = next(provider for provider in PROVIDERS if provider.name == "kernels-reference")


class Recorder:
    """The parts of pytest-benchmark's fixture that a row uses."""

    def __init__(self) -> None:
        self.group = ""
        self.extra_info: dict[str, Any] = {}
        self.rounds = 0

    def pedantic(self, target: Callable[[], Tensor], rounds: int) -> None:
        target()
        self.rounds = rounds


class Wrong(Searcher):
    """Finds the first rows, whatever the query."""

    def search(self, query: Rows, top_k: int) -> Tensor:
        return torch.arange(top_k).expand(len(query), top_k)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    one = Stage(torch.device("cpu"))
    yield one
    one.clear()


def broken(gallery: Rows) -> Searcher:
    raise LookupError("no such kernel\nand more")


def row(stage: Stage, provider: Provider) -> tuple[Recorder, list[dict[str, Any]]]:
    recorder, absent = Recorder(), list[dict[str, Any]]()
    measure(recorder, SEARCH, provider, MACHINE, stage, absent)  # type: ignore[arg-type]
    return recorder, absent


def test_a_measured_row_says_what_the_report_reads(stage: Stage) -> None:
    recorder, absent = row(stage, REFERENCE)
    assert not absent
    assert recorder.rounds > 0
    assert recorder.extra_info["recall"] == 1
    assert recorder.extra_info["agreement"] == "exact"
    assert Search(*(recorder.extra_info[name] for name in ("trunk", "photos", "queries", "top_k"))) == SEARCH


def test_a_wrong_answer_of_ours_fails(stage: Stage) -> None:
    with pytest.raises(AssertionError):
        row(stage, replace(REFERENCE, name="wrong", prepare=lambda gallery: Wrong()))


def test_a_failure_of_ours_fails(stage: Stage) -> None:
    with pytest.raises(LookupError):
        row(stage, replace(REFERENCE, prepare=broken))


def test_a_library_that_fails_is_a_row_without_a_time(stage: Stage) -> None:
    absent: list[dict[str, Any]] = []
    with pytest.raises(pytest.skip.Exception):
        measure(Recorder(), SEARCH, Provider("library", broken), MACHINE, stage, absent)  # type: ignore[arg-type]
    assert [(one["provider"], one["reason"]) for one in absent] == [("library", "failed: LookupError: no such kernel")]
