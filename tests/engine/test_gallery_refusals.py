"""What a gallery doesn't take, and what it says of it; nothing is written then."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import errors
from engine.gallery import FeatureShapes, Gallery
from engine.gallery_writer import MAX_ID_LENGTH
from engine.model_check import EXTERNAL
from tests.engine.kill_writer import SHAPES, block_of
from tests.engine.small_gallery import add, files_of


@pytest.mark.parametrize(
    ("ids", "columns", "error", "message"),
    [
        (["a", "a"], {}, errors.DuplicateIdError, "'a' more than once"),
        (["b", "photo-00000"], {}, errors.DuplicateIdError, "already holds 'photo-00000'"),
        (["b", ""], {}, errors.InvalidPhotoError, "1 to 1024 characters"),
        (["b", "a\0b"], {}, errors.InvalidPhotoError, "without NUL"),
        (["b", "x" * (MAX_ID_LENGTH + 1)], {}, errors.InvalidPhotoError, "1024"),
        (["b", 3], {}, errors.InvalidPhotoError, "expected a string"),
        (["b", "\udcff"], {}, errors.InvalidPhotoError, "not valid Unicode"),
        (["b", "c"], {"paths": ["ok", "\udcff.png"]}, errors.InvalidPhotoError, "'c'.*not valid Unicode"),
        (["b", "c"], {"paths": ["one"]}, errors.InvalidPhotoError, "lists of one length"),
        (["b", "c"], {"previews": []}, errors.InvalidPhotoError, "lists of one length"),
        (["b", "c"], {"metadata": [None, {"x": object()}]}, errors.InvalidPhotoError, "'c'.*JSON"),
        (["b", "c"], {"metadata": [None, {"x": float("nan")}]}, errors.InvalidPhotoError, "'c'.*JSON"),
        (["b", "c"], {"metadata": [None, ["x"]]}, errors.InvalidPhotoError, "'c'.*metadata is a list; expected a dict"),
        (["b", "c"], {"metadata": [None, "x"]}, errors.InvalidPhotoError, "'c'.*metadata is a str; expected a dict"),
        (["b"], {}, errors.FeatureShapeError, "1 ids for the features of 2 photos"),
    ],
)
def test_what_cannot_be_catalogued_is_refused_and_nothing_is_written(
    gallery: Gallery, ids: Any, columns: Any, error: type[Exception], message: str
) -> None:
    add(gallery, 0)
    before = files_of(gallery.path)
    with pytest.raises(error, match=message), gallery.writer() as writer:
        writer.add(block_of([1, 2]), ids, **columns)
    assert files_of(gallery.path) == before


def test_an_error_names_five_ids_at_most(gallery: Gallery) -> None:
    add(gallery, *range(8))
    with pytest.raises(errors.DuplicateIdError, match=r"'photo-00004' and 3 more;"):
        add(gallery, *range(8))


@pytest.mark.parametrize(
    "shapes",
    [
        replace(SHAPES, regions=3),
        replace(SHAPES, level_dims=(3, 5, 5)),
        replace(SHAPES, level_dims=(3, 6)),
        replace(SHAPES, map_size=(2, 3)),
    ],
)
def test_features_of_other_shapes_are_refused(gallery: Gallery, shapes: FeatureShapes) -> None:
    with (
        pytest.raises(errors.FeatureShapeError, match=r"2 regions, 2 levels of .*; these have"),
        gallery.writer() as w,
    ):
        w.add(block_of([0], shapes), ["a"])
    assert len(gallery.snapshot()) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, 7e4])
def test_bad_values_are_refused_and_nothing_is_written(gallery: Gallery, value: float) -> None:
    add(gallery, 0)
    before = files_of(gallery.path)
    bad = block_of([1, 2])
    bad.levels[1][1, 0, 2] = value
    with pytest.raises(errors.FeatureValueError, match="'c', level 1, region 0"), gallery.writer() as writer:
        writer.add(bad, ["b", "c"])
    assert files_of(gallery.path) == before


MINE, SHIPPED = "/my models/a.pt", "shipped"


@pytest.mark.parametrize(
    ("held", "held_name", "used_name", "parts"),
    [
        ("abc", MINE, SHIPPED, ["model abc (/my models/a.pt)", "is xyz (shipped)", f"`--model '{MINE}'`", "{new}`."]),
        (
            "abc",
            SHIPPED,
            MINE,
            ["abc (shipped)", "load the shipped model: leave out `--model`", "{new} --model '/my mo"],
        ),
        (
            "abc",
            SHIPPED,
            SHIPPED,
            ["abc (shipped)", "is xyz (shipped)", "install the release of this package", "{new}`."],
        ),
        ("abc", "", SHIPPED, ["model abc,", "load the model with that fingerprint", "{new}`."]),
        ("abc", MINE, None, ["is xyz:", f"`--model '{MINE}'`", "add them to another gallery"]),
        (
            EXTERNAL,
            "",
            SHIPPED,
            [EXTERNAL, "give `search_features` and `add_features` features of the same", "{new}`."],
        ),
    ],
    ids=[
        "shipped in use",
        "checkpoint in use",
        "another release",
        "nameless gallery",
        "features in use",
        "gallery of features",
    ],
)
def test_a_gallery_of_another_model_is_refused_with_both_ways_out(
    tmp_path: Path, held: str, held_name: str, used_name: str | None, parts: list[str]
) -> None:
    gallery = Gallery.create(tmp_path / "a b", shapes=SHAPES, model_fingerprint=held, model_name=held_name)
    gallery.check_model(held)
    with pytest.raises(errors.ModelMismatchError) as caught:
        gallery.check_model("xyz", used_name)
    new = f"python -m engine index PHOTOS --gallery '{gallery.path}.new'"
    for part in parts:
        assert part.replace("{new}", new) in str(caught.value)
