"""`Retriever`, as people use it: what goes in, what is found, what is refused, and from many threads."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine import ingest
from engine.errors import (
    CheckpointError,
    ConfigError,
    DuplicateIdError,
    FeatureShapeError,
    FeatureValueError,
    GalleryLockedError,
    InvalidPhotoError,
    ModelMismatchError,
    NotAGalleryError,
    QueryError,
    UnknownIdError,
)
from engine.gallery import Gallery
from engine.retriever import Retriever
from kernels.reference import canonical_distance
from mlrm.features import Features
from tests.engine.conftest import COUNT, write_checkpoint
from tests.engine.test_exact import random_features, stored

ROOT = Path(__file__).parents[2]
IDS = ["more/photo-1.png", "more/photo-3.png", "more/photo-5.png", "photo-0.png", "photo-2.png", "photo-4.png"]
Reopen = Callable[[Retriever], Retriever]


def ids_of(retriever: Retriever) -> list[str]:
    """Ids in the order they were stored."""
    return [] if retriever.gallery is None else list(retriever.gallery.snapshot().ids)


# -- adding


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
    assert seen == [(1, 6, 0), (2, 6, 2), (3, 6, 2), (4, 6, 4), (5, 6, 4), (6, 6, 6)]
    assert empty.gallery.info().segments == 3


def test_photos_are_encoded_as_they_come(empty: Retriever, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that progress means work done: encoding is most of it, and a segment holds hundreds of photos."""
    monkeypatch.setattr(ingest, "ENCODE_BATCH", 2)
    encode, encoded, seen = empty.encoder.encode, list[int](), list[int]()
    monkeypatch.setattr(empty.encoder, "encode", lambda *a: encoded.append(len(a[0])) or encode(*a))
    empty.add(photos, progress=lambda done, total: seen.append(sum(encoded)))
    assert seen == [0, 2, 2, 4, 4, 6]


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
    assert ids_of(empty) == IDS[:2]
    report = empty.add(photos)
    assert (report.added, report.already) == (tuple(IDS[2:]), 2)
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


# -- removing


def test_a_removed_photo_is_not_found_and_may_come_again(
    filled: Retriever, sketches: list[Path], reopen: Reopen
) -> None:
    before = filled.search(sketches[0])
    filled.remove([before[0].id, before[3].id])
    for retriever in (filled, reopen(filled)):
        kept = retriever.search(sketches[0])
        assert [match.id for match in kept] == [match.id for match in before if match.rank not in (1, 4)]
    filled.add(before[0].path, ids=[before[0].id])
    again = filled.search(sketches[0], top_k=1)[0]
    assert again.id == before[0].id
    assert again.distance == pytest.approx(before[0].distance, rel=1e-3)


def test_one_id_is_one_id_and_not_its_letters(empty: Retriever) -> None:
    empty.add_features(random_features(3, 0))
    with pytest.raises(UnknownIdError, match="does not hold '12'; nothing was removed"):
        empty.remove("12")
    empty.remove("1")
    assert ids_of(empty) == ["0", "2"]


def test_removing_an_unknown_id_removes_nothing(filled: Retriever) -> None:
    with pytest.raises(UnknownIdError, match="'nobody'"):
        filled.remove(["photo-0.png", "nobody"])
    assert len(filled) == COUNT


def test_removing_from_no_gallery_is_a_typed_error(empty: Retriever) -> None:
    with pytest.raises(NotAGalleryError, match=r"no gallery at .*: make one with"):
        empty.remove("x")


# -- searching


def test_every_form_of_a_sketch_finds_the_same(filled: Retriever, sketches: list[Path]) -> None:
    image = Image.open(sketches[0]).convert("RGB")
    array = np.asarray(image)
    results = [
        filled.search(form)
        for form in (sketches[0], str(sketches[0]), image, array, array / 255, sketches[0].read_bytes())
    ]
    assert all(result == results[0] for result in results)
    assert len(results[0]) == COUNT


def test_a_list_gives_a_list(filled: Retriever, sketches: list[Path]) -> None:
    """Batches may change the last bits of a sketch's features, and so of its distances."""
    together = filled.search([sketches[0], Image.open(sketches[1])], top_k=3)
    assert isinstance(together, list)
    for path, result in zip(sketches, together, strict=False):
        alone = filled.search(path, top_k=3)
        assert [match.id for match in result] == [match.id for match in alone]
        assert [m.distance for m in result] == pytest.approx([m.distance for m in alone], rel=1e-4)
    assert filled.search([]) == []
    assert [len(result) for result in filled.search([sketches[0]])] == [COUNT]


