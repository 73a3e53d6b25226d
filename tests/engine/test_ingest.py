"""`add` run again and again over folders that change: files moved, changed, named anew, or impossible to keep."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from engine import ingest
from engine.retriever import Retriever
from engine.types import AddReport
from mlrm.features import Features
from tests.engine.conftest import COUNT

RED = Image.new("RGB", (32, 32), "red")


def paths_of(retriever: Retriever) -> dict[str, str | None]:
    assert retriever.gallery is not None
    return {record.id: record.path for record in retriever.gallery.existing().values()}


def counts(report: AddReport) -> tuple[int, int, int, int]:
    return len(report.added), report.already, report.moved, len(report.skipped)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was decoded, from here on."""
    from engine import sources

    load, seen = sources.load_image, list[object]()
    monkeypatch.setattr(sources, "load_image", lambda source: seen.append(source) or load(source))
    return seen


# -- files that are there


def test_a_folder_that_was_moved_is_followed(
    empty: Retriever, photos: Path, sketches: list[Path], tmp_path: Path, decoded: list[object]
) -> None:
    empty.add(photos)
    new = tmp_path / "moved"
    photos.rename(new)
    report = empty.add(new)
    assert counts(report) == (0, COUNT, COUNT, 0)
    assert "6 there already (6 of them moved)" in repr(report)
    assert paths_of(empty) == {id_: str(new / id_) for id_ in paths_of(empty)}
    assert all(Path(match.path).is_file() for match in empty.search(sketches[0]))
    decoded.clear()
    assert counts(empty.add(new)) == (0, COUNT, 0, 0)
    assert decoded == []


def test_a_move_is_recorded_in_pieces(empty: Retriever, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an interruption of a long `add` keeps what was seen."""
    monkeypatch.setattr(ingest, "SEGMENT_PHOTOS", 4)
    empty.add(photos)
    new = photos.with_name("moved")
    photos.rename(new)

    def interrupt(done: int, total: int) -> None:
        if done == COUNT:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        empty.add(new, progress=interrupt)
    assert sum(str(path).startswith(str(new)) for path in paths_of(empty).values()) == 4
    assert empty.add(new).moved == COUNT - 4


def test_a_copy_of_a_folder_is_no_move(empty: Retriever, photos: Path, tmp_path: Path) -> None:
    empty.add(photos)
    before = paths_of(empty)
    assert counts(empty.add(shutil.copytree(photos, tmp_path / "copy"))) == (0, COUNT, 0, 0)
    assert paths_of(empty) == before


def test_a_folder_in_a_folder_holds_no_new_photos(empty: Retriever, photos: Path, decoded: list[object]) -> None:
    """Under the outer folder they are called `more/photo-1.png`, under the inner one `photo-1.png`."""
    empty.add(photos)
    before = paths_of(empty)
    decoded.clear()
    assert counts(empty.add(photos / "more")) == (0, 3, 0, 0)
    assert counts(empty.add([photos / "more", photos, photos / "photo-0.png"])) == (0, COUNT, 0, 0)
    assert decoded == []
    assert paths_of(empty) == before


def test_a_file_added_under_an_id_of_choice_is_there(empty: Retriever, photos: Path) -> None:
    empty.add(photos / "photo-0.png", ids=["chosen"])
    assert counts(empty.add(photos)) == (COUNT - 1, 1, 0, 0)
    assert counts(empty.add(photos / "photo-0.png", ids=["another"])) == (1, 0, 0, 0)


# -- files that changed


def test_a_file_that_was_changed_in_place_is_skipped_and_says_what_to_do(
    empty: Retriever, photos: Path, sketches: list[Path]
) -> None:
    empty.add(photos)
    path = photos / "photo-0.png"
    RED.save(path)
    for folder in (photos, path):
        report = empty.add(folder)
        [skip] = report.skipped
        assert skip.source == str(path)
        assert "changed since it was added as 'photo-0.png'; add it with replace=True" in skip.reason
    assert len(report.added) == 0
    old = {match.id: match.distance for match in empty.search(sketches[0])}
    empty.remove(["photo-0.png"])
    assert empty.add(photos).added == ("photo-0.png",)
    new = {match.id: match.distance for match in empty.search(sketches[0])}
    assert {id_ for id_ in new if new[id_] != old[id_]} == {"photo-0.png"}


def test_a_changed_file_is_told_by_the_id_it_has_in_the_gallery(empty: Retriever, photos: Path) -> None:
    empty.add(photos)
    RED.save(photos / "more" / "photo-1.png")
    [skip] = empty.add(photos / "more").skipped
    assert "changed since it was added as 'more/photo-1.png'; add it with replace=True" in skip.reason


def test_a_file_written_again_with_the_same_picture_is_decoded_once(
    empty: Retriever, photos: Path, decoded: list[object]
) -> None:
    empty.add(photos)
    path = photos / "photo-0.png"
    os.utime(path, ns=(0, 0))
    decoded.clear()
    assert [counts(empty.add(photos)) for _ in range(2)] == [(0, COUNT, 0, 0)] * 2
    assert decoded == [path]


# -- photos that can't be kept


@pytest.fixture
def spoil(empty: Retriever, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Gives one value of the features of the all-red photo, if it is among those encoded, another value."""
    encode = empty.encoder.encode

    def start(value: float) -> None:
        def spoilt(images: torch.Tensor, domain: str) -> Features:
            features = encode(images, domain).map(torch.clone)  # out of inference mode, to be written to
            red = (images == images.new_tensor([255, 0, 0])[:, None, None]).flatten(1).all(1)
            features.levels[1][red, 2, 3] = value
            return features

        monkeypatch.setattr(empty.encoder, "encode", spoilt)

    return start


@pytest.mark.parametrize(
    ("batch", "segment", "value"), [(16, 512, float("nan")), (2, 512, float("inf")), (16, 3, 1e5), (1, 1, float("nan"))]
)
def test_a_photo_whose_features_cannot_be_stored_is_skipped_and_the_rest_goes_in(
    empty: Retriever,
    photos: Path,
    sketches: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[float], None],
    batch: int,
    segment: int,
    value: float,
) -> None:
    monkeypatch.setattr(ingest, "ENCODE_BATCH", batch)
    monkeypatch.setattr(ingest, "SEGMENT_PHOTOS", segment)
    RED.save(photos / "more" / "red.png")
    spoil(value)
    report = empty.add(photos)
    [skip] = report.skipped
    assert skip.source == str(photos / "more" / "red.png")
    assert f"photo 'more/red.png', level 1, region 2: found {value}; expected finite values" in skip.reason
    assert "leave the photo out, or check the model" in skip.reason
    assert len(report.added) == len(empty) == COUNT
    distances = {match.id: match.distance for match in empty.search(sketches[0])}

    (photos / "more" / "red.png").unlink()
    again = Retriever(empty.encoder.name, empty.path.with_name("again"), "cpu")
    again.add(photos)
    assert distances == pytest.approx({m.id: m.distance for m in again.search(sketches[0])}, rel=1e-3)


