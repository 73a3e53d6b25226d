"""What goes into a `Retriever`: photos in every form, their metadata, and what is skipped."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine import ingest
from engine.errors import (
    InvalidPhotoError,
)
from engine.retriever import Retriever
from tests.engine.conftest import COUNT, IDS, Reopen, ids_of


def test_a_folder_is_added_under_relative_paths(empty: Retriever, photos: Path) -> None:
    report = empty.add(photos)
    assert list(report.added) == IDS == ids_of(empty)
    assert (report.already, report.skipped) == (0, ())
    assert len(empty) == COUNT
    assert empty.gallery.record("more/photo-1.png").path == str(photos / "more" / "photo-1.png")


def test_everything_an_image_can_be_is_added(empty: Retriever, photos: Path) -> None:
    image = Image.open(photos / "photo-0.png").convert("RGB")
    flipped = np.asarray(image)[:, ::-1]
    report = empty.add(
        [
            photos / "photo-2.png",
            str(photos / "photo-4.png"),
            image,
            flipped,
            (photos / "more/photo-1.png").read_bytes(),
        ]
    )
    assert len(report.added) == 5 == len(empty)
    assert report.added[:2] == ("photo-2.png", "photo-4.png")
    assert all(id_.startswith("image-") for id_ in report.added[2:])


def test_a_picture_is_the_same_however_it_was_given(empty: Retriever, photos: Path, sketches: list[Path]) -> None:
    """Added as file, PIL image, array, floats and bytes."""
    path = photos / "photo-0.png"
    image = Image.open(path).convert("RGB")
    array = np.asarray(image)
    empty.add([path, image, array, array / 255, path.read_bytes()], ids=["e", "d", "c", "b", "a"])
    assert len({record.content_hash for record in empty.gallery.existing().values()}) == 1
    distances = [match.distance for match in empty.search(sketches[0])]
    # Equal pixels at two places of a batch have features that differ in their last bits.
    assert distances == pytest.approx([distances[0]] * 5, rel=1e-4)


def test_adding_again_finds_all_there_already(empty: Retriever, photos: Path, reopen: Reopen) -> None:
    image = Image.new("RGB", (32, 32), "red")
    empty.add([photos, image])
    generation = empty.gallery.info().generation
    for retriever in (empty, reopen(empty)):
        report = retriever.add([photos, image])
        assert (report.added, report.already, report.skipped) == ((), COUNT + 1, ())
    assert empty.gallery.info().generation == generation


def test_photos_there_already_are_not_decoded(filled: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(filled.gallery.record("photo-0.png").path).parent
    monkeypatch.setattr("engine.sources.load_image", lambda source: pytest.fail(f"{source} was decoded"))
    assert filled.add(folder).already == COUNT


def test_only_new_photos_of_a_folder_are_added(empty: Retriever, photos: Path) -> None:
    empty.add(photos)
    Image.new("RGB", (32, 32), "red").save(photos / "new.png")
    report = empty.add(photos)
    assert (report.added, report.already) == (("new.png",), COUNT)
    assert ids_of(empty) == [*IDS, "new.png"]


def test_a_photo_may_be_there_under_several_ids(empty: Retriever, photos: Path, sketches: list[Path]) -> None:
    path = photos / "photo-0.png"
    empty.add(path)
    assert empty.add(path, ids=["another"]).added == ("another",)
    first, second = empty.search(sketches[0])
    assert {first.id, second.id} == {"another", "photo-0.png"}
    assert first.distance == pytest.approx(second.distance, rel=1e-4)


def test_an_equal_picture_under_its_id_is_there_already_wherever_it_lies(filled: Retriever, photos: Path) -> None:
    """A copy of the folder, and an image from memory in place of its file."""
    report = filled.add(photos)
    assert (report.added, report.already, report.skipped) == ((), COUNT, ())
    assert filled.add(Image.open(photos / "photo-0.png"), ids=["photo-0.png"]).already == 1


@pytest.mark.parametrize("from_memory", [True, False], ids=["from memory", "file"])
def test_another_picture_under_a_taken_id_is_skipped_and_says_so(
    filled: Retriever, tmp_path: Path, from_memory: bool
) -> None:
    image = Image.new("RGB", (32, 32), "red")
    image.save(tmp_path / "photo-0.png")
    report = filled.add(image if from_memory else tmp_path / "photo-0.png", ids=["photo-0.png"])
    [skip] = report.skipped
    holder = filled.gallery.record("photo-0.png").path
    assert (
        skip.reason
        == f"the id 'photo-0.png' is taken by {holder}; rename it, give ids=[...], or add it with replace=True"
    )
    assert (report.added, report.already, len(filled)) == ((), 0, COUNT)


def test_a_segment_is_committed_each_so_many_photos(
    empty: Retriever, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "SEGMENT_PHOTOS", 2)
    seen = []
    report = empty.add(photos, progress=lambda done, total: seen.append((done, total, len(empty))))
    assert report.added == tuple(IDS)
    assert seen == [(1, 6, 2), (2, 6, 2), (3, 6, 4), (4, 6, 4), (5, 6, 6), (6, 6, 6)]
    assert empty.gallery.info().segments == 3


def test_photos_are_encoded_as_they_come(empty: Retriever, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that progress means work done: encoding is most of it, and a segment holds hundreds of photos."""
    monkeypatch.setattr(ingest, "ENCODE_BATCH", 2)
    encode, encoded, seen = empty.encoder.encode, list[int](), list[int]()
    monkeypatch.setattr(empty.encoder, "encode", lambda *a: encoded.append(len(a[0])) or encode(*a))
    empty.add(photos, progress=lambda done, total: seen.append(sum(encoded) - done))
    assert encoded == [2, 2, 2]
    assert len(seen) == COUNT
    assert min(seen) >= 0


