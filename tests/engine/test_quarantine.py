"""Damaged files: named and left out, the rest found; repaired, everything is as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import GalleryCorruptError
from engine.gallery import Gallery
from engine.quarantine import VerifyReport
from engine.retriever import Retriever
from tests.engine.conftest import COUNT
from tests.engine.kill_writer import SHAPES, block_of
from tests.engine.test_backup import flip, segment_file
from tests.engine.test_gallery_kill import contents, expected


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-7])


DAMAGES = {
    "bit flipped": (flip, "SHA-256"),
    "truncated": (truncate, r"bytes, expected"),
    "missing": (Path.unlink, "missing"),
}
damages = pytest.mark.parametrize(("damage", "fault"), DAMAGES.values(), ids=DAMAGES.keys())


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    gallery = Gallery.create(tmp_path / "g", shapes=SHAPES, model_fingerprint="m")
    with gallery.writer() as writer:
        writer.add(block_of([0, 1]), ["a", "b"], previews=[b"a", b"b"])
        writer.add(block_of([2, 3]), ["c", "d"])
    return gallery


def verify(path: Path) -> VerifyReport:
    with Gallery.open(path, damaged=True).writer() as writer:
        return writer.verify()


def test_an_intact_gallery_is_only_read(gallery: Gallery) -> None:
    generation = gallery.snapshot().generation
    report = verify(gallery.path)
    assert (report.intact, report.damaged, report.healed) == (2, (), ())
    assert str(report) == "segments as they were written: 2, damaged: 0"
    assert gallery.snapshot().generation == generation


@damages
def test_a_damaged_segment_is_named_and_the_rest_is_found(
    gallery: Gallery, damage: Callable[[Path], None], fault: str
) -> None:
    reader = Gallery.open(gallery.path)  # in another process, say: it has the segment mapped
    file = segment_file(gallery, 0)
    damage(file)
    report = verify(gallery.path)
    [found] = report.damaged
    assert (found.file, found.ids, report.intact) == (file, ("a", "b"), 1)
    assert fault.split(",")[0] in found.fault
    assert "Quarantined with 2 photos: 'a', 'b'" in str(report)
    assert f"index PHOTOS --gallery {gallery.path}" in str(report)
    assert "restore SNAPSHOT" in str(report)
    for opened in (reader, Gallery.open(gallery.path)):
        assert contents(opened) == {"c": expected(2), "d": expected(3)}
        assert set(opened.existing()) == {"c", "d"}
    info = gallery.info()
    assert (info.photos, info.quarantined_photos, info.dead_rows, info.rows_ever) == (2, 2, 0, 4)
    assert verify(gallery.path) == report, "verified again, it is the same"


@damages
def test_before_it_is_verified_a_damaged_gallery_says_to_verify_it(
    gallery: Gallery, damage: Callable[[Path], None], fault: str
) -> None:
    damage(segment_file(gallery, 0))
    with pytest.raises(GalleryCorruptError, match=rf"{fault}.*python -m engine verify --gallery {gallery.path}"):
        Gallery.open(gallery.path).verify()


@damages
def test_a_file_put_back_is_searched_again(gallery: Gallery, damage: Callable[[Path], None], fault: str) -> None:
    before, file = contents(gallery), segment_file(gallery, 0)
    data = file.read_bytes()
    damage(file)
    assert verify(gallery.path).damaged
    assert len(contents(gallery)) == 2
    file.write_bytes(data)
    assert verify(gallery.path).healed == (file,)
    assert contents(gallery) == contents(Gallery.open(gallery.path)) == before


def test_photos_added_again_replace_the_lost_ones_and_compaction_drops_the_rest(gallery: Gallery) -> None:
    file = segment_file(gallery, 0)
    truncate(file)
    verify(gallery.path)
    with gallery.writer() as writer:
        writer.add(block_of([0]), ["a"])
        writer.compact()
        assert file.exists(), "b is still to be repaired"
        writer.add(block_of([1]), ["b"])
        writer.compact()
        assert not file.exists()
    assert contents(gallery) == {id_: expected(number) for number, id_ in enumerate("abcd")}
    assert gallery.info().quarantined_photos == 0
    assert verify(gallery.path).damaged == ()


def test_photos_added_again_keep_their_metadata_unless_they_bring_some(gallery: Gallery) -> None:
    with gallery.writer() as writer:
        writer.update_metadata({"a": {"price": 1}, "b": {"price": 2}, "c": {"price": 3}})
    truncate(segment_file(gallery, 0))
    verify(gallery.path)
    with gallery.writer() as writer:
        writer.add(block_of([0, 1]), ["a", "b"], metadata=[None, {"price": 20}])
        writer.add(block_of([2]), ["c"], replace=True)
    prices = {id_: record.metadata for id_, record in gallery.existing().items()}
    assert prices == {"a": {"price": 1}, "b": {"price": 20}, "c": None, "d": None}


def test_lost_photos_can_be_removed(gallery: Gallery) -> None:
    truncate(segment_file(gallery, 0))
    verify(gallery.path)
    with gallery.writer() as writer:
        writer.remove(["a", "b"])
        writer.compact()
    assert contents(gallery) == {"c": expected(2), "d": expected(3)}
    assert gallery.info().segments == 1


def test_a_damaged_catalogue_is_found(gallery: Gallery) -> None:
    file = gallery.path / "catalogue.sqlite"
    data = bytearray(file.read_bytes())
    page = 4096
    data[page + 100 : 2 * page] = bytes(page - 100)
    file.write_bytes(data)
    with pytest.raises(GalleryCorruptError, match=r"catalogue.*restore SNAPSHOT --gallery NEW"):
        verify(gallery.path)


def test_indexing_again_repairs_and_search_is_as_before(empty: Retriever, photos: Path, sketches: list[Path]) -> None:
    empty.add(photos / "more")
    empty.add(photos)
    before = {match.id: match.distance for match in empty.search(sketches[0], 99)}
    assert empty.gallery is not None
    lost = set(empty.gallery.snapshot().segments[0].ids)
    flip(segment_file(empty.gallery, 0))
    assert [set(damage.ids) for damage in empty.verify().damaged] == [lost]
    assert {match.id for match in empty.search(sketches[0], 99)} == set(before) - lost
    assert len(empty.add(photos / "more").added) == len(lost)
    assert len(empty) == COUNT
    assert {match.id: match.distance for match in empty.search(sketches[0], 99)} == pytest.approx(before, rel=1e-4)
    assert empty.compact().segments_after == 1
    assert {match.id: match.distance for match in empty.search(sketches[0], 99)} == pytest.approx(before, rel=1e-4)
    assert empty.verify().damaged == ()
