"""Compaction changes where photos lie and nothing else; whoever reads meanwhile is not disturbed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import compaction, gallery_writer, segments
from engine.errors import GalleryCorruptError, GalleryError
from engine.gallery import Gallery
from tests.engine.kill_writer import SHAPES, block_of, photo_id
from tests.engine.test_gallery_kill import contents


def files(gallery: Gallery) -> set[str]:
    return {entry.name for entry in (gallery.path / "segments").iterdir()}


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gallery:
    """Photos in segments of 3 (one dead), 2, 8 (whole), 1 (dead) and 5, to be merged to at most 8 rows."""
    monkeypatch.setattr(compaction, "TARGET_ROWS", 8)
    gallery = Gallery.create(tmp_path / "g", shapes=SHAPES, model_fingerprint="m")
    first = 0
    with gallery.writer() as writer:
        for size in (3, 2, 8, 1, 5):
            numbers = list(range(first, first + size))
            ids = [photo_id(number) for number in numbers]
            writer.add(block_of(numbers), ids, metadata=[{"n": n} for n in numbers], previews=[b"p" for _ in numbers])
            first += size
        writer.remove([photo_id(1), photo_id(13)])
    return gallery


def test_compaction_merges_small_segments_and_drops_dead_rows(gallery: Gallery) -> None:
    before, info = contents(gallery), gallery.info()
    records = {id_: (r.metadata, r.path) for id_, r in gallery.existing().items()}
    whole = next(view.name for view in gallery.snapshot().segments if len(view.ids) == 8)
    with gallery.writer() as writer:
        report = writer.compact()
    assert [len(view.ids) for view in gallery.snapshot().segments] == [8, 5, 4]
    assert gallery.snapshot().segments[0].name == whole, "a segment as it should be was written again"
    assert (report.segments_before, report.segments_after, report.dropped_rows) == (5, 3, 2)
    assert report.freed_bytes == info.bytes_on_disk - gallery.info().bytes_on_disk > 0
    assert "segments: 5 before, 3 after; rows of removed photos dropped: 2;" in str(report)
    for opened in (gallery, Gallery.open(gallery.path)):
        assert contents(opened) == before
        assert {id_: (r.metadata, r.path) for id_, r in opened.existing().items()} == records
    assert gallery.preview(photo_id(0)) == b"p"
    assert (gallery.info().dead_rows, gallery.info().rows_ever) == (0, info.rows_ever)
    assert files(gallery) == {f"{view.name}.safetensors" for view in gallery.snapshot().segments}
    gallery.verify()


def test_compacting_twice_changes_nothing_the_second_time(gallery: Gallery) -> None:
    with gallery.writer() as writer:
        writer.compact()
        generation, before = gallery.snapshot().generation, files(gallery)
        report = writer.compact()
    assert (gallery.snapshot().generation, files(gallery)) == (generation, before)
    assert (report.dropped_rows, report.freed_bytes) == (0, 0)


def test_a_gallery_whose_photos_were_all_removed_compacts_to_nothing(gallery: Gallery) -> None:
    with gallery.writer() as writer:
        writer.remove(gallery.existing())
        writer.compact()
        assert files(gallery) == set()
        writer.add(block_of([0]), [photo_id(0)])
    assert set(contents(gallery)) == {photo_id(0)}


def test_what_a_reader_holds_stays_readable(gallery: Gallery) -> None:
    held = gallery.snapshot()
    values = [view.levels[0].tobytes() for view in held.segments]
    with gallery.writer() as writer:
        writer.compact()
    assert [view.levels[0].tobytes() for view in held.segments] == values


def test_a_reader_that_comes_too_late_for_a_file_finds_its_photos_in_the_merged_one(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compaction between reading the catalogue and mapping what it names."""
    before = contents(gallery)
    late = Gallery(gallery.path, gallery._catalogue, gallery.meta)
    original: Callable[..., object] = segments.open_segment
    compacted = []

    def open_late(*arguments: object) -> object:
        if not compacted:
            compacted.append(True)
            with gallery.writer() as writer:
                writer.compact()
        return original(*arguments)

    monkeypatch.setattr("engine.reader.open_segment", open_late)
    assert contents(late) == before
    assert compacted


def test_a_gallery_compacted_while_it_is_verified_is_not_taken_for_damaged(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, verified = segments.verify_segment, list[object]()

    def verify_late(*arguments: Any) -> None:
        verified.append(arguments)
        if len(verified) == 1:
            with gallery.writer() as writer:
                writer.compact()
        original(*arguments)

    monkeypatch.setattr("engine.gallery.verify_segment", verify_late)
    gallery.verify()
    assert len(verified) == 1 + gallery.info().segments


def test_readers_see_all_photos_at_every_moment_of_compaction(gallery: Gallery) -> None:
    expected, done, failures = contents(gallery), threading.Event(), list[BaseException]()

    def read() -> None:
        try:
            while not done.is_set():
                for opened in (gallery, Gallery.open(gallery.path)):
                    found = contents(opened)
                    found.pop("more", None)
                    assert found == expected
        except BaseException as error:  # reported by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(100, 112):
        with gallery.writer() as writer:
            writer.add(block_of([number]), ["more"])
            writer.remove(["more"])
            writer.compact()
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_damaged_segment_is_not_merged_into_one_with_a_checksum_of_its_own(gallery: Gallery) -> None:
    name = gallery.snapshot().segments[0].name
    path = gallery.path / "segments" / f"{name}.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with gallery.writer() as writer, pytest.raises(GalleryCorruptError, match=f"{name}.*SHA-256"):
        writer.compact()
    assert path.exists()


def test_a_full_disk_leaves_all_photos_where_they_were(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    before, names = contents(gallery), files(gallery)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with gallery.writer() as writer:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(GalleryError, match=r"No space left .*All photos are still there"):
                writer.compact()
        assert contents(gallery) == before
        assert files(gallery) < names, "what nobody needs is gone, and nothing half written is there"
        writer.compact()
    assert contents(Gallery.open(gallery.path)) == before


def test_default_ids_are_not_given_again_after_compaction(tmp_path: Path) -> None:
    """`rows_ever` counts what was dropped: see `Retriever.add_features`."""
    gallery = Gallery.create(tmp_path / "g", shapes=SHAPES, model_fingerprint="m")
    with gallery.writer() as writer:
        writer.add(block_of([0, 1, 2]), ["0", "1", "2"])
        writer.remove(["2"])
        writer.compact()
        writer.add(block_of([3]), ["3"])
    assert gallery.info().rows_ever == 4


def test_a_writer_outside_its_block_does_not_compact(gallery: Gallery) -> None:
    with pytest.raises(GalleryError, match=r"with gallery\.writer"):
        gallery_writer.GalleryWriter(gallery.path, gallery._catalogue, SHAPES).compact()
