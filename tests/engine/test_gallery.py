"""The gallery: adding, removing, snapshots, other processes, and each way it can say no."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import errors
from engine.gallery import FeatureBlock, FeatureShapes, Gallery
from engine.gallery_writer import MAX_ID_LENGTH
from engine.model_check import EXTERNAL
from engine.records import PhotoFile
from tests.engine.kill_writer import SHAPES, block_of, photo_id

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """An empty gallery."""
    return Gallery.create(tmp_path / "my.gallery", shapes=SHAPES, model_fingerprint="abc", model_name="a.pt")


def add(gallery: Gallery, *numbers: int, **columns: Any) -> None:
    with gallery.writer() as writer:
        writer.add(block_of(list(numbers)), [photo_id(number) for number in numbers], **columns)


def files_of(path: Path) -> dict[str, bytes]:
    return {str(entry.relative_to(path)): entry.read_bytes() for entry in path.rglob("*") if entry.is_file()}


def python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, with the project importable."""
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_gallery_needs_no_torch() -> None:
    result = python("import sys, engine.gallery; sys.exit('torch' in sys.modules)")
    assert result.returncode == 0, result.stderr or "torch was imported"


# -- adding and reading


def test_a_new_gallery_is_empty(gallery: Gallery) -> None:
    assert len(gallery.snapshot()) == 0
    assert gallery.snapshot().segments == ()
    assert gallery.existing() == {}


def test_what_was_added_is_found_after_opening_again(gallery: Gallery) -> None:
    add(gallery, 0, 1)
    add(gallery, 2)
    snapshot = Gallery.open(gallery.path).snapshot()
    assert snapshot.ids == ("photo-00000", "photo-00001", "photo-00002")
    assert len(snapshot) == 3
    first, second = snapshot.segments
    wanted = block_of([0, 1]).encoded()
    assert all(np.array_equal(*pair) for pair in zip(first.levels, wanted.levels, strict=True))
    assert np.array_equal(first.region_weights, wanted.region_weights)
    assert np.array_equal(first.level_weights, wanted.level_weights)
    assert np.array_equal(first.maps, wanted.maps)
    assert not first.levels[0].flags.owndata
    assert first.live_rows.tolist() == [0, 1]
    assert second.live_rows.tolist() == [0]


def test_records_hold_what_was_given(gallery: Gallery) -> None:
    add(
        gallery, 0, 1,
        paths=["a/b.png", None], content_hashes=["h", None], file_stamps=["1:2", None],
        metadata=[{"price": 3, "tags": ["é"]}, None], previews=[b"\xff\xd8", None],
    )  # fmt: skip
    segment = gallery.snapshot().segments[0].name
    full, bare = gallery.record("photo-00000"), gallery.record("photo-00001")
    assert (full.path, full.content_hash, full.file_stamp) == ("a/b.png", "h", "1:2")
    assert full.metadata == {"price": 3, "tags": ["é"]}
    assert (bare.path, bare.content_hash, bare.file_stamp, bare.metadata) == (None, None, None, None)
    assert (full.segment, full.row, bare.segment, bare.row) == (segment, 0, segment, 1)
    assert gallery.preview("photo-00000") == b"\xff\xd8"
    assert gallery.preview("photo-00001") is None
    assert gallery.preview("nobody") is None
    assert gallery.existing() == {record.id: record for record in (full, bare)}
    assert gallery.records(["photo-00001", "nobody"]) == {"photo-00001": bare}


def test_an_empty_block_changes_nothing(gallery: Gallery) -> None:
    whole = block_of([0])
    none = FeatureBlock(
        tuple(level[:0] for level in whole.levels),
        whole.region_weights[:0],
        whole.level_weights[:0],
        whole.maps[:0],
    )
    with gallery.writer() as writer:
        writer.add(none, [])
        writer.remove([])
    assert gallery.snapshot().generation == 0


@pytest.mark.parametrize("id_", ["a", "ä" * MAX_ID_LENGTH, "a/b c.png", "'; DROP TABLE photos; --", "\n", "\ufeff😀"])
def test_any_reasonable_id_is_kept(gallery: Gallery, id_: str) -> None:
    with gallery.writer() as writer:
        writer.add(block_of([0]), [id_], previews=[b"p"])
    assert gallery.snapshot().ids == (id_,)
    assert gallery.record(id_).id == id_
    assert gallery.preview(id_) == b"p"
    with gallery.writer() as writer:
        writer.remove([id_])
    assert gallery.existing() == {}


