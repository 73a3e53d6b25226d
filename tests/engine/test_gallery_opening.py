"""Opening and making a gallery: another format, damage, too few open files, no right to write."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine import errors
from engine.gallery import Gallery
from tests.engine.kill_writer import SHAPES
from tests.engine.small_gallery import add, create, files_of, python


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