@pytest.mark.parametrize("top_k", [1, COUNT - 1, COUNT, COUNT + 1, 10**9])
def test_top_k_above_the_size_gives_all(filled: Retriever, sketches: list[Path], top_k: int) -> None:
    result = filled.search(sketches[0], top_k=top_k)
    assert len(result) == min(top_k, COUNT)
    assert list(result) == list(filled.search(sketches[0], top_k=COUNT))[:top_k]


@pytest.mark.parametrize("top_k", [0, -1, 2.5, True, None, "3"])
def test_a_top_k_that_is_no_count_is_refused(filled: Retriever, sketches: list[Path], top_k: object) -> None:
    for search in (lambda: filled.search(sketches[0], top_k=top_k), lambda: filled.search_features(None, top_k=top_k)):
        with pytest.raises(QueryError, match=rf"top_k is {top_k!r}; expected an int of at least 1"):
            search()


def test_no_gallery_gives_an_empty_result_that_draws(empty: Retriever, sketches: list[Path], tmp_path: Path) -> None:
    result = empty.search(sketches[0])
    assert (len(result), result.to_list()) == (0, [])
    result.save(tmp_path / "empty.png")
    assert Image.open(tmp_path / "empty.png").size
    assert [len(one) for one in empty.search_features(random_features(2, 0))] == [0, 0]
    assert not empty.path.exists(), "searching makes no gallery"
    assert repr(empty).startswith("Retriever(")


def test_a_gallery_with_all_photos_removed_gives_an_empty_result(filled: Retriever, sketches: list[Path]) -> None:
    filled.remove(IDS)
    result = filled.search(sketches[0])
    assert len(result) == 0
    assert result.draw().size
    assert len(filled) == 0


def test_a_change_of_directory_does_no_harm(
    checkpoint: Path, photos: Path, sketches: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    retriever = Retriever(checkpoint, "relative.gallery", "cpu")
    monkeypatch.chdir(photos)
    retriever.add("photo-0.png")
    monkeypatch.chdir(tmp_path)
    assert Path(retriever.search(sketches[0])[0].path) == photos / "photo-0.png"
    assert (tmp_path / "relative.gallery").is_dir()


# -- features computed elsewhere


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("regions", "dims"), [(1, (3,)), (2, (5, 17)), (4, (2, 3, 5, 7)), (3, (256, 512, 1280))])
def test_features_of_any_shape_are_searched(
    empty: Retriever, regions: int, dims: tuple[int, ...], power: int, reopen: Reopen
) -> None:
    photos, queries = random_features(20, 1, dims, regions), random_features(3, 2, dims, regions)
    report = empty.add_features(
        photos,
        metadata=[{"seven": True} if number == 7 else None for number in range(len(photos))],
        region_weight_power=power,
    )
    assert report.added == tuple(str(number) for number in range(20))
    expected = canonical_distance(queries, stored(photos), power)
    results = reopen(empty).search_features(queries, top_k=20)
    for of_query, result in zip(expected, results, strict=True):
        assert {match.id: match.distance for match in result} == dict(zip(report.added, of_query.tolist(), strict=True))
        assert {match.id: match.metadata for match in result}["7"] == {"seven": True}
        explanation = result[0].explain()
        assert explanation.contributions.shape == (regions, len(dims))
        assert explanation.contributions.sum() == pytest.approx(result[0].distance, rel=1e-12)
        assert explanation.draw().size
        assert result.draw().size


def test_features_of_the_model_join_its_gallery(filled: Retriever, sketches: list[Path]) -> None:
    """Encoded by hand, with the model's fingerprint: found by `search` like the others."""
    images = torch.zeros(2, 3, 224, 224, dtype=torch.uint8)
    report = filled.add_features(filled.encoder.encode(images, "photo"), fingerprint=filled.encoder.fingerprint)
    assert report.added == (str(COUNT), str(COUNT + 1))
    assert len(filled.search(sketches[0])) == COUNT + 2


def test_float64_and_half_features_are_taken(empty: Retriever) -> None:
    features = stored(random_features(4, 0))
    empty.add_features(features.map(torch.Tensor.double), ids=list("abcd"))
    empty.add_features(features.map(torch.Tensor.bfloat16), ids=list("efgh"))
    assert empty.search_features(features.map(torch.Tensor.double), top_k=1)[0][0].distance == 0.0


