"""What people see of certified search: options, reports, errors."""

from pathlib import Path

import pytest

from engine.errors import ConfigError, GalleryError, QueryError
from engine.retriever import Retriever
from engine.types import SearchReport


def test_every_result_says_that_it_is_proven_and_how(filled: Retriever, sketches: list[Path]) -> None:
    result = filled.search(sketches[0], 3)
    assert result.certified
    assert result.report.photos == result.report.rescored == len(filled)
    assert result.report.gap is not None
    assert result.report.gap == filled.search(sketches[0], 4)[3].distance - result[2].distance
    assert filled.search(sketches[0], len(filled)).report.gap is None
    assert "proven: 6 photos" in str(result.report)


def test_a_search_of_nothing_is_proven(empty: Retriever, sketches: list[Path]) -> None:
    assert empty.search(sketches[0]).report == SearchReport()


def test_few_photos_get_no_codes_and_the_same_answers(filled: Retriever, sketches: list[Path]) -> None:
    before = filled.search(sketches, 3)
    plan = filled.optimize(sketches[:2])
    assert (plan.basis, plan.photos, plan.sketches) == (None, len(filled), True)
    after = filled.search(sketches, 3)
    assert [result.to_list() for result in after] == [result.to_list() for result in before]


def test_bounded_work_is_asked_for_in_full(filled: Retriever, sketches: list[Path]) -> None:
    assert filled.search(sketches[0], exact=False, max_candidates=2).certified  # no codes: all features were read
    for options, message in (
        ({"max_candidates": 5}, "give exact=False too"),
        ({"exact": False, "max_candidates": 0}, "expected an int of at least 1"),
        ({"exact": False, "max_candidates": True}, "expected an int of at least 1"),
    ):
        with pytest.raises(QueryError, match=message):
            filled.search(sketches[0], **options)  # type: ignore[call-overload]


def test_codes_that_are_not_there_are_an_error_where_asked_for(
    filled: Retriever, checkpoint: Path, sketches: list[Path]
) -> None:
    with pytest.raises(GalleryError, match="engine optimize"):
        Retriever(checkpoint, filled.path, "cpu", memory="codes").search(sketches[0])
    assert Retriever(checkpoint, filled.path, "cpu", memory="features").search(sketches[0]).certified
    with pytest.raises(ConfigError, match="memory is 'disk'"):
        Retriever(checkpoint, filled.path, "cpu", memory="disk")
