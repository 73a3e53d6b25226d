"""The gallery: adding, reading, removing."""

from dataclasses import replace

import numpy as np
import pytest

from engine import errors
from engine.gallery import FeatureBlock, Gallery
from engine.gallery_writer import MAX_ID_LENGTH
from engine.records import PhotoFile
from tests.engine.kill_writer import SHAPES, block_of
from tests.engine.small_gallery import add, files_of, python


def test_the_gallery_needs_no_torch() -> None:
    result = python("import sys, engine.gallery; sys.exit('torch' in sys.modules)")
    assert result.returncode == 0, result.stderr or "torch was imported"


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
    assert (tuple(first.ids), first.live_rows.tolist()) == (("photo-00000", "photo-00002"), [0, 2])
    assert (tuple(second.ids), second.live_rows.tolist()) == (("photo-00004",), [1])
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