def test_info_counts(gallery: Gallery) -> None:
    add(gallery, 0, 1, 2)
    add(gallery, 3)
    with gallery.writer() as writer:
        writer.remove(["photo-00001"])
    info = gallery.info()
    assert (info.photos, info.dead_rows, info.segments, info.generation) == (3, 1, 2, 3)
    assert info.bytes_on_disk == sum(len(data) for data in files_of(gallery.path).values())
    assert (info.meta.model_fingerprint, info.meta.model_name) == ("abc", "a.pt")
    assert (info.meta.shapes, info.meta.format_version, info.meta.region_weight_power) == (SHAPES, 1, 1)
    assert Gallery.open(gallery.path).info() == info


# -- removing


def test_ids_are_stable_after_removes_and_reopening(gallery: Gallery) -> None:
    add(gallery, 0, 1, 2)
    add(gallery, 3, 4)
    before = gallery.existing()
    with gallery.writer() as writer:
        writer.remove(["photo-00001", "photo-00003", "photo-00003"])
    left = {id_: record for id_, record in before.items() if id_ not in ("photo-00001", "photo-00003")}
    reopened = Gallery.open(gallery.path)
    assert reopened.existing() == left
    first, second = reopened.snapshot().segments
    assert (first.ids, first.live_rows.tolist()) == (("photo-00000", "photo-00002"), [0, 2])
    assert (second.ids, second.live_rows.tolist()) == (("photo-00004",), [1])
    assert reopened.preview("photo-00001") is None


def test_a_removed_id_can_be_added_again(gallery: Gallery) -> None:
    add(gallery, 0, previews=[b"old"])
    with gallery.writer() as writer:
        writer.remove(["photo-00000"])
        assert gallery.snapshot().segments == ()
        writer.add(block_of([7]), ["photo-00000"])
    (segment,) = gallery.snapshot().segments
    assert np.array_equal(segment.levels[0], block_of([7]).encoded().levels[0])
    assert gallery.preview("photo-00000") is None


def test_removing_an_unknown_id_removes_nothing(gallery: Gallery) -> None:
    add(gallery, 0)
    with gallery.writer() as writer, pytest.raises(errors.UnknownIdError, match=r"'n0', .*'n4' and 2 more"):
        writer.remove(["photo-00000", *(f"n{index}" for index in range(7))])
    assert gallery.snapshot().ids == ("photo-00000",)
    with pytest.raises(errors.UnknownIdError, match="does not hold 'nobody'"):
        gallery.record("nobody")


# -- snapshots


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
    assert after.ids == ("photo-00001",)
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


# -- one writer


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


# -- what can't be added


@pytest.mark.parametrize(
    ("ids", "columns", "error", "message"),
    [
        (["a", "a"], {}, errors.DuplicateIdError, "'a' more than once"),
        (["b", "photo-00000"], {}, errors.DuplicateIdError, "already holds 'photo-00000'"),
        (["b", ""], {}, errors.InvalidPhotoError, "1 to 1024 characters"),
        (["b", "a\0b"], {}, errors.InvalidPhotoError, "without NUL"),
        (["b", "x" * (MAX_ID_LENGTH + 1)], {}, errors.InvalidPhotoError, "1024"),
        (["b", 3], {}, errors.InvalidPhotoError, "expected a string"),
        (["b", "\udcff"], {}, errors.InvalidPhotoError, "not valid Unicode"),
        (["b", "c"], {"paths": ["ok", "\udcff.png"]}, errors.InvalidPhotoError, "'c'.*not valid Unicode"),
        (["b", "c"], {"paths": ["one"]}, errors.InvalidPhotoError, "lists of one length"),
        (["b", "c"], {"previews": []}, errors.InvalidPhotoError, "lists of one length"),
        (["b", "c"], {"metadata": [None, {"x": object()}]}, errors.InvalidPhotoError, "'c'.*JSON"),
        (["b", "c"], {"metadata": [None, {"x": float("nan")}]}, errors.InvalidPhotoError, "'c'.*JSON"),
        (["b", "c"], {"metadata": [None, ["x"]]}, errors.InvalidPhotoError, "'c'.*metadata is a list; expected a dict"),
        (["b", "c"], {"metadata": [None, "x"]}, errors.InvalidPhotoError, "'c'.*metadata is a str; expected a dict"),
        (["b"], {}, errors.FeatureShapeError, "1 ids for the features of 2 photos"),
    ],
)
def test_what_cannot_be_catalogued_is_refused_and_nothing_is_written(
    gallery: Gallery, ids: Any, columns: Any, error: type[Exception], message: str
) -> None:
    add(gallery, 0)
    before = files_of(gallery.path)
    with pytest.raises(error, match=message), gallery.writer() as writer:
        writer.add(block_of([1, 2]), ids, **columns)
    assert files_of(gallery.path) == before


