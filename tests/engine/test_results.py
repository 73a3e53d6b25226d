"""Results explain themselves: matches, pictures, and contributions that sum to the distance."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.errors import EngineError
from engine.exact import rows_of
from engine.retriever import Retriever
from engine.types import AddReport, Skipped
from kernels.reference import canonical_distance
from mlrm.images import load_image
from mlrm.transforms import image_to_tensor
from tests.engine.conftest import COUNT


def test_matches_carry_what_is_promised(filled: Retriever, sketches: list[Path]) -> None:
    result = filled.search(sketches[0], top_k=4)
    assert len(result) == 4
    assert [match.rank for match in result] == [1, 2, 3, 4]
    distances = [match.distance for match in result]
    assert distances == sorted(distances)
    for match in result:
        assert Path(match.path).is_file()
        assert Path(match.path).as_posix().endswith(match.id)
        assert match.metadata is None
    assert result[1] is list(result)[1]
    assert result[:2] == tuple(result)[:2]


def test_to_list_is_json_of_the_matches(filled: Retriever, sketches: list[Path]) -> None:
    result = filled.search(sketches[0], top_k=2)
    listed = json.loads(json.dumps(result.to_list()))
    assert listed == [match.to_dict() for match in result]
    assert set(listed[0]) == {"id", "distance", "rank", "path", "metadata"}
    assert listed[0]["distance"] == result[0].distance


def test_repr_shows_the_ranking(filled: Retriever, sketches: list[Path]) -> None:
    result = filled.search(sketches[0], top_k=2)
    first, *lines = repr(result).splitlines()
    assert first == "SearchResult of 2 matches"
    assert [line.split() for line in lines] == [[str(m.rank), f"{m.distance:.6f}", m.id] for m in result]
    assert result[0].id in repr(result[0])


def test_contributions_sum_to_the_distance(filled: Retriever, sketches: list[Path]) -> None:
    for match in filled.search(sketches[1], top_k=COUNT):
        explanation = match.explain()
        assert explanation.contributions.shape == (3, 3)
        assert explanation.contributions.dtype == np.float64
        assert (explanation.contributions > 0).all()
        assert explanation.contributions.sum() == pytest.approx(match.distance, rel=1e-12)
        assert (explanation.id, explanation.distance) == (match.id, match.distance)


def test_an_explanation_shows_both_sides(filled: Retriever, sketches: list[Path]) -> None:
    [match] = filled.search(sketches[2], top_k=1)
    explanation = match.explain()
    for maps in (explanation.sketch_maps, explanation.photo_maps):
        assert maps.shape == (3, 7, 7)
        assert maps.min() >= 0
        assert 0.5 <= maps.max() <= 1
    for weights in (explanation.sketch_region_weights, explanation.photo_region_weights):
        assert weights.shape == (3,)
        assert weights.sum() == pytest.approx(1, abs=1e-5)
    with Image.open(sketches[2]) as sketch, Image.open(match.path) as photo:
        assert explanation.sketch.tobytes() == sketch.convert("RGB").tobytes()
        assert explanation.photo.tobytes() == photo.convert("RGB").tobytes()


def test_a_result_of_one_query_of_many_explains_that_one(filled: Retriever, sketches: list[Path]) -> None:
    for path, result in zip(sketches, filled.search(list(sketches), top_k=1), strict=True):
        explanation = result[0].explain()
        assert explanation.contributions.sum() == pytest.approx(result[0].distance, rel=1e-12)
        with Image.open(path) as sketch:
            assert explanation.sketch.tobytes() == sketch.convert("RGB").tobytes()


def test_pictures_are_written(filled: Retriever, sketches: list[Path], tmp_path: Path) -> None:
    result = filled.search(sketches[0], top_k=3)
    result.save(tmp_path / "result.png", truth=result[1].id)
    result[0].explain().save(str(tmp_path / "why.jpg"))
    for name in ("result.png", "why.jpg"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 200
    assert result.draw().tobytes() != result.draw(result[1].id).tobytes()


@pytest.mark.parametrize("name", ["nowhere/result.png", "result.unknown", "result"])
def test_a_picture_that_cannot_be_written_is_a_typed_error(
    filled: Retriever, sketches: list[Path], tmp_path: Path, name: str
) -> None:
    result = filled.search(sketches[0], top_k=1)
    for save in (result.save, result[0].explain().save):
        with pytest.raises(EngineError, match=r"can't write the picture .*; give a name that ends in \.png or \.jpg"):
            save(tmp_path / name)


def test_a_photo_whose_file_is_gone_is_still_found_and_drawn(
    empty: Retriever, photos: Path, sketches: list[Path]
) -> None:
    empty.add(photos)
    before = empty.search(sketches[0])
    gone = Path(before[0].path)
    gone.unlink()
    after = empty.search(sketches[0])
    assert after == before
    assert after[0].explain().photo is None
    assert after[1].explain().photo is not None
    assert after.draw().size == before.draw().size
    assert after[0].explain().draw().size


def test_a_file_that_is_no_image_any_more_is_drawn_as_missing(
    empty: Retriever, photos: Path, sketches: list[Path]
) -> None:
    empty.add(photos)
    result = empty.search(sketches[0], top_k=1)
    Path(result[0].path).write_bytes(b"something else")
    assert result[0].explain().photo is None
    assert result.draw().size


def test_a_photo_from_memory_is_shown_by_its_preview(empty: Retriever, sketches: list[Path]) -> None:
    photo = Image.new("RGB", (600, 300), (200, 30, 30))
    empty.add(photo)
    [match] = empty.search(sketches[0])
    assert match.path is None
    shown = match.explain().photo
    assert shown.size == (256, 128)
    assert np.abs(np.asarray(shown).astype(int) - (200, 30, 30)).max() < 5


def test_a_result_outlives_the_removal_of_its_photos(filled: Retriever, sketches: list[Path]) -> None:
    result = filled.search(sketches[0], top_k=2)
    filled.remove(result[0].id)
    assert result[0].explain().contributions.sum() == pytest.approx(result[0].distance, rel=1e-12)
    assert result.draw().size
    assert filled.search(sketches[0], top_k=1)[0].id == result[1].id


def test_distances_are_canonical_distances_of_what_is_stored(filled: Retriever, sketches: list[Path]) -> None:
    """Computed here from the query's features and the files of the gallery, by the oracle."""
    query = filled.encoder.encode(image_to_tensor(load_image(sketches[3]), 224)[None], "sketch")
    [segment] = filled.gallery.snapshot().segments
    assert all(level.dtype == np.float16 for level in segment.levels)
    expected = canonical_distance(query, rows_of(segment, segment.live_rows))[0]
    assert expected.dtype == torch.float64
    found = {match.id: match.distance for match in filled.search(sketches[3], top_k=COUNT)}
    assert found == dict(zip(segment.ids, expected.tolist(), strict=True))


def test_a_report_says_what_became_of_the_photos() -> None:
    report = AddReport(("a", "b"), 3, (Skipped("c.png", "is empty"),))
    assert repr(report).splitlines() == ["2 added, 3 there already, 1 skipped", "  c.png: is empty"]
    assert pickle.loads(pickle.dumps(report)) == report
