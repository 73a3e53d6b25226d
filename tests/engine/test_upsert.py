"""Photos and metadata that take the place of others: whole commits, no photo twice, nothing removed comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from engine.errors import DuplicateIdError, InvalidPhotoError, UnknownIdError
from engine.gallery import Gallery
from engine.retriever import Retriever
from tests.engine.conftest import COUNT
from tests.engine.kill_writer import SHAPES, block_of
from tests.engine.test_gallery_kill import contents, expected

RED = Image.new("RGB", (40, 30), (255, 0, 0))


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """Photos a, b and c in two segments."""
    gallery = Gallery.create(tmp_path / "g", shapes=SHAPES, model_fingerprint="m")
    with gallery.writer() as writer:
        writer.add(block_of([0, 1]), ["a", "b"], metadata=[{"n": 1}, {"n": 2}], previews=[b"old", None])
        writer.add(block_of([2]), ["c"])
    return gallery


def test_a_replaced_photo_is_there_once_with_its_new_features_and_record(gallery: Gallery) -> None:
    before = gallery.snapshot()
    with gallery.writer() as writer:
        writer.add(block_of([7, 8]), ["a", "d"], metadata=[{"n": 3}, None], replace=True)
    assert contents(gallery) == {"a": expected(7), "b": expected(1), "c": expected(2), "d": expected(8)}
    assert gallery.record("a").metadata == {"n": 3}
    assert gallery.preview("a") is None
    assert (gallery.info().photos, gallery.info().dead_rows) == (4, 1)
    assert gallery.snapshot().generation == before.generation + 1
    assert before.ids == ("a", "b", "c"), "a reader's snapshot changed"


def test_without_replace_a_known_id_is_refused(gallery: Gallery) -> None:
    with pytest.raises(DuplicateIdError, match=r"replace=True"), gallery.writer() as writer:
        writer.add(block_of([7]), ["a"])
    assert contents(gallery)["a"] == expected(0)


def test_metadata_are_replaced_whole_and_nothing_else_changes(gallery: Gallery) -> None:
    before, snapshot = gallery.existing(), gallery.snapshot()
    with gallery.writer() as writer:
        writer.update_metadata({"a": {"m": [1]}, "b": None})
        writer.update_metadata({})
    after = gallery.existing()
    assert {id_: record.metadata for id_, record in after.items()} == {"a": {"m": [1]}, "b": None, "c": None}
    assert all(after[id_].row == record.row for id_, record in before.items())
    assert gallery.snapshot().generation == snapshot.generation + 1
    assert gallery.snapshot().segments[0].levels[0] is snapshot.segments[0].levels[0]


@pytest.mark.parametrize(
    ("entries", "error"),
    [({"a": {}, "nobody": {}}, UnknownIdError), ({"a": {}, "b": {"x": object()}}, InvalidPhotoError)],
)
def test_an_update_that_cannot_be_whole_changes_nothing(
    gallery: Gallery, entries: dict[str, dict[str, object]], error: type[Exception]
) -> None:
    before = gallery.existing()
    with pytest.raises(error), gallery.writer() as writer:
        writer.update_metadata(entries)
    assert gallery.existing() == before


def test_add_with_replace_takes_the_changed_file_and_only_that(empty: Retriever, photos: Path) -> None:
    empty.add(photos)
    RED.save(photos / "photo-0.png")
    report = empty.add(photos, replace=True)
    assert (report.added, report.already, report.replaced, report.skipped) == (("photo-0.png",), COUNT - 1, 1, ())
    assert "1 added (1 of them in place of older ones)" in report.summary()
    assert len(empty) == COUNT
    fresh = Retriever(empty.encoder.name, photos.parent / "fresh", "cpu")
    fresh.add(photos)
    # Features depend on the batch they are computed in by some roundings.
    wanted = {match.id: pytest.approx(match.distance, rel=1e-4) for match in fresh.search(RED, 99)}
    assert {match.id: match.distance for match in empty.search(RED, 99)} == wanted
    assert empty.add(photos, replace=True).already == COUNT


def test_replace_takes_new_metadata_for_photos_that_stay(empty: Retriever, photos: Path) -> None:
    empty.add(photos, metadata={"photo-0.png": {"n": 1}, "photo-2.png": {"n": 2}})
    ignored = empty.add(photos, metadata={"photo-0.png": {"n": 3}})
    assert ignored.described == 0
    assert empty.gallery is not None
    assert empty.gallery.record("photo-0.png").metadata == {"n": 1}
    report = empty.add(photos, metadata={"photo-0.png": {"n": 3}}, replace=True)
    assert (report.already, report.described) == (COUNT, 1)
    assert "1 of them with new metadata" in report.summary()
    assert empty.gallery.record("photo-0.png").metadata == {"n": 3}
    assert empty.gallery.record("photo-2.png").metadata == {"n": 2}


def test_two_photos_of_one_call_never_replace_one_another(empty: Retriever) -> None:
    blue = Image.new("RGB", (40, 30), (0, 0, 255))
    report = empty.add([RED, blue], ids=["x", "x"], replace=True)
    assert report.added == ("x",)
    assert "the id 'x' is taken by" in report.skipped[0].reason


def test_update_and_filters_through_the_retriever(filled: Retriever, sketches: list[Path]) -> None:
    ids = [match.id for match in filled.search(sketches[0], COUNT)]
    filled.update({ids[1]: {"category": "shoe"}, ids[4]: {"category": ["bag", "shoe"]}})
    assert [match.id for match in filled.search(sketches[0], where={"category": "shoe"})] == [ids[1], ids[4]]
    [first] = filled.search([sketches[0]], subset=[ids[3], ids[5], "nobody"])
    assert [match.id for match in first] == [ids[3], ids[5]]
    assert len(filled.search(sketches[0], where={"category": "shoe"}, subset=[ids[0]])) == 0
    filled.update({ids[1]: None})
    assert [match.id for match in filled.search(sketches[0], where={"category": {"exists": True}})] == [ids[4]]
