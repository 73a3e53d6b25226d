"""A gallery that follows a folder is what indexing the folder anew would give."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import ImageError, NoImagesError
from engine.retriever import Retriever
from engine.sync import sync
from tests.engine.conftest import COUNT
from tests.engine.test_cli import run
from tests.engine.test_upsert import RED


def ids(retriever: Retriever) -> set[str]:
    assert retriever.gallery is not None
    return set(retriever.gallery.existing())


def test_the_gallery_follows_the_folder(empty: Retriever, photos: Path) -> None:
    first = sync(empty, photos)
    assert (len(first.photos.added), first.removed) == (COUNT, ())
    assert sync(empty, photos).photos.added == ()

    (photos / "photo-0.png").unlink()
    RED.save(photos / "photo-2.png")
    (photos / "photo-4.png").rename(photos / "renamed.png")
    shutil.rmtree(photos / "more")
    (photos / "more").touch()  # not even a folder any more
    RED.resize((50, 44)).save(photos / "new.png")
    report = sync(empty, photos)
    assert set(report.photos.added) == {"photo-2.png", "renamed.png", "new.png"}
    assert report.photos.replaced == 1
    gone = {"photo-0.png", "photo-4.png", "more/photo-1.png", "more/photo-3.png", "more/photo-5.png"}
    assert set(report.removed) == gone
    assert ids(empty) == {"photo-2.png", "renamed.png", "new.png"}
    assert "removed, because their files are gone: 5" in report.summary()
    fresh = Retriever(empty.encoder.name, photos.parent / "fresh", "cpu")
    fresh.add(photos)
    wanted = {match.id: pytest.approx(match.distance, rel=1e-4, abs=1e-6) for match in fresh.search(RED, 99)}
    assert {match.id: match.distance for match in empty.search(RED, 99)} == wanted


def test_photos_from_elsewhere_stay(empty: Retriever, photos: Path, tmp_path: Path) -> None:
    RED.save(tmp_path / "red.png")
    empty.add(tmp_path / "red.png")
    empty.add(RED, ids=["from memory"])
    (tmp_path / "red.png").unlink()
    assert sync(empty, photos).removed == ()
    assert {"red.png", "from memory"} <= ids(empty)


def test_a_folder_without_images_empties_no_gallery(empty: Retriever, photos: Path) -> None:
    sync(empty, photos)
    for path in photos.rglob("*.png"):
        path.unlink()
    with pytest.raises(NoImagesError):
        sync(empty, photos)
    shutil.rmtree(photos)
    with pytest.raises((NoImagesError, ImageError)):
        sync(empty, photos)
    assert len(empty) == COUNT


def test_a_file_that_is_damaged_now_keeps_its_photo(empty: Retriever, photos: Path) -> None:
    sync(empty, photos)
    (photos / "photo-0.png").write_bytes(b"half")
    report = sync(empty, photos)
    assert [Path(skip.source).name for skip in report.photos.skipped] == ["photo-0.png"]
    assert (report.removed, len(empty)) == ((), COUNT)


def test_near_duplicates_among_the_new_photos_are_reported_once(empty: Retriever, photos: Path) -> None:
    sync(empty, photos)
    with Image.open(photos / "photo-0.png") as image:
        image.convert("RGB").save(photos / "again.jpg", quality=95)
        image.save(photos / "same.bmp")
    report = sync(empty, photos)
    found = {frozenset((pair.id, pair.other)): pair for pair in report.near_duplicates}
    assert len(found) == len(report.near_duplicates)
    same = found[frozenset(("same.bmp", "photo-0.png"))]
    assert same.same
    assert any("again.jpg" in pair and not found[pair].same for pair in found)
    assert all(pair & {"again.jpg", "same.bmp"} for pair in found), "photos that were there before are not compared"
    assert f"  same.bmp: the same pixels as photo-0.png ({same.distance:.4f})" in report.summary()
    assert sync(empty, photos).near_duplicates == ()


def test_sync_from_the_command_line(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    options = ("--gallery", tmp_path / "g", "--model", checkpoint, "--device", "cpu")
    run("sync", photos, *options)
    (photos / "photo-0.png").unlink()
    text = run("sync", photos, *options).stderr
    assert f"0 added, {COUNT - 1} there already, 0 skipped\nremoved, because their files are gone: 1\n" in text
    assert f"{tmp_path / 'g'}: {COUNT - 1} photos" in text