def test_an_error_names_five_ids_at_most(gallery: Gallery) -> None:
    add(gallery, *range(8))
    with pytest.raises(errors.DuplicateIdError, match=r"'photo-00004' and 3 more;"):
        add(gallery, *range(8))


@pytest.mark.parametrize(
    "shapes",
    [
        replace(SHAPES, regions=3),
        replace(SHAPES, level_dims=(3, 5, 5)),
        replace(SHAPES, level_dims=(3, 6)),
        replace(SHAPES, map_size=(2, 3)),
    ],
)
def test_features_of_other_shapes_are_refused(gallery: Gallery, shapes: FeatureShapes) -> None:
    with (
        pytest.raises(errors.FeatureShapeError, match=r"2 regions, 2 levels of .*; these have"),
        gallery.writer() as w,
    ):
        w.add(block_of([0], shapes), ["a"])
    assert len(gallery.snapshot()) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, 7e4])
def test_bad_values_are_refused_and_nothing_is_written(gallery: Gallery, value: float) -> None:
    add(gallery, 0)
    before = files_of(gallery.path)
    bad = block_of([1, 2])
    bad.levels[1][1, 0, 2] = value
    with pytest.raises(errors.FeatureValueError, match="'c', level 1, region 0"), gallery.writer() as writer:
        writer.add(bad, ["b", "c"])
    assert files_of(gallery.path) == before


MINE, SHIPPED = "/my models/a.pt", "shipped"


@pytest.mark.parametrize(
    ("held", "held_name", "used_name", "parts"),
    [
        ("abc", MINE, SHIPPED, ["model abc (/my models/a.pt)", "is xyz (shipped)", f"`--model '{MINE}'`", "{new}`."]),
        (
            "abc",
            SHIPPED,
            MINE,
            ["abc (shipped)", "load the shipped model: leave out `--model`", "{new} --model '/my mo"],
        ),
        (
            "abc",
            SHIPPED,
            SHIPPED,
            ["abc (shipped)", "is xyz (shipped)", "install the release of this package", "{new}`."],
        ),
        ("abc", "", SHIPPED, ["model abc,", "load the model with that fingerprint", "{new}`."]),
        ("abc", MINE, None, ["is xyz:", f"`--model '{MINE}'`", "add them to another gallery"]),
        (
            EXTERNAL,
            "",
            SHIPPED,
            [EXTERNAL, "give `search_features` and `add_features` features of the same", "{new}`."],
        ),
    ],
    ids=[
        "shipped in use",
        "checkpoint in use",
        "another release",
        "nameless gallery",
        "features in use",
        "gallery of features",
    ],
)
def test_a_gallery_of_another_model_is_refused_with_both_ways_out(
    tmp_path: Path, held: str, held_name: str, used_name: str | None, parts: list[str]
) -> None:
    gallery = Gallery.create(tmp_path / "a b", shapes=SHAPES, model_fingerprint=held, model_name=held_name)
    gallery.check_model(held)
    with pytest.raises(errors.ModelMismatchError) as caught:
        gallery.check_model("xyz", used_name)
    new = f"python -m engine index PHOTOS --gallery '{gallery.path}.new'"
    for part in parts:
        assert part.replace("{new}", new) in str(caught.value)


def test_where_files_are_can_be_updated_in_one_commit(gallery: Gallery) -> None:
    add(gallery, 0, 1, paths=["a", "b"], content_hashes=["h", "i"], file_stamps=["1", "2"])
    before, snapshot = gallery.existing(), gallery.snapshot()
    with gallery.writer() as writer:
        writer.update_files([PhotoFile("photo-00001", "c", "3"), PhotoFile("nobody", "d", "4")])
        writer.update_files([])
        with pytest.raises(errors.InvalidPhotoError, match="not valid Unicode"):
            writer.update_files([PhotoFile("photo-00000", "e", None), PhotoFile("photo-00001", "\udcff", None)])
    moved = replace(before["photo-00001"], path="c", file_stamp="3")
    assert Gallery.open(gallery.path).existing() == before | {"photo-00001": moved}
    assert gallery.snapshot().generation == snapshot.generation + 1
    assert gallery.snapshot().segments[0] is snapshot.segments[0], "features don't depend on where files are"


