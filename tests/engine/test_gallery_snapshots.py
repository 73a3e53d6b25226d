"""Readers of a gallery see whole commits, in any process and thread, and one writes at a time."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine import errors
from engine.gallery import Gallery
from tests.engine.kill_writer import SHAPES, block_of, photo_id
from tests.engine.small_gallery import ROOT, add, python


def test_a_snapshot_is_the_same_object_until_something_changes(gallery: Gallery) -> None:
    add(gallery, 0)
    first = gallery.snapshot()
    assert gallery.snapshot() is first
    add(gallery, 1)
    second = gallery.snapshot()
    assert second.generation == first.generation + 1
    assert second.segments[0] is first.segments[0], "an unchanged segment was opened again"


def test_removing_photos_maps_no_segment_again(gallery: Gallery) -> None:
    """While the old snapshot is in use, each segment mapped twice would take two open files."""
    add(gallery, 0, 1)
    (before,) = gallery.snapshot().segments
    with gallery.writer() as writer:
        writer.remove(["photo-00000"])
    (after,) = gallery.snapshot().segments
    assert tuple(after.ids) == ("photo-00001",)
    assert all(new is old for new, old in zip(after.levels, before.levels, strict=True))


def test_a_snapshot_does_not_see_later_commits(gallery: Gallery) -> None:
    add(gallery, 0, 1)
    before = gallery.snapshot()
    values = before.segments[0].levels[0].tobytes()
    with gallery.writer() as writer:
        writer.remove(["photo-00000"])
    add(gallery, 2)
    assert before.ids == ("photo-00000", "photo-00001")
    assert before.segments[0].live_rows.tolist() == [0, 1]
    assert before.segments[0].levels[0].tobytes() == values
    assert gallery.snapshot().ids == ("photo-00001", "photo-00002")


def test_commits_of_another_process_are_seen(gallery: Gallery) -> None:
    assert len(gallery.snapshot()) == 0
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("kill_writer.py")), str(gallery.path), "6", "3"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0
    assert gallery.snapshot().ids == tuple(photo_id(number) for number in range(6))


def test_another_process_sees_whole_commits_only(gallery: Gallery) -> None:
    script = """
import sys
from engine.gallery import Gallery
gallery = Gallery.open(sys.argv[1])
print("ready", flush=True)
seen = set()
while True:
    snapshot = gallery.snapshot()
    counts = [len(segment.ids) for segment in snapshot.segments]
    assert counts == [5] * snapshot.generation, counts
    assert len(gallery.existing()) % 5 == 0
    seen.add(len(counts))
    if len(counts) == 20:
        break
print(len(seen))
"""
    reader = subprocess.Popen(
        [sys.executable, "-c", script, str(gallery.path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    for start in range(0, 100, 5):
        add(gallery, *range(start, start + 5))
    output, _ = reader.communicate(timeout=60)
    assert reader.returncode == 0
    assert int(output) > 2, "the reader saw no commit in between"


def test_threads_may_read_while_one_writes(gallery: Gallery) -> None:
    failures: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        newest = 0
        try:
            while not done.is_set():
                snapshot = gallery.snapshot()
                assert snapshot.generation >= newest
                assert len(snapshot.ids) == 3 * snapshot.generation
                newest = snapshot.generation
        except BaseException as error:  # reported by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    with gallery.writer() as writer:
        for start in range(0, 45, 3):
            writer.add(block_of([start] * 3), [photo_id(start + index) for index in range(3)])
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(gallery.snapshot()) == 45


def test_a_gallery_replaced_by_another_is_noticed(gallery: Gallery) -> None:
    add(gallery, 0)
    other = Gallery.create(gallery.path.parent / "other", shapes=SHAPES, model_fingerprint="abc")
    add(other, 1)
    gallery.path.rename(gallery.path.parent / "old")
    other.path.rename(gallery.path)
    with pytest.raises(errors.GalleryError, match="replaced by another gallery"):
        gallery.snapshot()


def test_a_second_writer_is_told_who_holds_the_lock(gallery: Gallery) -> None:
    with gallery.writer():
        for second in (gallery.writer(), Gallery.open(gallery.path).writer()):
            with pytest.raises(errors.GalleryLockedError, match=f"process {os.getpid()} on .* since 2") as caught:
                second.__enter__()
            assert caught.value.pid == os.getpid()
            assert caught.value.host
            assert caught.value.since
        script = """
import sys
from engine.gallery import Gallery
with Gallery.open(sys.argv[1]).writer():
    pass
"""
        refused = python(script, gallery.path)
        assert refused.returncode == 1
        assert f"GalleryLockedError: {gallery.path} is being written by process {os.getpid()}" in refused.stderr
    assert python(script, gallery.path).returncode == 0
    assert not (gallery.path / "writer.json").exists()


def test_a_writer_can_be_entered_by_one_thread_only(gallery: Gallery) -> None:
    writer = gallery.writer()
    with writer, pytest.raises(errors.GalleryLockedError):
        writer.__enter__()
    with writer:
        writer.add(block_of([0]), ["a"])


def test_the_lock_is_released_after_an_error(gallery: Gallery) -> None:
    with pytest.raises(ZeroDivisionError), gallery.writer():
        raise ZeroDivisionError
    add(gallery, 0)


def test_a_writer_outside_its_block_refuses(gallery: Gallery) -> None:
    writer = gallery.writer()
    with pytest.raises(errors.GalleryError, match=r"with gallery\.writer"):
        writer.add(block_of([0]), ["a"])
    with pytest.raises(errors.GalleryError, match=r"with gallery\.writer"):
        writer.remove(["a"])
