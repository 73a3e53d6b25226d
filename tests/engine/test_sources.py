"""What `add` takes: which photos are in it, under which ids, and decoded how."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.errors import ImageError, InvalidPhotoError, NoImagesError
from engine.sources import PREVIEW_SIDE, Photo, Source, decode, expand, file_stamp

RED = Image.new("RGB", (32, 16), "red")


def sources_of(photos: object, ids: list[str] | None = None) -> list[Source]:
    return expand(photos, ids).sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos, one of them in a folder below, and a file that is none."""
    (tmp_path / "b").mkdir()
    RED.save(tmp_path / "b" / "first.png")
    RED.save(tmp_path / "second.png")
    (tmp_path / "notes.txt").write_text("no photo")
    return tmp_path


def test_a_folder_gives_its_photos_by_relative_path(folder: Path) -> None:
    assert [(source.id, source.path) for source in sources_of(folder)] == [
        ("b/first.png", str(folder / "b" / "first.png")),
        ("second.png", str(folder / "second.png")),
    ]


def test_a_file_gives_its_name(folder: Path) -> None:
    [source] = sources_of(str(folder / "b" / "first.png"))
    assert (source.id, source.path) == ("first.png", str(folder / "b" / "first.png"))


def test_what_is_named_is_taken_whatever_its_ending(folder: Path) -> None:
    """So that the report says why it can't be an image, where leaving it out would say nothing."""
    [source] = sources_of(folder / "notes.txt")
    assert source.id == "notes.txt"


def test_one_folder_is_one_place_however_it_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sources_of(folder)
    (folder / "linked").symlink_to(folder / "b", target_is_directory=True)
    monkeypatch.chdir(folder / "b")
    assert sources_of("..") == whole
    assert sources_of("../b/../") == whole
    assert [source.path for source in sources_of(folder / "linked")] == [whole[0].path]
    assert sources_of("first.png")[0].path == whole[0].path


def test_a_linked_file_keeps_its_own_name(folder: Path) -> None:
    (folder / "link.png").symlink_to(folder / "second.png")
    [source] = sources_of(folder / "link.png")
    assert (source.id, source.path) == ("link.png", str(folder / "link.png"))


def test_a_list_may_mix_everything(folder: Path) -> None:
    array = np.zeros((16, 16, 3), np.uint8)
    sources = sources_of([folder, RED, array, b"bytes", folder / "second.png"])
    assert [source.id for source in sources] == ["b/first.png", "second.png", None, None, None]
    assert [source.path is None for source in sources] == [False, False, True, True, True]


def test_a_file_that_is_named_twice_is_one_photo_unless_ids_are_given(folder: Path) -> None:
    twice = [folder / "b", folder, folder / "second.png"]
    assert [source.id for source in sources_of(twice)] == ["first.png", "second.png"]
    assert [source.id for source in sources_of([RED, RED])] == [None, None]
    assert [source.id for source in sources_of(twice, ["a", "b", "c", "d"])] == ["a", "b", "c", "d"]


def test_files_that_do_not_end_like_images_are_counted_by_ending(folder: Path) -> None:
    for name in ("1.heic", "b/2.HEIC", "b/3.avif", "Makefile", ".hidden.txt"):
        (folder / name).touch()
    (folder / ".git").mkdir()
    (folder / ".git" / "config").touch()
    assert expand(folder, None).left_out == {".heic": 2, ".avif": 1, ".txt": 1, "no ending": 1}
    assert expand([folder / "b", folder / "notes.txt"], None).left_out == {".heic": 1, ".avif": 1}


def test_a_folder_of_other_pictures_says_what_was_found(tmp_path: Path) -> None:
    for name in ("1.heic", "2.heic", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(
        NoImagesError, match=r"\(3 other files left out \(\.heic: 2, \.txt: 1\)\); give another folder, or"
    ):
        expand(tmp_path, None)


def test_a_stamp_changes_with_size_and_time(folder: Path) -> None:
    path = folder / "notes.txt"
    stamps = [file_stamp(path)]
    os.utime(path, ns=(0, 5))
    stamps.append(file_stamp(path))
    path.write_text("more than that")
    os.utime(path, ns=(0, 5))
    stamps.append(file_stamp(path))
    assert None not in stamps
    assert len(set(stamps)) == 3
    assert file_stamp(folder / "nowhere") is file_stamp("nul\0") is None


def test_a_generator_is_a_list(folder: Path) -> None:
    assert sources_of(path for path in [folder]) == sources_of([folder])


def test_given_ids_replace_the_photos_own(folder: Path) -> None:
    sources = sources_of([folder, RED], ["x", "y", "z"])
    assert [source.id for source in sources] == ["x", "y", "z"]
    assert sources[0].path == str(folder / "b" / "first.png")


def test_another_number_of_ids_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidPhotoError, match=r"1 ids were given for 2 photos; expected one id for each"):
        expand(folder, ["x"])