# -- opening and creating


def test_a_missing_gallery_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(errors.NotAGalleryError, match="python -m engine index PHOTOS --gallery"):
        Gallery.open(tmp_path / "missing")
    assert not Gallery.exists(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


def test_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder, file = tmp_path / "photos", tmp_path / "photo.png"
    folder.mkdir()
    (folder / "cat.png").write_bytes(b"cat")
    file.write_bytes(b"dog")
    for path, message in ((folder, "found 'cat.png'"), (file, "expected a directory")):
        for use in (Gallery.exists, Gallery.open, create):
            with pytest.raises(errors.NotAGalleryError, match=message):
                use(path)
    assert files_of(tmp_path) == {"photos/cat.png": b"cat", "photo.png": b"dog"}


def create(path: Path) -> Gallery:
    return Gallery.create(path, shapes=SHAPES, model_fingerprint="abc")


def test_a_gallery_is_made_in_a_new_or_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "parent" / "new ?#%41 ö"):
        assert not Gallery.exists(path)
        create(path)
        assert Gallery.exists(path)
        assert {entry.name for entry in path.iterdir()} == {"catalogue.sqlite", "segments", "writer.lock"}
        assert Gallery.open(str(path)).meta.shapes == SHAPES


def test_a_gallery_is_not_made_twice(gallery: Gallery) -> None:
    add(gallery, 0)
    with pytest.raises(errors.GalleryError, match="is a gallery already"):
        create(gallery.path)
    assert Gallery.open(gallery.path).snapshot().ids == ("photo-00000",)


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.GalleryError, match="can't create"):
        create(tmp_path / "file" / "gallery")


@pytest.mark.parametrize("beside", [[], ["catalogue.sqlite-journal"]], ids=["alone", "with a journal"])
def test_segments_without_a_catalogue_are_a_damaged_gallery_and_left_alone(gallery: Gallery, beside: list[str]) -> None:
    """Taken for an empty place, the next writer would delete them all."""
    add(gallery, 0)
    add(gallery, 1)
    catalogue = (gallery.path / "catalogue.sqlite").read_bytes()
    (gallery.path / "catalogue.sqlite").unlink()
    for name in beside:
        (gallery.path / name).touch()
    before = files_of(gallery.path)
    for use in (Gallery.exists, Gallery.open, create):
        with pytest.raises(
            errors.GalleryCorruptError, match=r"holds 2 segments and no catalogue\.sqlite.* Restore a snapshot"
        ):
            use(gallery.path)
    assert files_of(gallery.path) == before
    for name in beside:
        (gallery.path / name).unlink()
    (gallery.path / "catalogue.sqlite").write_bytes(catalogue)
    assert len(Gallery.open(gallery.path).snapshot()) == 2


LOW_ON_FILES = """
import resource, sys
from engine.errors import GalleryError
from engine.gallery import Gallery
from tests.engine.kill_writer import SHAPES, block_of, photo_id
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]), int(sys.argv[2])))
count = int(sys.argv[3])
gallery = Gallery.create(sys.argv[1], shapes=SHAPES, model_fingerprint="abc")
for number in range(count):
    with gallery.writer() as writer:
        writer.add(block_of([number]), [photo_id(number)])
    if number % 50 == 0 or number == count - 1:
        try:
            assert len(gallery.snapshot()) == number + 1
        except GalleryError as error:
            sys.exit(f"{type(error).__name__}: {error}")
before = gallery.snapshot()
with gallery.writer() as writer:
    writer.add(block_of([count]), [photo_id(count)])
    writer.add(block_of([count + 1, count + 2]), [photo_id(count + 1), photo_id(count + 2)])
    writer.remove([photo_id(count + 1)])
print(len(before), len(gallery.snapshot()))
"""


@pytest.mark.skipif(os.name == "nt", reason="no limit on open files there")
def test_hundreds_of_segments_fit_into_512_open_files(tmp_path: Path) -> None:
    result = python(LOW_ON_FILES, tmp_path / "g", 512, 300)
    assert (result.returncode, result.stdout) == (0, "300 302\n"), result.stderr


