"""Rows are asked for where they lie in a segment's file, and before they are read."""

import mmap
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import read_ahead
from engine.gallery import Gallery
from engine.optimize import optimize
from engine.read_ahead import ReadAhead
from engine.segments import map_of
from tests.engine.coded_gallery import SEGMENT, SHAPES, everything, gallery_of, photos_drawn, searcher, sketches_drawn

PHOTOS = 1400
ROW_BYTES = 2 * SHAPES.regions * sum(SHAPES.level_dims)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="this system takes no advice on maps")


@pytest.fixture(scope="module")
def gallery(codes_pay: None, tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    found = gallery_of(tmp_path_factory.mktemp("ahead") / "my.gallery", photos_drawn(PHOTOS))
    optimize(found, sketches_drawn(16))
    return found


def test_the_pages_of_a_row_are_asked_for_and_no_others(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = gallery.snapshot().segments
    asked, expected = list[tuple[mmap.mmap, int, int]](), list[int]()

    class Recorded:
        """A map that writes down what it is advised."""

        def __init__(self, mapped: mmap.mmap) -> None:
            self.mapped = mapped

        def madvise(self, option: int, start: int = 0, length: int | None = None) -> None:
            self.mapped.madvise(option, start, len(self.mapped) if length is None else length)
            if length is None:
                expected.append(option)
            else:
                assert option == mmap.MADV_WILLNEED
                asked.append((self.mapped, start, length))

    ahead = ReadAhead(segments, coded=2)
    for file in ahead._files:
        assert file._map is not None
        monkeypatch.setattr(file, "_map", Recorded(file._map))
    rows = np.array([SEGMENT + 1, 0, PHOTOS - 1, SEGMENT - 1])
    ahead(rows)
    features = [
        (map_of(array), array[row % SEGMENT])
        for row in rows
        for segment in [segments[row // SEGMENT]]
        for array in (*segment.levels, segment.region_weights, segment.level_weights)
    ]
    assert len(asked) == len(features)
    for mapped, values in features:
        own = [mapped[start : start + length] for one, start, length in asked if one is mapped]
        assert any(values.tobytes() in content for content in own)
    for _, start, length in asked:
        assert start % mmap.PAGESIZE == 0
        assert length <= mmap.PAGESIZE + max(values.nbytes for _, values in features)
    ahead(rows)
    assert expected == [mmap.MADV_RANDOM] * 2
    ahead(None)
    assert expected[2:] == [mmap.MADV_NORMAL] * 2


def test_every_row_that_is_read_was_asked_for(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[NDArray[np.int64]] = []
    monkeypatch.setattr(read_ahead._File, "ask", lambda _, rows: asked.append(rows))
    search = searcher("codes")
    reports = [one.report for one in everything(gallery, search, sketches_drawn(4))]
    codes = search._codes(gallery, gallery.snapshot())
    assert codes is not None
    read = sum(one.bytes_read - codes.held.nbytes for one in reports)
    assert sum(map(len, asked)) * ROW_BYTES == read > sum(one.rescored for one in reports) * ROW_BYTES


def test_a_scan_reads_in_order(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page it would take ten times as long from a disk. Many sketches at once are one; so is a fall-through."""
    told: list[bool] = []
    monkeypatch.setattr(ReadAhead, "__call__", lambda _, rows: told.append(rows is None))
    search, many = searcher(), sketches_drawn(200)
    [*found] = search(gallery, gallery.select(None), many, 10)
    assert (found[0].report.read, told) == ("features", [True])
    told.clear()
    monkeypatch.setattr("kernels.short.search.FEW", 0)
    monkeypatch.setattr("kernels.short.search.SCAN_SHARE", PHOTOS)
    found = everything(gallery, search, sketches_drawn(2))
    assert {one.report.read for one in found} == {"features"}
    assert told.count(True) == 2
    assert told[-1]


def test_while_the_disk_is_quiet_nothing_is_asked_for(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[NDArray[np.int64]] = []
    blocks_read = 7
    monkeypatch.setattr(read_ahead._File, "ask", lambda _, rows: asked.append(rows))
    monkeypatch.setattr("engine.read_ahead.resource.getrusage", lambda _: SimpleNamespace(ru_inblock=blocks_read))
    ahead, rows = ReadAhead(gallery.snapshot().segments, 3), np.array([3, 4, 6])
    monkeypatch.setattr(read_ahead, "QUIET", 6 * len(rows))
    for _ in range(12):
        ahead(rows)
    assert len(asked) == 1 + 6
    blocks_read = 8
    ahead(rows)
    assert len(asked) == 2 + 6


def test_features_in_memory_are_not_asked_for() -> None:
    assert map_of(np.zeros((3, 4), np.float16)[1:]) is None