def test_default_ids_are_never_given_twice(empty: Retriever) -> None:
    empty.add_features(random_features(3, 0))
    empty.remove(["0", "2"])
    assert empty.add_features(random_features(2, 1)).added == ("3", "4")


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"a": {}, "b": {}}, "metadata is a dict; expected a list with a dict or None for each of the 2 photos"),
        ("ab", "metadata is a str; expected a list"),
        ([{}], "metadata is a list of 1; expected a list with a dict or None for each of the 2 photos"),
        ([None, "b"], "photo 'b': its metadata is a str; expected a dict that JSON can hold"),
    ],
)
def test_metadata_of_features_is_a_list_of_dicts(empty: Retriever, metadata: Any, reason: str) -> None:
    with pytest.raises(InvalidPhotoError, match=reason):
        empty.add_features(random_features(2, 0), ids=["a", "b"], metadata=metadata)
    assert not empty.path.exists()


def with_maps(features: Features, height: int, width: int) -> Features:
    maps = torch.full((*features.region_weights.shape, height, width), 0.5)
    return Features(features.levels, features.region_weights, features.level_weights, maps)


def test_features_with_and_without_maps_do_not_mix(empty: Retriever, filled: Retriever) -> None:
    bare = random_features(2, 0, (256, 512, 1280), 3)
    with pytest.raises(
        FeatureShapeError,
        match=r"these features have no maps \(maps=None\), and the photos of .* have maps of 7 x 7: give",
    ):
        filled.add_features(bare)
    empty.add_features(bare)
    with pytest.raises(
        FeatureShapeError, match=r"these features have maps of 7 x 7, and the photos of .* have none: leave"
    ):
        empty.add_features(with_maps(bare, 7, 7))
    with pytest.raises(FeatureShapeError, match=r"maps of 7 x 7; these have .*, maps of 5 x 7"):
        filled.add_features(with_maps(bare, 5, 7))
    assert (len(filled), len(empty)) == (COUNT, 2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.5, 1.5])
def test_a_map_of_a_query_that_is_none_is_refused(empty: Retriever, value: float) -> None:
    """It would break the pictures later."""
    query = with_maps(random_features(1, 0), 3, 3)
    empty.add_features(query)
    empty.search_features(query)[0].draw()
    assert query.maps is not None
    query.maps[0, 1, 2, 2] = value
    with pytest.raises(
        FeatureValueError, match=r"the query's maps (hold NaN|go down to -0.5|go up to 1.5).*; expected"
    ):
        empty.search_features(query)


@pytest.mark.parametrize(
    "other", [random_features(2, 0, (5, 17), 3), random_features(2, 0, (5, 18)), random_features(2, 0, (5,))],
    ids=["regions", "channels", "levels"],
)  # fmt: skip
def test_features_of_other_shapes_are_refused(empty: Retriever, other: Features) -> None:
    empty.add_features(random_features(3, 0))
    with pytest.raises(FeatureShapeError, match=r"2 regions, 2 levels of .5, 17. channels"):
        empty.add_features(other)
    with pytest.raises(FeatureShapeError, match=r"2 regions, 2 levels of .5, 17. channels.*use the gallery's model"):
        empty.search_features(other)
    assert ids_of(empty) == ["0", "1", "2"]


def test_features_that_disagree_among_themselves_are_refused(empty: Retriever) -> None:
    whole = random_features(3, 0)
    broken = Features((whole.levels[0], whole.levels[1][:2]), whole.region_weights, whole.level_weights)
    for use in (empty.add_features, empty.search_features):
        with pytest.raises(FeatureShapeError, match=r"level_1 has shape .2, 2, 17.; expected it to begin with"):
            use(broken)
    assert not empty.path.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 65520.0, -1e6])
def test_a_level_value_that_cannot_be_stored_is_refused_by_name(empty: Retriever, value: float) -> None:
    empty.add_features(random_features(2, 0), ids=["a", "b"])
    features = random_features(3, 1)
    features.levels[1][2, 1, 4] = value
    with pytest.raises(
        FeatureValueError, match=r"photo 'e', level 1, region 1: found .*; expected finite values of at most 65504"
    ):
        empty.add_features(features, ids=["c", "d", "e"])
    assert ids_of(empty) == ["a", "b"]
    assert len(empty.search_features(random_features(1, 3))[0]) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.5])
@pytest.mark.parametrize("name", ["region_weights", "level_weights"])
def test_a_weight_that_is_none_is_refused_by_name(empty: Retriever, name: str, value: float) -> None:
    features = random_features(3, 1)
    getattr(features, name)[1, 0] = value
    with pytest.raises(
        FeatureValueError, match=rf"photo 'd', {name}, region 0: .*expected finite weights of at least 0"
    ):
        empty.add_features(features, ids=["c", "d", "e"])
    assert not empty.path.exists()
    empty.add_features(random_features(2, 0))
    with pytest.raises(FeatureValueError, match=rf"the query's {name.replace('_', ' ')} .*expected"):
        empty.search_features(features)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
