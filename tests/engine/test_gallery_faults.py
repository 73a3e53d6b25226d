"""What a disk, a clock or another process may do to a gallery: nothing that was committed is lost."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import GalleryLockedError
from engine.gallery import Gallery
from engine.gallery_writer import GalleryWriter
from engine.retriever import Retriever
from tests.engine.conftest import COUNT
from tests.engine.kill_writer import SHAPES, block_of
from tests.engine.test_gallery_kill import contents, expected
from tests.engine.test_upsert import RED

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    gallery = Gallery.create(tmp_path / "g", shapes=SHAPES, model_fingerprint="m")
    with gallery.writer() as writer:
        writer.add(block_of([0, 1]), ["a", "b"])
        writer.add(block_of([2]), ["c"])
    return gallery


WRITES = {
    "add": "writer.add(block_of([7]), ['new'], metadata=[{'text': 'x' * 100_000}])",
    "describe": "writer.update_metadata({'a': {'text': 'x' * 100_000}})",
    "index": "writer.index_metadata(f'key {number}' for number in range(30))",
    "compact": "writer.compact()",
}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
@pytest.mark.parametrize("operation", WRITES.values(), ids=WRITES.keys())
def test_a_disk_that_is_full_for_the_catalogue_leaves_all_as_it_was(gallery: Gallery, operation: str) -> None:
    """The system refuses to let the catalogue, or its journal, grow: the commit is undone, by whoever comes next."""
    before, records = contents(gallery), gallery.existing()
    script = f"""
import resource, signal, sys
from engine.errors import GalleryError
from engine.gallery import Gallery
from tests.engine.kill_writer import block_of
gallery = Gallery.open(sys.argv[1])
with gallery.writer() as writer:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))  # the journal can't hold one page
    try:
        {operation}
    except GalleryError as error:
        print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", script, str(gallery.path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert "check the disk's free space" in result.stdout
    assert (contents(gallery), gallery.existing()) == (before, records)
    gallery.verify()
    with gallery.writer() as writer:
        writer.add(block_of([3]), ["d"])
        writer.compact()
    assert contents(gallery) == {id_: expected(number) for number, id_ in enumerate("abcd")}


UPKEEP: dict[str, Callable[[GalleryWriter], object]] = {
    "compact": GalleryWriter.compact,
    "verify": GalleryWriter.verify,
    "describe": lambda writer: writer.update_metadata({"a": {}}),
}


@pytest.mark.parametrize("operation", UPKEEP.values(), ids=UPKEEP.keys())
def test_a_second_writer_is_refused_whatever_it_is_to_do(
    gallery: Gallery, operation: Callable[[GalleryWriter], object]
) -> None:
    with gallery.writer(), pytest.raises(GalleryLockedError, match=f"process {os.getpid()}"):  # noqa: SIM117
        with Gallery.open(gallery.path).writer() as second:
            operation(second)


def test_a_clock_that_runs_backwards_changes_nothing(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits are counted; no time decides which is newer, or which file is to be deleted."""
    for name in ("time", "time_ns", "monotonic"):
        times = itertools.count(2 * 10**9, -(10**6))
        monkeypatch.setattr(f"time.{name}", lambda times=times: next(times))
    reader = Gallery.open(gallery.path)
    generations = [reader.snapshot().generation]
    for number, id_ in enumerate("def", 3):
        with gallery.writer() as writer:
            writer.add(block_of([number]), [id_])
            generations.append(reader.snapshot().generation)
            os.utime(gallery.path / "catalogue.sqlite", (0, 0))
            writer.compact()
    assert generations == sorted(set(generations))
    assert contents(reader) == {id_: expected(number) for number, id_ in enumerate("abcdef")}


def test_a_photo_changed_while_the_clock_was_back_is_noticed(empty: Retriever, photos: Path) -> None:
    empty.add(photos)
    RED.save(photos / "photo-0.png")
    os.utime(photos / "photo-0.png", (1, 1))  # older than the gallery, than the file it replaces, than anything
    report = empty.add(photos, replace=True)
    assert (report.added, report.replaced, report.already) == (("photo-0.png",), 1, COUNT - 1)
