"""A filter and commits don't wait for one another: it reads in turns, all of one commit."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from engine import reader, selecting
from engine.database import Database
from engine.filters import Filter
from engine.gallery import Gallery
from engine.selecting import Rows
from tests.engine.kill_writer import photo_id
from tests.engine.small_gallery import add, create
from tests.engine.test_filters import ids_of

PHOTOS, TURN, FEW = 11, 4, 5


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gallery:
    """Photos with a number each; `indexed` is the same number under a key that has an index."""
    monkeypatch.setattr(selecting, "TURN", TURN)
    monkeypatch.setattr(selecting, "FEW", FEW)
    gallery = create(tmp_path / "gallery")
    with gallery.writer() as writer:
        writer.index_metadata(["indexed"])
    for start in range(0, PHOTOS, 3):
        numbers = range(start, min(start + 3, PHOTOS))
        add(gallery, *numbers, metadata=[{"number": number, "indexed": number} for number in numbers])
    gallery.snapshot()
    return gallery


def choose(gallery: Gallery, where: dict[str, Any], subset: list[str] | None = None) -> set[str]:
    return ids_of(gallery.select(Filter.parse(where, subset)))


class Transactions:
    """Counts the transactions of a catalogue, and does something before one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.before = 0, dict[int, Any]()
        self._transaction = Database.transaction
        monkeypatch.setattr(Database, "transaction", lambda database, *a, **k: self._counted(database, *a, **k))

    def _counted(self, database: Database, *arguments: Any, **more: Any) -> AbstractContextManager[sqlite3.Connection]:
        self.count += 1
        self.before.pop(self.count, lambda: None)()
        return self._transaction(database, *arguments, **more)


@pytest.mark.parametrize(
    ("where", "subset", "transactions"),
    [
        ({"number": {"ge": 0}}, None, 3),  # turns of 4, 4 and 3
        ({}, None, 3),
        ({"indexed": {"ge": 0}}, None, 3),  # its index would lead to every photo
        ({"indexed": {"ne": 1}}, None, 3),
        ({"indexed": {"ge": 5}}, None, 3),
        ({"indexed": {"ge": 6}}, None, 1),
        ({"indexed": {"ge": 0, "lt": 4}}, None, 1),
        ({"indexed": 3, "number": 3}, None, 1),
        ({"indexed": {"ge": 0}, "number": {"ge": 0}}, [0, 1, 5], 1),
        ({"number": 1}, [0, 1, 2, 3, 4], 1),
        ({"number": 1}, [0, 1, 2, 3, 4, 5], 3),
    ],
)
def test_no_transaction_looks_at_more_photos_than_a_turn_has(
    gallery: Gallery,
    monkeypatch: pytest.MonkeyPatch,
    where: dict[str, Any],
    subset: list[int] | None,
    transactions: int,
) -> None:
    ids = None if subset is None else [photo_id(number) for number in subset]
    expected = choose(gallery, where, ids)
    counted = Transactions(monkeypatch)
    assert choose(gallery, where, ids) == expected
    assert counted.count == 1 + transactions, "one asks which commit is the last"


def test_a_commit_comes_between_two_turns_and_is_what_the_filter_sees(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Transactions(monkeypatch)
    counted.before[3] = lambda: add(gallery, 100, metadata=[{"number": -1}])  # after the first turn
    assert choose(gallery, {"number": {"lt": 1}}) == {photo_id(0), photo_id(100)}
    assert not counted.before


def test_photos_removed_at_any_place_leave_whole_turns(gallery: Gallery) -> None:
    with gallery.writer() as writer:
        writer.remove([photo_id(number) for number in (0, 3, 4, 5, 6, 7, 10)])
    assert choose(gallery, {"number": {"ge": 0}}) == {photo_id(number) for number in (1, 2, 8, 9)}


def test_readers_do_not_wait_for_a_slow_filter(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    in_turns, reading, go_on = reader.rows_in_turns, threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Rows | None:
        reading.set()
        assert go_on.wait(60)
        return in_turns(*arguments)

    monkeypatch.setattr(reader, "rows_in_turns", slow)
    with ThreadPoolExecutor(1) as pool:
        filtered = pool.submit(choose, gallery, {"number": 2})
        try:
            assert reading.wait(60)
            add(gallery, 100)
            assert len(gallery.snapshot()) == PHOTOS + 1
        finally:
            go_on.set()
        assert filtered.result(60) == {photo_id(2)}


def test_a_filter_is_answered_however_fast_commits_come(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    in_turns, number = reader.rows_in_turns, itertools.count(100)

    def beside_a_commit(*arguments: Any) -> Rows | None:
        add(gallery, next(number), metadata=[{"number": -1}])
        return in_turns(*arguments)

    monkeypatch.setattr(reader, "rows_in_turns", beside_a_commit)
    chosen = choose(gallery, {"number": -1})
    assert chosen == {photo_id(new) for new in range(100, next(number))}
    assert len(chosen) == reader.UNLOCKED_TRIES