def test_a_query_that_is_not_finite_is_refused(empty: Retriever, value: float) -> None:
    """1e39 is finite in float64 and infinite in float32, which a query is taken to."""
    empty.add_features(random_features(2, 0))
    query = random_features(1, 1).map(torch.Tensor.double)
    query.levels[0][0, 0, 0] = value
    with pytest.raises(FeatureValueError, match="the query's level 0 hold NaN or infinity; expected finite float32"):
        empty.search_features(query)


def test_a_query_beyond_float16_is_fine(empty: Retriever) -> None:
    photos, query = random_features(20, 0), random_features(1, 1)
    query.levels[0][0, 0, 0] = 1e30
    empty.add_features(photos)
    expected = canonical_distance(query, stored(photos))[0]
    assert empty.search_features(query, top_k=1)[0][0].distance == expected.min()


def test_duplicate_ids_are_refused_and_nothing_stored(empty: Retriever) -> None:
    empty.add_features(random_features(2, 0), ids=["a", "b"])
    with pytest.raises(DuplicateIdError, match="already holds 'b'"):
        empty.add_features(random_features(2, 0), ids=["c", "b"])
    with pytest.raises(DuplicateIdError, match="'c' more than once"):
        empty.add_features(random_features(2, 0), ids=["c", "c"])
    assert ids_of(empty) == ["a", "b"]


@pytest.mark.parametrize("power", [0, 3, 1.5])
def test_another_power_of_the_region_weights_is_refused(empty: Retriever, power: int) -> None:
    with pytest.raises(ConfigError, match=rf"region_weight_power is {power}; expected 1 or 2"):
        empty.add_features(random_features(2, 0), region_weight_power=power)
    assert not empty.path.exists()


def test_a_gallery_keeps_its_power_of_the_region_weights(empty: Retriever) -> None:
    empty.add_features(random_features(2, 0), region_weight_power=2)
    with pytest.raises(ConfigError, match=r"region_weight_power is 1; expected .*, 2"):
        empty.add_features(random_features(2, 0), region_weight_power=1)
    assert empty.add_features(random_features(2, 1)).added == ("2", "3")


# -- models, devices, galleries that don't fit


def test_the_authors_form_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "authors.pt", attention_over="batch", level_softmax="regions")
    with pytest.raises(ConfigError, match=r"weights depend on the images it is batched with, so it can't be indexed"):
        Retriever(path, tmp_path / "my.gallery", "cpu")


def test_a_gallery_of_another_model_is_refused_with_the_commands_that_help(
    filled: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_checkpoint(tmp_path / "other model.safetensors", seed=1)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelMismatchError) as caught:
        Retriever("other model.safetensors", "filled.gallery", "cpu")
    message = str(caught.value)
    assert filled.encoder.fingerprint in message
    assert f"load its model: `--model {filled.encoder.name}`" in message
    assert f"`python -m engine index PHOTOS --gallery {filled.path}.new --model '{other}'`" in message


def test_the_name_of_a_model_does_not_depend_on_the_directory(
    checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    retriever = Retriever(checkpoint.name, tmp_path / "g", "cpu")
    retriever.add(photos / "photo-0.png")
    assert retriever.gallery.meta.model_name == retriever.encoder.name == str(checkpoint)


def test_a_gallery_that_another_model_made_meanwhile_is_refused(
    empty: Retriever, photos: Path, sketches: list[Path], tmp_path: Path
) -> None:
    """Both opened while there was none."""
    other = Retriever(write_checkpoint(tmp_path / "other.safetensors", seed=1), empty.path, "cpu")
    empty.add(photos / "photo-0.png")
    with pytest.raises(ModelMismatchError):
        other.add(photos)
    with pytest.raises(ModelMismatchError):
        other.search(sketches[0])
    assert ids_of(empty) == ["photo-0.png"]


def test_a_gallery_of_features_computed_elsewhere_takes_no_photos(
    empty: Retriever, photos: Path, sketches: list[Path], reopen: Reopen
) -> None:
    """Even where the shapes agree: nobody said that the model is the same."""
    empty.add_features(empty.encoder.encode(torch.zeros(1, 3, 224, 224, dtype=torch.uint8), "photo"))
    for retriever in (empty, reopen(empty)):
        with pytest.raises(ModelMismatchError):
            retriever.add(photos)
        with pytest.raises(ModelMismatchError):
            retriever.search(sketches[0])
    assert ids_of(empty) == ["0"]


def test_features_of_another_model_are_refused_by_fingerprint(filled: Retriever) -> None:
    features = filled.encoder.encode(torch.zeros(1, 3, 224, 224, dtype=torch.uint8), "photo")
    with pytest.raises(ModelMismatchError):
        filled.add_features(features, fingerprint="another")
    assert len(filled) == COUNT


def test_a_model_whose_features_are_not_finite_is_noticed(
    filled: Retriever, sketches: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = filled.encoder.encode
    monkeypatch.setattr(filled.encoder, "encode", lambda *a: encode(*a).map(lambda tensor: tensor * float("nan")))
    with pytest.raises(FeatureValueError, match="check the model"):
        filled.search(sketches[0])
    [skip] = filled.add(Image.new("RGB", (32, 32)), ids=["x"]).skipped
    assert "photo 'x', level 0, region 0: found nan" in skip.reason
    monkeypatch.undo()
    assert len(filled.search(sketches[0])) == COUNT


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_that_is_not_there_is_an_error_and_no_silent_cpu(checkpoint: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"device '{name}' was asked for and torch .* sees 0 GPUs; use device cpu"):
        Retriever(checkpoint, tmp_path / "my.gallery", name)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "meta", "mps"])