@pytest.mark.parametrize(("segment", "batch"), [(3, 2), (2, 3), (512, 4), (512, 16)])
def test_every_photo_has_its_own_features_whatever_segments_and_batches(
    filled: Retriever,
    empty: Retriever,
    photos: Path,
    sketches: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    segment: int,
    batch: int,
) -> None:
    """Batches may change the last bits of features, so distances agree to float16's steps and no better."""
    monkeypatch.setattr(ingest, "SEGMENT_PHOTOS", segment)
    monkeypatch.setattr(ingest, "ENCODE_BATCH", batch)
    assert empty.add(photos).added == tuple(IDS)
    expected = {match.id: match.distance for match in filled.search(sketches[0])}
    found = {match.id: match.distance for match in empty.search(sketches[0])}
    assert found == pytest.approx(expected, rel=1e-3)
    assert len(set(expected.values())) == COUNT


def test_an_interrupted_add_goes_on(empty: Retriever, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "SEGMENT_PHOTOS", 2)

    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        empty.add(photos, progress=interrupt)
    assert ids_of(empty) == IDS[:4]
    report = empty.add(photos)
    assert (report.added, report.already) == (tuple(IDS[4:]), 4)
    assert ids_of(empty) == IDS


def test_metadata_comes_back_with_the_match(empty: Retriever, photos: Path, sketches: list[Path]) -> None:
    empty.add(photos, metadata={"photo-0.png": {"price": 3, "tags": ["é"]}})
    found = {match.id: match.metadata for match in empty.search(sketches[0])}
    assert found == dict.fromkeys(IDS) | {"photo-0.png": {"price": 3, "tags": ["é"]}}


def test_metadata_of_no_photo_is_refused(empty: Retriever, photos: Path) -> None:
    with pytest.raises(
        InvalidPhotoError, match=r"given for 'photo-0', which is no photo's id; expected ids such as 'more/"
    ):
        empty.add(photos, metadata={"photo-0": {"price": 3}})
    assert len(empty) == 0


def test_metadata_may_name_ids_made_of_content(empty: Retriever) -> None:
    image = Image.new("RGB", (32, 32), "red")
    [id_] = empty.add(image).added
    empty.remove(id_)
    empty.add(image, metadata={id_: {"colour": "red"}})
    assert empty.gallery.record(id_).metadata == {"colour": "red"}


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ([{"a": 1}], r"metadata is a list; expected dicts by photo id: \{'1.jpg'"),
        ({"photo-0.png": ["a"]}, r"photo 'photo-0.png': its metadata is a list; expected a dict"),
        ({"photo-0.png": {"a": object()}}, r"photo 'photo-0.png': its metadata can't be stored as JSON"),
    ],
    ids=["a list", "an entry that is a list", "no JSON"],
)
def test_metadata_that_cannot_be_kept_is_refused_before_any_work(
    empty: Retriever, photos: Path, monkeypatch: pytest.MonkeyPatch, metadata: Any, reason: str
) -> None:
    monkeypatch.setattr("engine.sources.load_image", lambda source: pytest.fail(f"{source} was decoded"))
    with pytest.raises(InvalidPhotoError, match=reason):
        empty.add(photos, metadata=metadata)
    assert not empty.path.exists()


def test_metadata_for_no_photos_at_all_is_refused(empty: Retriever) -> None:
    assert empty.add([]).added == ()
    with pytest.raises(InvalidPhotoError, match=r"given for 'a', which is no photo's id; .* no photos were given"):
        empty.add([], metadata={"a": {}})
