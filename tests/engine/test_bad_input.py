"""Galleries, ids, numbers and features that can't be used: a typed error, and nothing stored is lost by it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch

from engine.errors import (
    CheckpointError,
    DuplicateIdError,
    FeatureValueError,
    GalleryCorruptError,
    GalleryVersionError,
    MLRMError,
    NoImagesError,
    NotAGalleryError,
    QueryError,
)
from engine.retriever import Retriever
from mlrm.errors import ImageDecodeError
from tests.engine.conftest import COUNT
from tests.engine.test_bad_images import GREEN, noise
from tests.engine.test_exact import random_features


def test_a_path_that_is_no_gallery_is_refused_and_untouched(checkpoint: Path, tmp_path: Path) -> None:
    folder, file = tmp_path / "holiday", tmp_path / "file"
    folder.mkdir()
    (folder / "beach.jpg").write_bytes(b"precious")
    file.write_text("precious")
    with pytest.raises(
        NotAGalleryError, match=r"holiday is not a gallery: found 'beach.jpg' in it.*Give a gallery, or a new"
    ):
        Retriever(checkpoint, folder, "cpu")
    with pytest.raises(NotAGalleryError, match=r"file is not a gallery: expected a directory. Give another path"):
        Retriever(checkpoint, file, "cpu")
    assert [entry.name for entry in folder.iterdir()] == ["beach.jpg"]


def test_a_gallery_of_a_newer_format_is_refused_and_untouched(
    filled: Retriever, checkpoint: Path, still_there: Callable[[], None]
) -> None:
    def set_format(version: str) -> None:
        with closing(sqlite3.connect(filled.path / "catalogue.sqlite")) as connection:
            connection.execute("UPDATE meta SET value = ? WHERE key = 'format_version'", (version,))
            connection.commit()

    set_format("999")
    with pytest.raises(
        GalleryVersionError, match=r"has format 999.*reads up to format 1\. Upgrade this package, or index"
    ):
        Retriever(checkpoint, filled.path, "cpu")
    set_format("1")
    still_there()


def test_a_damaged_gallery_is_refused_by_the_file(filled: Retriever, checkpoint: Path) -> None:
    [file] = (filled.path / "segments").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(GalleryCorruptError, match=rf"{file.name}: it has \d+ bytes, .*`python -m engine verify"):
        Retriever(checkpoint, filled.path, "cpu")


def test_duplicate_ids_are_reported_or_refused(filled: Retriever, still_there: Callable[[], None]) -> None:
    report = filled.add([GREEN, noise()], ids=["x", "x"])
    assert report.added == ("x",)
    assert (
        report.skipped[0].reason
        == "the id 'x' is taken by an image from memory; rename it, give ids=[...], or add it with replace=True"
    )
    features = filled.encoder.encode(torch.zeros(2, 3, 224, 224, dtype=torch.uint8), "photo")
    with pytest.raises(DuplicateIdError, match="'x' more than once; expected each photo once"):
        filled.add_features(features, ids=["x", "x"])
    with pytest.raises(DuplicateIdError, match=r"already holds 'photo-0\.png'; nothing of this batch was stored"):
        filled.add_features(features, ids=["y", "photo-0.png"])
    assert len(filled) == COUNT + 1
    still_there()


def test_one_name_in_two_folders_is_reported(empty: Retriever, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        noise(side=32 if folder == "a" else 48).save(tmp_path / folder / "1.png")
    report = empty.add([tmp_path / "a", tmp_path / "b"])
    [skip] = report.skipped
    assert (report.added, skip.source) == (("1.png",), str(tmp_path / "b" / "1.png"))
    assert str(tmp_path / "a" / "1.png") in skip.reason


def test_a_top_k_below_1_is_refused(filled: Retriever, still_there: Callable[[], None], sketches: list[Path]) -> None:
    with pytest.raises(QueryError, match="top_k is 0; expected an int of at least 1"):
        filled.search(sketches[0], top_k=0)
    still_there()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5], ids=["NaN", "infinite", "beyond float16"])
def test_features_that_cannot_be_stored_are_refused_whole(
    filled: Retriever, still_there: Callable[[], None], value: float
) -> None:
    features = random_features(3, 0, (256, 512, 1280), 3)
    features.levels[2][1, 2, 3] = value
    maps = torch.zeros(3, 3, 7, 7)
    features = type(features)(features.levels, features.region_weights, features.level_weights, maps)
    with pytest.raises(
        FeatureValueError, match=r"photo 'b', level 2, region 2: found .*expected finite values of at most"
    ):
        filled.add_features(features, ids=["a", "b", "c"])
    assert len(filled) == COUNT
    still_there()


def test_every_error_has_one_base() -> None:
    """So that a service can catch what its users can act on."""
    for error in (ImageDecodeError, NoImagesError, NotAGalleryError, CheckpointError, QueryError, FeatureValueError):
        assert issubclass(error, MLRMError)
