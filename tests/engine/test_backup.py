"""Snapshots and the way back: whole commits, shared bytes, nothing lost on the way, ids that stay."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from engine import backup, segments
from engine.catalogue import Catalogue
from engine.errors import GalleryCorruptError, GalleryError, GalleryLockedError
from engine.gallery import Gallery
from tests.engine.kill_writer import SHAPES, block_of, photo_id
from tests.engine.small_gallery import python
from tests.engine.test_gallery_kill import contents


def ids(*numbers: int) -> list[str]:
    return [photo_id(number) for number in numbers]


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """Photos 0 to 4 in two segments, 1 of them removed."""
    gallery = Gallery.create(tmp_path / "g", shapes=SHAPES, model_fingerprint="m")
    with gallery.writer() as writer:
        writer.add(block_of([0, 1, 2]), ids(0, 1, 2), metadata=[{"n": 0}, None, None], previews=[b"p", None, None])
        writer.add(block_of([3, 4]), ids(3, 4))
        writer.remove(ids(1))
    return gallery


def flip(path: Path) -> None:
    """Change one bit of a file, in place or, if it is shared by hard links, in a file of its own."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()
    path.write_bytes(data)


def segment_file(gallery: Gallery, number: int) -> Path:
    return gallery.path / "segments" / f"{gallery.snapshot().segments[number].name}.safetensors"


def test_a_snapshot_is_a_gallery_of_one_commit_that_shares_its_bytes(gallery: Gallery, tmp_path: Path) -> None:
    before, info = contents(gallery), gallery.info()
    gallery.copy(tmp_path / "deep" / "copy")
    copy = Gallery.open(tmp_path / "deep" / "copy")
    with gallery.writer() as writer:
        writer.remove(ids(0, 2, 3))
        writer.add(block_of([9]), ids(9))
        writer.compact()
    assert contents(copy) == before
    assert (copy.record(photo_id(0)).metadata, copy.preview(photo_id(0))) == ({"n": 0}, b"p")
    copy.verify()
    assert (copy.info().photos, copy.info().rows_ever) == (info.photos, info.rows_ever)
    assert copy.meta.gallery_id != gallery.meta.gallery_id
    assert sorted(entry.name for entry in (tmp_path / "deep").iterdir()) == ["copy"]
    with copy.writer() as writer:
        writer.add(block_of([5]), ids(5))
    assert photo_id(5) not in gallery.existing()


