"""Features computed elsewhere: of any shape, refused by name where they can't be ranked."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import (
    ConfigError,
    DuplicateIdError,
    FeatureShapeError,
    FeatureValueError,
    InvalidPhotoError,
)
from engine.retriever import Retriever
from kernels.reference import canonical_distance
from mlrm.features import Features
from tests.engine.conftest import COUNT, Reopen, ids_of
from tests.engine.test_exact import random_features, stored


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
