"""`where` and `subset`: what they let through is what their definition says, with an index or without one."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import selecting
from engine.errors import FilterError
from engine.exact import ExactSearch
from engine.features import FeatureBlock
from engine.filters import Filter, check_index_key, parse_where
from engine.gallery import Gallery, Selection
from mlrm.features import Features
from tests.engine.kill_writer import SHAPES, block_of, features, photo_id

SCALARS = (
    None,
    True,
    False,
    0,
    1,
    1.0,
    -2,
    2.5,
    0.1,
    2**70,
    "",
    "1",
    "a",
    "b",
    "é",
    "\U0001f45f",
    "true",
    '["a"]',
    "\0",
)
KEYS = ("category", "price", "a key", 'quote"d', "é", "a.b", "$")
INDEXED = ("category", "price", "a key", "a.b", "$")
COMPARE = {"lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge}


def kind(value: Any) -> str:
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def holds(value: Any, condition: str, operand: Any) -> bool:
    """The definition for one value, or for a list of which one item must do."""
    if isinstance(value, list):
        return any(holds(item, condition, operand) for item in value if not isinstance(item, (list, dict)))
    if condition in COMPARE:
        return kind(value) == kind(operand) and bool(COMPARE[condition](value, operand))
    return any(kind(value) == kind(one) and value == one for one in operand)


def matches(metadata: dict[str, Any] | None, where: dict[str, Any]) -> bool:
    """The definition of `where`."""
    for key, given_ in where.items():
        there = metadata is not None and key in metadata
        value = metadata[key] if metadata is not None and there else []  # no item does
        for condition, operand in (given_ if isinstance(given_, dict) else {"eq": given_}).items():
            met = {
                "exists": lambda there=there, operand=operand: there == operand,
                "eq": lambda value=value, operand=operand: holds(value, "in", [operand]),
                "ne": lambda value=value, operand=operand: not holds(value, "in", [operand]),
            }.get(condition, lambda value=value, c=condition, operand=operand: holds(value, c, operand))
            if not met():
                return False
    return True


scalars = st.sampled_from(SCALARS)
values = scalars | st.lists(scalars | st.just(["a"]) | st.just({"a": 1}), max_size=3) | st.just({"category": "a"})
metadatas = st.none() | st.dictionaries(st.sampled_from(KEYS), values, max_size=4)
ordered = scalars.filter(lambda value: kind(value) in ("number", "str"))
conditions = st.one_of(
    scalars,
    st.fixed_dictionaries(
        {},
        optional={
            "eq": scalars,
            "ne": scalars,
            "in": st.lists(scalars, max_size=4),
            "exists": st.booleans(),
            **{name: ordered for name in COMPARE},
        },
    ).filter(bool),
)
wheres = st.dictionaries(st.sampled_from(KEYS), conditions, max_size=3)


@pytest.fixture(scope="module")
def galleries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Gallery, Gallery]:
    """The same four photos in a gallery without indexes and in one with them."""
    both = []
    for keys in ((), INDEXED):
        gallery = Gallery.create(tmp_path_factory.mktemp("g") / "g", shapes=SHAPES, model_fingerprint="m")
        with gallery.writer() as writer:
            writer.index_metadata(keys)
            writer.add(block_of([0, 1]), [photo_id(0), photo_id(1)])
            writer.add(block_of([2, 3]), [photo_id(2), photo_id(3)])
        both.append(gallery)
    return both[0], both[1]


def ids_of(selection: Selection) -> set[str]:
    segments = selection.snapshot.segments
    assert selection.rows is not None
    return {
        segment.ids[segment.live_rows.tolist().index(row)]
        for segment, rows in zip(segments, selection.rows, strict=True)
        for row in rows
    }


@pytest.mark.parametrize("turn", [1, 3, selecting.TURN])
@settings(max_examples=60, deadline=None)
@given(entries=st.lists(metadatas, min_size=4, max_size=4), where=wheres, subset=st.none() | st.sets(st.integers(0, 5)))
@example(
    entries=[{"category": "a"}, {"category": ["a"]}, {"category": '["a"]'}, None], where={"category": "a"}, subset=None
)
@example(entries=[{"price": True}, {"price": 1}, {"price": 1.0}, {"price": "1"}], where={"price": 1}, subset=None)
@example(entries=[{"price": 3}, {"price": "x"}, {"price": None}, {}], where={"price": {"gt": 2}}, subset={0, 1, 2})
def test_a_filter_lets_through_what_its_definition_says(
    galleries: tuple[Gallery, Gallery],
    turn: int,
    entries: list[dict[str, Any] | None],
    where: dict[str, Any],
    subset: Any,
) -> None:
    given_ids = None if subset is None else [photo_id(number) for number in subset]
    expected = {
        photo_id(number)
        for number, entry in enumerate(entries)
        if matches(entry, where) and (subset is None or number in subset)
    }
    for gallery in galleries:
        with gallery.writer() as writer:
            writer.update_metadata({photo_id(number): entry for number, entry in enumerate(entries)})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(selecting, "TURN", turn)
            patch.setattr(selecting, "FEW", turn)
            selection = gallery.select(Filter.parse(where, given_ids))
        assert ids_of(selection) == expected
        assert len(selection) == len(expected)


@pytest.mark.parametrize("where", [{"category": "a"}, {"category": {"in": ["a", "b"]}}, {"category": {"gt": 3}}])
def test_a_declared_key_is_looked_up_in_its_index(galleries: tuple[Gallery, Gallery], where: dict[str, Any]) -> None:
    catalogue = galleries[1]._catalogue
    condition, parameters = Filter.parse(where, None).sql(INDEXED)  # type: ignore[union-attr]
    with catalogue.transaction() as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT row FROM photos WHERE {condition}", parameters).fetchall()
    steps = [row[3] for row in plan]
    assert any("USING INDEX metadata_0 (" in step for step in steps), steps
    assert any("metadata_0_lists" in step for step in steps), steps
    assert not any(step.startswith("SCAN photos") and "metadata_0_lists" not in step for step in steps), steps


def test_the_two_ends_of_a_range_are_one_reading_of_the_index(galleries: tuple[Gallery, Gallery]) -> None:
    condition, parameters = Filter.parse({"price": {"ge": 1, "lt": 2}}, None).sql(INDEXED)  # type: ignore[union-attr]
    with galleries[1]._catalogue.transaction() as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT row FROM photos WHERE {condition}", parameters).fetchall()
    assert sum("USING INDEX metadata_1 (<expr>>? AND <expr><?)" in row[3] for row in plan) == 1, plan


def test_declaring_a_key_again_changes_nothing(galleries: tuple[Gallery, Gallery]) -> None:
    gallery = galleries[1]
    before = gallery.info()
    with gallery.writer() as writer:
        writer.index_metadata(["price", "category"])
    assert gallery.info() == before
    assert before.index_keys == INDEXED


@pytest.mark.parametrize("key", ["", "a'b", 'a"b', "a\\b", "é", "a\nb", 3])
def test_a_key_that_cannot_be_indexed_is_refused(key: Any) -> None:
    with pytest.raises(FilterError, match="can't index the metadata key"):
        check_index_key(key)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("shoe", r"where is a str; expected a dict by metadata key"),
        ({3: 1}, r"where holds the key 3; expected a metadata key"),
        ({"a": {}}, r"where\['a'\] is empty; expected a value, or conditions"),
        ({"a": {"below": 1}}, r"where\['a'\] has the condition 'below'; expected one of eq, ne, lt"),
        ({"a": {1: 1}}, r"has the condition 1; expected one of"),
        ({"a": ["b"]}, r"where\['a'\]\['eq'\] is \['b'\]; expected a string, .* \(for several: \{\"in\": \[...\]\}\)"),
        ({"a": {"in": "b"}}, r"where\['a'\]\['in'\] is 'b'; expected a list"),
        ({"a": {"in": [["b"]]}}, r"expected a list of strings"),
        ({"a": {"lt": True}}, r"where\['a'\]\['lt'\] is True; expected a finite number or a string"),
        ({"a": {"lt": None}}, r"expected a finite number or a string"),
        ({"a": {"gt": float("nan")}}, r"is nan; expected a finite number"),
        ({"a": float("inf")}, r"is inf; expected a string, a finite number"),
        ({"a": {"exists": 1}}, r"where\['a'\]\['exists'\] is 1; expected true or false"),
        ({str(number): 1 for number in range(101)}, r"101 conditions; expected at most 100"),
    ],
)
def test_a_malformed_where_says_what_was_found_and_expected(where: Any, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        Filter.parse(where, None)


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        ("a", "subset is a str; expected a list"),
        (3, "subset is a int"),
        (["a", 3], "subset holds 3; expected photo ids"),
    ],
)
def test_a_malformed_subset_says_what_was_found_and_expected(subset: Any, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        Filter.parse(None, subset)


@pytest.mark.parametrize("text", ["category=shoe", "[1]", "null", '"shoe"', "{'a': 1}", "[" * 100_000])
def test_a_where_that_is_no_json_object_says_what_to_type(text: str) -> None:
    with pytest.raises(FilterError, match=r'expected JSON such as \{"category": "shoe"\}'):
        parse_where(text)


def test_as_many_conditions_as_are_allowed_can_be_asked(galleries: tuple[Gallery, Gallery]) -> None:
    where = {f"key {number}": {"ne": "x"} for number in range(100)}
    assert len(galleries[0].select(Filter.parse(where, None))) == 4


def test_no_filter_is_the_whole_snapshot(galleries: tuple[Gallery, Gallery]) -> None:
    gallery = galleries[0]
    assert Filter.parse(None, None) is None
    selection = gallery.select(None)
    assert (selection.rows, len(selection)) == (None, 4)
    assert selection.snapshot is gallery.snapshot()


def as_features(block: FeatureBlock) -> Features:
    """What a gallery stores of a block, in float32."""
    stored = block.encoded()
    return Features(
        tuple(torch.from_numpy(level.astype(np.float32)) for level in stored.levels),
        torch.from_numpy(stored.region_weights),
        torch.from_numpy(stored.level_weights),
    )


def test_a_search_sees_photos_and_metadata_of_one_commit(tmp_path: Path) -> None:
    """A reader that holds an old snapshot gets the photos of the commit whose metadata it filters by."""
    gallery = Gallery.create(tmp_path / "g", shapes=SHAPES, model_fingerprint="m")
    reader = Gallery.open(gallery.path)
    where = Filter.parse({"new": True}, None)
    assert len(reader.select(where)) == 0
    with gallery.writer() as writer:
        writer.add(block_of([0, 1]), ["a", "b"], metadata=[{"new": True}, {"new": False}])
        assert ids_of(reader.select(where)) == {"a"}
        assert reader.select(where).snapshot is reader.snapshot()
        writer.update_metadata({"a": None, "b": {"new": True}})
        assert ids_of(reader.select(where)) == {"b"}
        held = reader.select(where)
        writer.remove(["b"])
    assert ids_of(held) == {"b"}, "a selection stays as it was"
    assert len(reader.select(where)) == 0
    [hits] = ExactSearch(torch.device("cpu"))(held, as_features(features(1)), 5, 1)
    assert [hit.id for hit in hits] == ["b"]
