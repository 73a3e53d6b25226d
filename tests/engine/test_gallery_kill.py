"""A writer may die at any moment: nothing committed is lost or doubled, going on gives the same gallery."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.catalogue import Catalogue
from engine.errors import GalleryError
from engine.gallery import Gallery
from tests.engine.kill_writer import SHAPES, block_of, features, photo_id

ROOT = Path(__file__).parents[2]
TOTAL, BATCH, KILLS = 240, 4, 12


def start_writer(path: Path) -> subprocess.Popen[bytes]:
    """Start the writer and return once it is about to open the gallery."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("kill_writer.py")), str(path), str(TOTAL), str(BATCH)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def contents(gallery: Gallery) -> dict[str, bytes]:
    """Id -> the bytes of its features, as stored."""
    found: dict[str, bytes] = {}
    for segment in gallery.snapshot().segments:
        for row, id_ in zip(segment.live_rows, segment.ids, strict=True):
            assert id_ not in found, f"{id_} is there twice"
            arrays = (*segment.levels, segment.region_weights, segment.level_weights, segment.maps)
            found[id_] = b"".join(array[row].tobytes() for array in arrays)
    return found


def expected(number: int) -> bytes:
    return b"".join(array[0].tobytes() for array in features(number).encoded().arrays().values())


def test_a_killed_writer_loses_at_most_the_segment_being_written(tmp_path: Path) -> None:
    whole = {photo_id(number): expected(number) for number in range(TOTAL)}

    undisturbed = start_writer(tmp_path / "undisturbed")
    began = time.monotonic()
    assert undisturbed.wait(timeout=60) == 0
    life = time.monotonic() - began
    assert contents(Gallery.open(tmp_path / "undisturbed")) == whole

    killed = tmp_path / "killed"
    moments = random.Random(0)
    sizes = [0]
    died = 0
    for _ in range(KILLS):
        process = start_writer(killed)
        time.sleep(moments.uniform(0, life / KILLS))
        process.kill()
        died += process.wait() != 0
        if not Gallery.exists(killed):  # killed before the gallery was made
            continue
        gallery = Gallery.open(killed)
        found = contents(gallery)
        assert found.items() <= whole.items()
        assert len(found) >= sizes[-1]
        assert len(found) % BATCH == 0, "a batch is there in part"
        assert all(gallery.preview(id_) == id_.encode() for id_ in found)
        gallery.verify()
        sizes.append(len(found))
    assert died >= KILLS // 2, "the writer was through too early for the kills to mean anything"
    assert len(set(sizes)) > 2, "no kill came in the midst of adding"

    assert start_writer(killed).wait(timeout=60) == 0
    gallery = Gallery.open(killed)
    assert contents(gallery) == whole
    stored = {entry.name for entry in (killed / "segments").iterdir()}
    assert stored == {f"{segment.name}.safetensors" for segment in gallery.snapshot().segments}, "orphans were left"


def test_a_segment_that_missed_its_transaction_is_invisible_and_cleaned_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery.create(tmp_path / "g", shapes=SHAPES, model_fingerprint="m")
    with gallery.writer() as writer:
        writer.add(block_of([0]), ["a"])
        with monkeypatch.context() as patch:
            patch.setattr(Catalogue, "add_segment", lambda *_, **__: (_ for _ in ()).throw(GalleryError("power cut")))
            with pytest.raises(GalleryError, match="power cut"):
                writer.add(block_of([1]), ["b"])
    assert len(list((tmp_path / "g" / "segments").iterdir())) == 2
    assert gallery.snapshot().ids == ("a",)
    assert Gallery.open(tmp_path / "g").snapshot().ids == ("a",)
    with gallery.writer() as writer:
        assert len(list((tmp_path / "g" / "segments").iterdir())) == 1
        writer.add(block_of([1]), ["b"])
    assert contents(gallery) == {"a": expected(0), "b": expected(1)}


def test_a_transaction_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = Gallery.create(tmp_path / "g", shapes=SHAPES, model_fingerprint="m")
    with gallery.writer() as writer:
        writer.add(block_of([0]), ["a"])
        monkeypatch.setattr("engine.catalogue._metadata_to_json", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            writer.add(block_of([1, 2]), ["b", "c"])
    assert gallery.snapshot().generation == 1
    assert gallery.info().photos == 1
    assert gallery.info().segments == 1


def test_a_write_that_fails_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = Gallery.create(tmp_path / "g", shapes=SHAPES, model_fingerprint="m")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with gallery.writer() as writer:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(GalleryError, match="No space left"):
                writer.add(block_of([0]), ["a"])
        assert list((tmp_path / "g" / "segments").iterdir()) == []
        writer.add(block_of([0]), ["a"])
    assert contents(gallery) == {"a": expected(0)}


def test_the_next_reader_rolls_back_a_commit_that_was_cut_off(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "g", shapes=SHAPES, model_fingerprint="m")
    with gallery.writer() as writer:
        writer.add(block_of([0]), ["a"])
    # Die in the midst of a commit: pages already written over, the journal that undoes them still there.
    script = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM photos")
connection.executemany("INSERT INTO photos VALUES (?, 1, ?, ?, NULL, NULL, NULL)",
                       ((f"x{n}", n, "p" * 500) for n in range(1000)))
os._exit(9)
"""
    catalogue = tmp_path / "g" / "catalogue.sqlite"
    size = catalogue.stat().st_size
    subprocess.run([sys.executable, "-c", script, str(catalogue)], check=False)
    assert catalogue.with_name("catalogue.sqlite-journal").exists()
    assert catalogue.stat().st_size > size
    assert Gallery.open(tmp_path / "g").snapshot().ids == ("a",)


@pytest.mark.parametrize("leftover", ["catalogue.new", "catalogue.new-journal", "writer.json"])
def test_an_interrupted_creation_can_be_done_again(tmp_path: Path, leftover: str) -> None:
    (tmp_path / "g" / "segments").mkdir(parents=True)
    (tmp_path / "g" / leftover).write_bytes(b"half of it")
    assert not Gallery.exists(tmp_path / "g")
    gallery = Gallery.create(tmp_path / "g", shapes=SHAPES, model_fingerprint="m")
    assert len(gallery.snapshot()) == 0
