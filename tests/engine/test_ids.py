"""Packed ids are the strings that they were made of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ids import Ids

TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # no half of a surrogate pair: SQLite stores none


@given(st.lists(TEXT), st.slices(20))
def test_they_are_what_they_were_made_of(texts: list[str], part: slice) -> None:
    ids = Ids(texts)
    assert list(ids) == texts
    assert [ids[number] for number in range(-len(texts), len(texts))] == texts + texts
    assert ids[part] == tuple(texts[part])
    assert all(text in ids for text in texts)
    places = np.arange(len(texts))[part]
    assert ids.at(places) == texts[part]


@pytest.mark.parametrize("index", [2, -3])
def test_beyond_their_end_is_an_error(index: int) -> None:
    with pytest.raises(IndexError):
        Ids(["a", "b"])[index]