def test_an_id_is_free_again_after_its_photo_was_skipped(
    empty: Retriever, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[float], None]
) -> None:
    monkeypatch.setattr(ingest, "ENCODE_BATCH", 1)
    spoil(float("nan"))
    assert counts(empty.add([RED, Image.new("RGB", (32, 32), "green")], ids=["x", "x"])) == (1, 0, 0, 1)


def test_where_no_photo_can_be_stored_no_gallery_is_made(empty: Retriever, spoil: Callable[[float], None]) -> None:
    spoil(float("nan"))
    assert counts(empty.add([RED, RED], ids=["a", "b"])) == (0, 0, 0, 2)
    assert not empty.path.exists()


@pytest.mark.parametrize("bad", ["", "nul\0", "x" * 1025, "\udcff"], ids=["empty", "NUL", "long", "no Unicode"])
def test_a_photo_whose_id_cannot_be_kept_is_skipped_and_the_rest_goes_in(empty: Retriever, bad: str) -> None:
    seen: list[tuple[int, int]] = []
    images = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")]
    report = empty.add(images, ids=["a", bad, "b"], progress=lambda *now: seen.append(now))
    assert report.added == ("a", "b")
    assert "expected a string of 1 to 1024 characters without NUL" in report.skipped[0].reason or (
        "not valid Unicode" in report.skipped[0].reason
    )
    assert seen == [(2, 3), (3, 3)]  # the other one is handled before the first is decoded


@pytest.mark.skipif(os.name == "nt", reason="paths are shorter there")
def test_a_photo_deep_in_folders_is_skipped_and_the_rest_goes_in(empty: Retriever, photos: Path) -> None:
    """Its id, the relative path, is longer than 1024 characters."""
    deep = photos.joinpath(*["folder-" * 30] * 5)
    try:
        deep.mkdir(parents=True)
        RED.save(deep / "red.png")
    except OSError as error:
        pytest.skip(f"this file system has no such paths: {error}")
    report = empty.add(photos)
    assert counts(report) == (COUNT, 0, 0, 1)
    assert "1 to 1024 characters" in report.skipped[0].reason


# -- files that are no photos


def test_files_that_were_left_out_are_counted(empty: Retriever, photos: Path) -> None:
    for name in ("1.heic", "2.heic", "more/3.heic", "list.txt"):
        (photos / name).touch()
    report = empty.add(photos)
    assert report.left_out == {".heic": 3, ".txt": 1}
    assert "4 other files left out (.heic: 3, .txt: 1)" in repr(report)


def test_only_the_most_common_endings_are_named() -> None:
    left_out = {f".{number}": number for number in range(1, 12)}
    text = AddReport((), 0, (), left_out=left_out).summary()
    assert text.endswith("66 other files left out (.11: 11, .10: 10, .9: 9, .8: 8, .7: 7, .6: 6, .5: 5, .4: 4, ...)")
    assert AddReport((), 0, (), left_out={".a": 1}).summary().endswith("\n1 other file left out (.a: 1)")
    assert "left out" not in AddReport((), 0, ()).summary()