def test_hard_links_are_used_and_where_there_are_none_files_are_copied(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.copy(tmp_path / "linked")
    assert all(entry.stat().st_nlink == 2 for entry in (tmp_path / "linked" / "segments").iterdir())

    def no_links(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    gallery.copy(tmp_path / "copied")
    assert all(entry.stat().st_nlink == 1 for entry in (tmp_path / "copied" / "segments").iterdir())
    assert contents(Gallery.open(tmp_path / "copied")) == contents(gallery)


def test_compaction_in_the_midst_of_a_copy_starts_it_over(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, place, compacted = contents(gallery), segments.place_segment, list[bool]()

    def place_late(*arguments: Any) -> None:
        if not compacted:
            compacted.append(True)
            with gallery.writer() as writer:
                writer.compact()
        place(*arguments)

    monkeypatch.setattr("engine.backup.place_segment", place_late)
    gallery.copy(tmp_path / "copy")
    assert contents(Gallery.open(tmp_path / "copy")) == before
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_a_snapshot_goes_to_a_new_directory_only(gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(GalleryError, match="is there already; give a new directory"):
        gallery.copy(tmp_path / "there")


def test_a_failed_copy_leaves_nothing(gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = {entry.name for entry in tmp_path.iterdir()}
    monkeypatch.setattr("engine.backup.place_segment", full)
    with pytest.raises(GalleryError, match=r"No space left on device\. Nothing was left there"):
        gallery.copy(tmp_path / "copy")
    assert {entry.name for entry in tmp_path.iterdir()} == before


def test_a_copy_whose_catalogue_does_not_fit_names_the_copy(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, before = sqlite3.connect, {entry.name for entry in tmp_path.iterdir()}

    def on_a_full_disk(path: str | Path, **options: Any) -> sqlite3.Connection:
        connection = connect(path, **options)
        if isinstance(path, Path):  # the copy's; a transaction gives an address
            connection.execute("PRAGMA max_page_count = 2")
        return connection

    monkeypatch.setattr(sqlite3, "connect", on_a_full_disk)
    with pytest.raises(GalleryError, match=r"\.copy\.\w+\.new/catalogue\.sqlite: database or disk is full"):
        gallery.copy(tmp_path / "copy")
    assert {entry.name for entry in tmp_path.iterdir()} == before


def test_a_segment_that_is_missing_cannot_be_copied(gallery: Gallery, tmp_path: Path) -> None:
    segment_file(gallery, 0).unlink()
    with pytest.raises(GalleryCorruptError, match="it is missing"):
        gallery.copy(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_restoring_is_the_next_commit_for_every_reader(gallery: Gallery, tmp_path: Path) -> None:
    gallery.copy(tmp_path / "copy")
    before = contents(gallery)
    with gallery.writer() as writer:
        writer.remove(ids(0, 3))
        writer.add(block_of([2, 9]), ids(2, 9), replace=True)
        writer.compact()
    held, later = gallery.snapshot(), contents(gallery)
    Gallery.restore(gallery.path, tmp_path / "copy")
    for reader in (gallery, Gallery.open(gallery.path)):
        assert contents(reader) == before
        assert reader.snapshot().generation == held.generation + 1
    assert set(held.ids) == set(later), "a reader's snapshot changed"
    assert gallery.record(photo_id(0)).metadata == {"n": 0}
    assert gallery.preview(photo_id(0)) == b"p"
    gallery.verify()
    assert gallery.info().rows_ever == 7, "ids given since the snapshot would be given again"
    with gallery.writer():
        pass  # deletes what no commit names any more
    assert contents(gallery) == before


def test_restoring_where_nothing_is_makes_a_gallery(gallery: Gallery, tmp_path: Path) -> None:
    gallery.copy(tmp_path / "copy")
    restored = Gallery.restore(tmp_path / "new", tmp_path / "copy")
    assert contents(restored) == contents(gallery)


def test_restoring_repairs_what_is_damaged(gallery: Gallery, tmp_path: Path) -> None:
    gallery.copy(tmp_path / "copy")
    before = contents(gallery)
    flip(segment_file(gallery, 0))
    segment_file(gallery, 1).unlink()
    with Gallery.open(gallery.path, damaged=True).writer() as writer:
        assert len(writer.verify().damaged) == 2
    assert contents(Gallery.open(gallery.path)) == {}
    restored = Gallery.restore(gallery.path, tmp_path / "copy")
    assert contents(restored) == contents(gallery) == before
    restored.verify()


def test_a_damaged_snapshot_changes_nothing(gallery: Gallery, tmp_path: Path) -> None:
    gallery.copy(tmp_path / "copy")
    flip(segment_file(Gallery.open(tmp_path / "copy"), 1))
    with gallery.writer() as writer:
        writer.remove(ids(0))
    before, generation = contents(gallery), gallery.snapshot().generation
    for target in (gallery.path, tmp_path / "new"):
        with pytest.raises(GalleryCorruptError, match="SHA-256"):
            Gallery.restore(target, tmp_path / "copy")
    assert (contents(gallery), gallery.snapshot().generation) == (before, generation)
    assert not (tmp_path / "new").exists()


def test_a_snapshot_of_another_model_is_refused(gallery: Gallery, tmp_path: Path) -> None:
    Gallery.create(tmp_path / "other", shapes=SHAPES, model_fingerprint="another")
    with pytest.raises(GalleryError, match=r"has model_fingerprint another, .* has m: it is no snapshot of this"):
        Gallery.restore(gallery.path, tmp_path / "other")


def test_restoring_needs_the_writers_lock(gallery: Gallery, tmp_path: Path) -> None:
    gallery.copy(tmp_path / "copy")
    with gallery.writer(), pytest.raises(GalleryLockedError):
        Gallery.restore(gallery.path, tmp_path / "copy")


def test_a_restore_that_fails_in_its_transaction_changes_nothing(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.copy(tmp_path / "copy")
    with gallery.writer() as writer:
        writer.remove(ids(0))
    before = contents(gallery)
    monkeypatch.setattr("engine.backup.write_dropped_rows", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Gallery.restore(gallery.path, tmp_path / "copy")
    assert contents(gallery) == contents(Gallery.open(gallery.path)) == before


def test_a_gallery_whose_catalogue_is_damaged_says_to_restore_elsewhere(gallery: Gallery, tmp_path: Path) -> None:
    gallery.copy(tmp_path / "copy")
    (gallery.path / "catalogue.sqlite").write_bytes(os.urandom(4096))
    with pytest.raises(GalleryCorruptError, match="restore SNAPSHOT --gallery NEW"):
        Gallery.restore(gallery.path, tmp_path / "copy")
    assert isinstance(Catalogue(tmp_path / "copy" / "catalogue.sqlite").summary().photos, int)


KILLED = """
import os, signal, sys
from pathlib import Path
import engine.backup as backup
from engine.gallery import Gallery

def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

backup.place_segment = killed
Gallery.open(sys.argv[1]).copy(sys.argv[2])
"""


def test_what_a_killed_copy_left_is_deleted_by_the_next(gallery: Gallery, tmp_path: Path) -> None:
    target = tmp_path / "copies" / "my [copy]"
    assert python(KILLED, gallery.path, target).returncode == -signal.SIGKILL
    left = sorted(path.suffix for path in target.parent.iterdir())
    assert left == [".lock", ".new"]
    gallery.copy(target.with_name("another"))
    assert len(list(target.parent.iterdir())) == 3
    gallery.copy(target)
    assert sorted(path.name for path in target.parent.iterdir()) == ["another", "my [copy]"]


def test_a_copy_at_work_is_left_alone_by_another_to_the_same_place(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, place = tmp_path / "copy", backup.place_segment

    def place_after_another_copy(*arguments: Any) -> None:
        monkeypatch.setattr(backup, "place_segment", place)
        gallery.copy(target)
        place(*arguments)

    monkeypatch.setattr(backup, "place_segment", place_after_another_copy)
    with pytest.raises(GalleryError, match="Nothing was left there"):
        gallery.copy(target)  # the other one was quicker
    assert len(Gallery.open(target).snapshot()) == len(gallery.snapshot())
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
