"""What metadata can be filtered by, against a reading of all metadata in plain Python."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.facets import MOST_KEYS, MOST_VALUES, read_facets
from engine.gallery import Gallery
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


@settings(max_examples=30, deadline=None)
@given(entries=ENTRIES)
def test_facets_are_what_the_metadata_holds(entries: list[dict[str, Any] | None], tmp_path_factory: Any) -> None:
    gallery = create(tmp_path_factory.mktemp("facets") / "gallery")
    add(gallery, *range(len(entries)), metadata=entries)
    found = {
        facet.key: (facet.photos, {(type(v), v): n for v, n in facet.values}, facet.lowest, facet.highest)
        for facet in gallery.facets()
    }
    assert found == expected(entries)


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