@pytest.mark.parametrize("bad", [3, None, ["x"]])
def test_an_id_that_is_no_string_is_refused(bad: object) -> None:
    with pytest.raises(InvalidPhotoError, match=r"found the id .*; expected strings"):
        expand([RED, RED], ["x", bad])


@pytest.mark.parametrize("thing", [5, None, [5], [None], [[RED]]])
def test_what_is_no_photo_is_refused(thing: object) -> None:
    with pytest.raises(
        InvalidPhotoError, match=r"can't add a (int|NoneType|list); expected a folder, a file, a PIL image"
    ):
        sources_of(thing)


@pytest.mark.parametrize("name", ["nowhere", "nowhere/photo.png", "nul\0.png"])
def test_a_path_that_is_not_there_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match=r"check the path") as caught:
        sources_of(tmp_path / name)
    assert caught.value.source == str(tmp_path / name)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(NoImagesError, match=r"no images in .*: found no file that ends like one .*give another folder"):
        sources_of(tmp_path)


# -- decoding


def photos_of(*things: object, ids: list[str] | None = None, size: int = 32) -> list[Photo | ImageError]:
    return [photo for _, photo in decode(sources_of(list(things), ids), size, ahead=4, workers=2)]


def test_decoded_in_order_whatever_is_ready_first() -> None:
    """Large images take longer than small ones, yet the order stays."""
    images = [Image.new("RGB", (side, side), (side % 256, 0, 0)) for side in (900, 16, 700, 17, 18, 500)]
    photos = photos_of(*images)
    assert [photo.image.getpixel((0, 0))[0] for photo in photos] == [side % 256 for side in (900, 16, 700, 17, 18, 500)]


def test_decoding_stays_only_a_little_ahead() -> None:
    """A million photos must not wait in memory."""
    taken = []
    sources = (taken.append(number) or sources_of(RED)[0] for number in range(100))
    decoding = decode(sources, 32, ahead=4, workers=2)
    next(decoding)
    assert len(taken) == 4
    decoding.close()


def test_photos_have_the_models_size() -> None:
    [photo] = photos_of(RED, size=48)
    assert photo.image.size == (48, 48)


def test_an_error_comes_in_its_place(folder: Path) -> None:
    first, second, third = photos_of(RED, folder / "notes.txt", RED)
    assert isinstance(first, Photo)
    assert isinstance(third, Photo)
    assert isinstance(second, ImageError)
    assert second.source == str(folder / "notes.txt")


def test_an_id_made_of_the_content_is_that_of_equal_pixels(folder: Path) -> None:
    """The same picture from memory, as an array and as the bytes of a file."""
    photos = photos_of(RED, np.asarray(RED), (folder / "second.png").read_bytes(), Image.new("RGB", (32, 16), "blue"))
    ids = [photo.id for photo in photos]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert ids[0].startswith("image-")
    assert len({photo.content_hash for photo in photos}) == 2


def test_the_content_hash_is_of_the_pixels_before_resizing() -> None:
    small, large = photos_of(Image.new("RGB", (16, 16), "red"), Image.new("RGB", (64, 64), "red"))
    assert small.image.tobytes() == large.image.tobytes()
    assert small.content_hash != large.content_hash


def test_only_photos_without_a_file_get_a_preview(folder: Path) -> None:
    from_file, from_memory = photos_of(folder / "second.png", Image.new("RGB", (1000, 500)))
    assert from_file.preview is None
    assert max(Image.open(io.BytesIO(from_memory.preview)).size) == PREVIEW_SIDE


@pytest.mark.skipif(os.name == "nt", reason="names of files are Unicode there")
def test_a_name_that_is_no_unicode_is_reported_in_letters_one_can_print(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path / "caf") + b"\xe9.png"
    try:
        RED.save(os.fsdecode(name))
    except OSError as error:
        pytest.skip(f"this file system takes Unicode names only: {error}")
    [(source, error)] = decode(sources_of(tmp_path), 32, 4, 2)
    assert isinstance(error, ImageError)
    assert str(source).encode() == str(error).split(":")[0].encode()
    assert "not valid Unicode; rename the file" in error.reason
