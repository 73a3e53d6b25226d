"""`Retriever`, as people use it: what is found, and what is removed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.errors import (
    NotAGalleryError,
    QueryError,
    UnknownIdError,
)
from engine.retriever import Retriever
from tests.engine.conftest import COUNT, IDS, Reopen, ids_of
from tests.engine.test_exact import random_features


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