@pytest.mark.skipif(os.name == "nt", reason="no limit on open files there")
def test_too_many_segments_for_the_open_files_say_what_to_do(tmp_path: Path) -> None:
    result = python(LOW_ON_FILES, tmp_path / "g", 64, 101)
    assert result.returncode == 1
    assert result.stderr.startswith(f"GalleryError: can't map the segments of {tmp_path / 'g'}: [Errno 24] Too many")
    assert (
        "one file open for each of its 101 segments: allow the process more of them with `ulimit -n`" in result.stderr
    )


def edit(gallery: Gallery, statement: str) -> None:
    with closing(sqlite3.connect(gallery.path / "catalogue.sqlite")) as connection, connection:
        connection.execute(statement)


def test_a_newer_format_is_refused(gallery: Gallery) -> None:
    edit(gallery, "UPDATE meta SET value = '2' WHERE key = 'format_version'")
    with pytest.raises(errors.GalleryVersionError, match=r"format 2.*up to format 1.*Upgrade"):
        Gallery.open(gallery.path)


@pytest.mark.parametrize("content", [b"", b"not a database" * 100], ids=["empty", "noise"])
def test_a_catalogue_that_is_not_one_is_corrupt(gallery: Gallery, content: bytes) -> None:
    catalogue = gallery.path / "catalogue.sqlite"
    catalogue.write_bytes(content)
    with pytest.raises(errors.GalleryCorruptError, match=r"catalogue\.sqlite"):
        Gallery.open(gallery.path)
    assert catalogue.read_bytes() == content


@pytest.mark.parametrize("key", ["format_version", "shapes", "generation", "model_fingerprint"])
def test_an_incomplete_catalogue_is_corrupt(gallery: Gallery, key: str) -> None:
    edit(gallery, f"DELETE FROM meta WHERE key = '{key}'")
    with pytest.raises(errors.GalleryCorruptError, match=f"meta table is incomplete.*{key}"):
        Gallery.open(gallery.path)


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_opening_finds_a_damaged_segment(gallery: Gallery, damage: str) -> None:
    add(gallery, 0)
    (path,) = (gallery.path / "segments").iterdir()
    size = path.stat().st_size
    if damage == "missing":
        path.unlink()
    else:
        os.truncate(path, size - 3)
    with pytest.raises(errors.GalleryCorruptError, match=rf"{path.name}.*expected {size}"):
        Gallery.open(gallery.path)


def test_a_segment_the_system_will_not_map_is_an_error(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    add(gallery, 0)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("engine.segments.mmap.mmap", refuse)
    with pytest.raises(errors.GalleryError, match=r"can't map the segments of .* Cannot allocate memory"):
        Gallery.open(gallery.path)


def test_orphans_that_cannot_be_deleted_are_an_error_and_the_lock_is_released(
    gallery: Gallery,
) -> None:
    orphan = gallery.path / "segments" / ".tmp-0"
    orphan.mkdir()  # in place of a file, so that deleting it as one fails
    with pytest.raises(errors.GalleryError, match=r"can't clean up .*segments: .*\.tmp-0"):
        gallery.writer().__enter__()
    orphan.rmdir()
    add(gallery, 0)


def test_verify_finds_a_flipped_bit(gallery: Gallery) -> None:
    add(gallery, 0)
    gallery.verify()
    (path,) = (gallery.path / "segments").iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(errors.GalleryCorruptError, match=rf"{path.name}: its SHA-256"):
        gallery.verify()


def test_reading_changes_no_file(gallery: Gallery) -> None:
    add(gallery, 0, previews=[b"p"])
    before = files_of(gallery.path)
    reader = Gallery.open(gallery.path)
    reader.snapshot()
    reader.existing()
    reader.preview("photo-00000")
    reader.info()
    assert files_of(gallery.path) == before


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that other users may enter (pytest's own may not be)."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_gallery_in_a_read_only_directory_can_be_read(public_directory: Path) -> None:
    gallery = create(public_directory / "g")
    add(gallery, 0)
    script = """
import mmap, os, sys  # mmap now: Python's own library may be out of another user's reach
from engine.gallery import Gallery
from engine.errors import GalleryError
if os.geteuid() == 0:  # permissions don't bind root
    os.seteuid(65534)
gallery = Gallery.open(sys.argv[1])
assert gallery.snapshot().segments[0].levels[0].shape[0] == 1
assert not os.access(sys.argv[1], os.W_OK, effective_ids=True)
try:
    gallery.writer().__enter__()
except GalleryError as error:
    print(type(error).__name__, error)
"""
    for path in (gallery.path, *gallery.path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        result = python(script, gallery.path)
    finally:
        for path in (gallery.path, *gallery.path.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("GalleryError can't write to gallery")