def test_an_unknown_device_is_refused(checkpoint: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"device is '{name}'; expected auto, cpu, cuda or cuda:N"):
        Retriever(checkpoint, tmp_path / "my.gallery", name)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*nowhere.pt; expected"):
        Retriever(tmp_path / "nowhere.pt", tmp_path / "my.gallery", "cpu")


# -- several at once


def test_another_process_sees_what_was_added(empty: Retriever, photos: Path, sketches: list[Path]) -> None:
    """And a retriever opened before sees what another process added."""
    script = (
        "import sys, torch; torch.set_num_threads(1); from engine import Retriever\n"
        "r = Retriever(sys.argv[1], sys.argv[2], 'cpu'); print(len(r)); r.add(sys.argv[3])"
    )

    def other(photo: Path) -> str:
        command = [sys.executable, "-c", script, empty.encoder.name, str(empty.path), str(photo)]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100, check=True
        )
        return done.stdout

    assert other(photos / "photo-0.png") == "0\n"
    assert [match.id for match in empty.search(sketches[0])] == ["photo-0.png"]
    empty.add(photos / "photo-2.png")
    assert other(photos / "photo-4.png") == "2\n"
    assert sorted(match.id for match in empty.search(sketches[0])) == ["photo-0.png", "photo-2.png", "photo-4.png"]


def test_a_second_writer_is_told_who_writes(filled: Retriever, photos: Path, reopen: Reopen) -> None:
    second = reopen(filled)
    with (
        filled.gallery.writer(),
        pytest.raises(GalleryLockedError, match=rf"is being written by process {os.getpid()} .*Wait for it to end"),
    ):
        second.add(photos)
    assert second.add(photos).already == COUNT


def test_threads_that_search_while_one_adds_see_whole_commits(
    empty: Retriever, photos: Path, sketches: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every result is the exact one of some number of committed segments of two photos, and that number only grows."""
    monkeypatch.setattr(ingest, "SEGMENT_PHOTOS", 2)
    for name in IDS:  # twice as many, so that there are six commits
        image = Image.open(photos / name)
        image.transpose(Image.Transpose.ROTATE_180).save(photos / f"turned-{Path(name).name}")
    added, seen, errors = threading.Event(), dict[int, list[list[tuple[str, float]]]](), list[BaseException]()

    def search(number: int) -> None:
        seen[number] = []
        try:
            while not added.is_set():
                seen[number].append([(match.id, match.distance) for match in empty.search(sketches[0], top_k=12)])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=search, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        order = list(empty.add(photos).added)
    finally:
        added.set()
        for thread in threads:
            thread.join()
    assert not errors
    assert len(order) == 12
    final = {match.id: match.distance for match in empty.search(sketches[0], top_k=12)}
    whole = {
        size: sorted(((id_, final[id_]) for id_ in order[:size]), key=lambda pair: (pair[1], pair[0]))
        for size in range(0, 13, 2)
    }
    for results in seen.values():
        assert results
        assert [result for result in results if result != whole.get(len(result))] == []
        sizes = [len(result) for result in results]
        assert sizes == sorted(sizes)
    assert len({len(result) for results in seen.values() for result in results}) > 1


def test_threads_may_add_at_once(empty: Retriever, photos: Path) -> None:
    """They wait for each other, rather than for a refusal of the lock."""
    threads = [threading.Thread(target=empty.add, args=(photos / name,)) for name in IDS[3:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids_of(empty)) == ["photo-0.png", "photo-2.png", "photo-4.png"]
    Gallery.open(empty.path).verify()
