"""What metadata can be filtered by, against a reading of all metadata in plain Python."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.facets import _KEYS, _VALUES, LONGEST_TEXT, MOST_KEYS, MOST_VALUES, Facet, read_facets, stop_counting
from engine.gallery import Gallery
from tests.engine.kill_writer import block_of
from tests.engine.small_gallery import add, create

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(-5, 5), st.sampled_from(["a", "b", "ü"]))
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.just({"inner": "a"}))
ENTRIES = st.lists(st.none() | st.dictionaries(st.sampled_from(["k", "tag", "p q"]), VALUES), min_size=1, max_size=6)


def expected(entries: list[dict[str, Any] | None]) -> dict[str, tuple[int, dict[Any, int], Any, Any]]:
    """By key: photos, how many have each value, the lowest and the highest number."""
    keys: dict[str, tuple[int, dict[Any, int], Any, Any]] = {}
    for key in {key for entry in entries if entry for key in entry}:
        items = [
            [item for item in (value if isinstance(value, list) else [value]) if not isinstance(item, dict)]
            for value in (entry[key] for entry in entries if entry and key in entry)
        ]
        counts = Counter(
            value for some in items for value in {(type(i), i) for i in some if isinstance(i, (str, bool))}
        )
        numbers = [i for some in items for i in some if isinstance(i, (int, float)) and not isinstance(i, bool)]
        if any(items):
            keys[key] = (sum(map(bool, items)), dict(counts), min(numbers, default=None), max(numbers, default=None))
    return keys


def found(facets: list[Facet]) -> dict[str, tuple[int, dict[Any, int], Any, Any]]:
    """The same of what was read."""
    return {
        facet.key: (facet.photos, {(type(v), v): n for v, n in facet.values}, facet.lowest, facet.highest)
        for facet in facets
    }


@settings(max_examples=30, deadline=None)
@given(entries=ENTRIES)
def test_facets_are_what_the_metadata_holds(entries: list[dict[str, Any] | None], tmp_path_factory: Any) -> None:
    gallery = create(tmp_path_factory.mktemp("facets") / "gallery")
    add(gallery, *range(len(entries)), metadata=entries)
    assert found(gallery.facets()) == expected(entries)


def test_the_counts_follow_every_kind_of_commit(tmp_path: Path) -> None:
    gallery, chance = create(tmp_path / "gallery"), random.Random(0)

    def entries(count: int) -> list[dict[str, Any] | None]:
        scalars = [None, True, False, 1, 2.5, -3, "a", "b", "c"]
        values = [*scalars, ["a", "a", 1], ["b", True], [], {"inner": 1}]
        return [None, *({key: chance.choice(values) for key in chance.sample("klm", 2)} for _ in range(count - 1))]

    def hold(*ids: int) -> None:
        with gallery.writer() as writer:
            writer.add(block_of(list(ids)), [str(n) for n in ids], metadata=entries(len(ids)), replace=True)

    def check() -> None:
        metadata = [record.metadata and dict(record.metadata) for record in gallery.existing().values()]
        assert found(gallery.facets()) == expected(metadata)

    hold(*range(12))
    check()
    gallery.copy(tmp_path / "snapshot")
    for start in range(0, 12, 3):
        hold(start, start + 1, start + 12, start + 13)  # two of them replaced
        check()
        with gallery.writer() as writer:
            writer.update_metadata(dict(zip([str(start), str(start + 1)], reversed(entries(2)), strict=True)))
        check()
        with gallery.writer() as writer:
            writer.remove([str(start + 2)])
            writer.compact()
        check()
    with gallery.writer() as writer:
        writer.restore(tmp_path / "snapshot")
    check()
    hold(1, 40)
    check()
    with gallery.writer() as writer:
        writer.remove(gallery.existing())
    assert gallery.facets() == []
    with gallery._catalogue.transaction() as connection:
        assert connection.execute("SELECT * FROM facet_counts").fetchall() == []


def test_a_gallery_from_before_there_were_counts_is_read(tmp_path: Path) -> None:
    gallery = create(tmp_path / "gallery")
    with gallery._catalogue.transaction("IMMEDIATE") as connection:
        stop_counting(connection)
    add(gallery, 0, 1, metadata=[{"k": "a"}, {"k": ["a", 2]}])
    assert gallery.facets() == [Facet("k", 2, (("a", 2),), False, 2, 2)]


@pytest.mark.parametrize("longer", [0, 1])
def test_a_long_text_is_no_choice(tmp_path: Path, longer: int) -> None:
    gallery = create(tmp_path / "gallery")
    add(gallery, 0, metadata=[{"k": "ü" * (LONGEST_TEXT + longer)}])
    (facet,) = gallery.facets()
    assert (facet.photos, len(facet.values)) == (1, 1 - longer)


def test_facets_are_looked_up_however_many_photos_there_are(tmp_path: Path) -> None:
    gallery = create(tmp_path / "gallery")
    with gallery._catalogue.transaction() as connection:
        plans = [
            line
            for query, values in ((_KEYS, (1,)), (_VALUES, ("k", 1)))
            for *_, line in connection.execute(f"EXPLAIN QUERY PLAN {query}", values)
        ]
    read = [line for line in plans if "facet_counts" in line or "every" in line]
    assert len(read) == 7
    assert all(line.startswith("SEARCH") for line in read), plans
    assert "photos" not in " ".join(plans)
    assert any("commonest_first (key=?)" in line for line in read), "the commonest would be sorted out of all texts"


def test_of_many_values_the_commonest_are_named(tmp_path: Any) -> None:
    gallery = create(tmp_path / "gallery")
    entries = [{"name": f"n{max(0, n - 3)}"} for n in range(MOST_VALUES + 20)]
    add(gallery, *range(len(entries)), metadata=entries)
    (facet,) = gallery.facets()
    assert facet.values[0] == ("n0", 4)
    assert (len(facet.values), facet.more_values) == (MOST_VALUES, True)


def test_of_many_keys_those_of_most_photos_are_named(tmp_path: Any) -> None:
    gallery = create(tmp_path / "gallery")
    keys = {f"key{n}": 1 for n in range(MOST_KEYS + 5)}
    add(gallery, 0, 1, metadata=[keys, {"key9": 2}])
    found = gallery.facets()
    assert (len(found), found[0].key) == (MOST_KEYS, "key9")


def test_a_photo_of_a_damaged_segment_does_not_count(tmp_path: Any) -> None:
    gallery = create(tmp_path / "gallery")
    for n in range(2):
        add(gallery, n, metadata=[{"k": str(n)}])
    next(iter((gallery.path / "segments").glob("*.safetensors"))).write_bytes(b"damaged")
    with Gallery.open(gallery.path, damaged=True).writer() as writer:
        writer.verify()
    assert sum(facet.photos for facet in read_facets(gallery._catalogue)) == 1
