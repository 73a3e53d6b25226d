from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlrm.datasets import PairDataset, check, read_pairs, split_validation
from mlrm.errors import ConfigError, DatasetError, ImageDecodeError


def touch(root: Path, *names: str) -> None:
    """Make empty files: reading pairs goes by names alone."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def pairs_of(dataset: PairDataset) -> dict[str, str]:
    owners = (dataset.photos[index] for index in dataset.photo_of)
    return {sketch.stem: photo.stem for sketch, photo in zip(dataset.sketches, owners, strict=True)}


def names(paths: Iterable[Path]) -> list[str]:
    return [path.name for path in paths]


def qmul_v1(root: Path) -> Path:
    for stem in ("1", "2", "10"):
        touch(root, f"train/sketches/{stem}.png", f"train/images/{stem}.jpg")
    touch(root, "test/sketches/3.png", "test/images/3.jpg")
    return root


def qmul_v2(root: Path) -> Path:
    for photo in ("a_v1", "b", "c.d"):
        touch(root, f"ShoeV2_photo/{photo}.png", f"ShoeV2_sketch/{photo}_1.png", f"ShoeV2_sketch/{photo}_2.png")
    (root / "photo_train.txt").write_text("a_v1.png\nc.d.png\n\n")
    (root / "sketch_train.txt").write_text("a_v1_1.png\na_v1_2.png\r\nc.d_1.png\n")
    (root / "photo_test.txt").write_text("b.png\n")
    (root / "sketch_test.txt").write_text("b_1.png\nb_2.png\n")
    return root


def sketchy(root: Path, version: str = "tx_000000000000_ready") -> Path:
    for name, count in (("cat", 21), ("sea cat", 5)):
        for i in range(count):
            stem = f"{version}/{name}/n{i:02}_{i}"
            touch(root, f"photo/{stem}.jpg", f"sketch/{stem}-1.png", f"sketch/{stem}-12.png")
    return root


# Layouts


def test_qmul_v1(tmp_path: Path):
    train, test = (read_pairs(qmul_v1(tmp_path), split) for split in ("train", "test"))
    assert (train.layout, train.split, train.name) == ("qmul_v1", "train", tmp_path.name)
    assert pairs_of(train) == {"1": "1", "2": "2", "10": "10"}
    assert pairs_of(test) == {"3": "3"}


def test_qmul_v2_goes_by_its_lists(tmp_path: Path):
    train, test = (read_pairs(qmul_v2(tmp_path), split) for split in ("train", "test"))
    assert train.layout == "qmul_v2"
    assert pairs_of(train) == {"a_v1_1": "a_v1", "a_v1_2": "a_v1", "c.d_1": "c.d"}
    assert pairs_of(test) == {"b_1": "b", "b_2": "b"}


def test_qmul_v2_names_what_its_lists_promise_and_the_folder_lacks(tmp_path: Path):
    qmul_v2(tmp_path)
    (tmp_path / "ShoeV2_photo/b.png").rename(tmp_path / "ShoeV2_photo/b.jpg")
    (tmp_path / "ShoeV2_sketch/b_2.png").unlink()
    test = read_pairs(tmp_path, "test")
    assert names(test.photos) == ["b.jpg"]  # another format isn't missing
    assert test.missing == [tmp_path / "ShoeV2_sketch/b_2.png"]


def test_qmul_v2_without_a_list_is_an_error(tmp_path: Path):
    qmul_v2(tmp_path)
    (tmp_path / "sketch_test.txt").unlink()
    with pytest.raises(DatasetError, match=r"sketch_test\.txt can't be read"):
        read_pairs(tmp_path, "test")


@pytest.mark.parametrize("version", ["tx_000000000000_ready", "tx_000000000000"])
def test_sketchy_holds_out_every_tenth_photo_of_a_class(tmp_path: Path, version: str):
    train, test = (read_pairs(sketchy(tmp_path, version), split) for split in ("train", "test"))
    assert [f"{photo.parent.name}/{photo.stem}" for photo in test.photos] == [
        "cat/n00_0",
        "cat/n10_10",
        "cat/n20_20",
        "sea cat/n00_0",
    ]
    assert (len(train.photos), len(train.sketches), len(test.sketches)) == (22, 44, 8)
    assert not set(train.photos) & set(test.photos)
    assert not train.unpaired_sketches + test.unpaired_sketches
    for dataset in (train, test):
        for sketch, index in zip(dataset.sketches, dataset.photo_of, strict=True):
            assert sketch.parent.name == dataset.photos[index].parent.name
            assert sketch.stem.rpartition("-")[0] == dataset.photos[index].stem


@pytest.mark.parametrize("photos", ["photos", "images"])
def test_plain_folder(tmp_path: Path, photos: str):
    touch(tmp_path, *(f"{photos}/{stem}.jpg" for stem in ("a", "b_1", "b", "c")))
    touch(tmp_path, *(f"sketches/{stem}.png" for stem in ("a", "b_1", "b_2", "c-7", "c_10")))
    dataset = read_pairs(tmp_path, "train")
    assert dataset.layout == "folder"
    assert pairs_of(dataset) == {"a": "a", "b_1": "b_1", "b_2": "b", "c-7": "c", "c_10": "c"}


def test_undivided_plain_folder_has_no_test_split(tmp_path: Path):
    touch(tmp_path, "photos/a.jpg", "sketches/a.png")
    with pytest.raises(DatasetError, match="no test split"):
        read_pairs(tmp_path, "test")


def test_divided_plain_folder(tmp_path: Path):
    touch(tmp_path, "train/photos/a.jpg", "train/sketches/a.png", "test/photos/b.jpg", "test/sketches/b_1.png")
    assert pairs_of(read_pairs(tmp_path, "train")) == {"a": "a"}
    assert pairs_of(read_pairs(tmp_path, "test")) == {"b_1": "b"}


def test_sub_folders_pair_within_themselves(tmp_path: Path):
    touch(tmp_path, "photos/x/1.jpg", "photos/y/1.jpg", "sketches/x/1.png", "sketches/y/1.png")
    dataset = read_pairs(tmp_path, "train")
    assert [dataset.photos[i].parent.name for i in dataset.photo_of] == ["x", "y"]
    assert dataset.keys == ["x/1", "y/1"]


def test_every_layout_says_by_which_key_it_pairs(tmp_path: Path):
    assert read_pairs(qmul_v1(tmp_path / "1"), "train").keys == ["1", "10", "2"]
    assert read_pairs(qmul_v2(tmp_path / "2"), "train").keys == ["a_v1", "c.d"]
    assert read_pairs(sketchy(tmp_path / "3"), "test").keys == [
        "cat/n00_0",
        "cat/n10_10",
        "cat/n20_20",
        "sea cat/n00_0",
    ]


def test_hidden_files_are_not_data(tmp_path: Path):
    touch(qmul_v1(tmp_path), "train/sketches/._1.png", "train/images/.DS_Store", "train/images/Thumbs.db")
    dataset = read_pairs(tmp_path, "train")
    assert (len(dataset.sketches), len(dataset.unpaired_sketches), len(dataset.photos)) == (3, 0, 3)


# What has no partner


def test_unpaired_files_are_named_and_photos_stay_in_the_gallery(tmp_path: Path):
    touch(qmul_v1(tmp_path), "test/sketches/lost.png", "test/images/alone.jpg")
    test = read_pairs(tmp_path, "test")
    assert names(test.unpaired_sketches) == ["lost.png"]
    assert names(test.unpaired_photos) == ["alone.jpg"]
    assert names(test.photos) == ["3.jpg", "alone.jpg"]
    assert names(test.sketches) == ["3.png"]


def test_summary_counts_everything_and_names_the_first(tmp_path: Path):
    touch(qmul_v1(tmp_path), "test/sketches/lost.png", *(f"test/images/x{i}.jpg" for i in range(7)))
    assert read_pairs(tmp_path, "train").summary() == (
        f"{tmp_path.name} (qmul_v1, train): 3 sketches of 3 photos, 3 photos in all; "
        "unpaired: 0 sketches, 0 photos; missing: 0 files"
    )
    counts, *names = read_pairs(tmp_path, "test").summary().splitlines()
    assert counts == (
        f"{tmp_path.name} (qmul_v1, test): 1 sketches of 1 photos, 8 photos in all; "
        "unpaired: 1 sketches, 7 photos; missing: 0 files"
    )
    assert names == [
        "  unpaired sketches: test/sketches/lost.png",
        f"  unpaired photos: {', '.join(f'test/images/x{i}.jpg' for i in range(5))}, ...",
    ]


def test_summary_names_missing_files(tmp_path: Path):
    (qmul_v2(tmp_path) / "ShoeV2_sketch/b_2.png").unlink()
    assert read_pairs(tmp_path, "test").summary().endswith("missing: 1 files\n  missing: ShoeV2_sketch/b_2.png")


def test_sketchy_names_sketches_of_no_photo(tmp_path: Path):
    touch(sketchy(tmp_path), "sketch/tx_000000000000_ready/cat/n99_9-1.png")
    for split in ("train", "test"):
        assert names(read_pairs(tmp_path, split).unpaired_sketches) == ["n99_9-1.png"]


def test_no_pair_at_all_is_an_error_that_shows_names(tmp_path: Path):
    touch(tmp_path, "photos/a.jpg", "sketches/b.png")
    with pytest.raises(DatasetError, match=r"b\.png.*a\.jpg.*name each sketch"):
        read_pairs(tmp_path, "train")


def test_two_photos_of_one_name_are_an_error(tmp_path: Path):
    touch(tmp_path, "photos/a.jpg", "photos/a.png", "sketches/a.png")
    with pytest.raises(DatasetError, match="two images share a name"):
        read_pairs(tmp_path, "train")


# What is no data set


def test_unknown_layout_says_what_was_found_and_what_is_known(tmp_path: Path):
    touch(tmp_path, "pics/a.jpg", "readme.txt")
    with pytest.raises(DatasetError, match=r"found pics/, readme\.txt; expected qmul_v1.*qmul_v2.*sketchy.*folder"):
        read_pairs(tmp_path, "train")


def test_an_empty_folder_is_called_empty(tmp_path: Path):
    with pytest.raises(DatasetError, match="found nothing"):
        read_pairs(tmp_path, "train")


def test_missing_split_is_an_error(tmp_path: Path):
    touch(tmp_path, "train/images/a.jpg", "train/sketches/a.png")
    with pytest.raises(DatasetError, match="no test pairs"):
        read_pairs(tmp_path, "test")


def test_missing_folder_is_an_error(tmp_path: Path):
    with pytest.raises(DatasetError, match="isn't a folder"):
        read_pairs(tmp_path / "none", "train")


def test_a_layout_that_is_asked_for_is_the_only_one_tried(tmp_path: Path):
    qmul_v1(tmp_path)
    assert read_pairs(tmp_path, "train", layout="qmul_v1").layout == "qmul_v1"
    with pytest.raises(DatasetError, match="expected sketchy: "):
        read_pairs(tmp_path, "train", layout="sketchy")


@pytest.mark.parametrize("wrong", [{"split": "val"}, {"split": "train", "layout": "coco"}])
def test_unknown_names_are_config_errors(tmp_path: Path, wrong: dict[str, str]):
    with pytest.raises(ConfigError, match="expected"):
        read_pairs(qmul_v1(tmp_path), **wrong)


def test_corrupt_files_are_named(tmp_path: Path):
    qmul_v1(tmp_path)
    for path in tmp_path.rglob("*.*g"):
        Image.new("RGB", (16, 16)).save(path)
    bad = tmp_path / "train/sketches/2.png"
    bad.write_bytes(bad.read_bytes()[:40])
    steps: list[tuple[int, int]] = []
    errors = check(read_pairs(tmp_path, "train"), lambda done, total: steps.append((done, total)))
    assert [(type(error), error.source) for error in errors] == [(ImageDecodeError, str(bad))]
    assert steps == [(done, 6) for done in range(1, 7)]
    assert check(read_pairs(tmp_path, "test")) == []


# Validation


def many(root: Path, photos: int = 20) -> PairDataset:
    for i in range(photos):
        touch(root, f"photos/{i}.jpg", f"sketches/{i}_1.png", f"sketches/{i}_2.png")
    touch(root, "photos/alone.jpg", "sketches/lost.png")
    return read_pairs(root, "train")


def test_validation_takes_photos_with_all_their_sketches(tmp_path: Path):
    whole = many(tmp_path)
    train, validation = split_validation(whole, 5, seed=0)
    assert (train.split, validation.split) == ("train", "validation")
    assert (len(validation.photos), len(validation.sketches)) == (5, 10)
    assert not set(train.photos) & set(validation.photos)
    assert {**pairs_of(train), **pairs_of(validation)} == pairs_of(whole)
    assert names(train.unpaired_photos) == ["alone.jpg"]
    assert validation.unpaired_photos == []


def test_validation_depends_on_the_seed_and_not_on_the_order_of_files(tmp_path: Path):
    whole = many(tmp_path)
    order = np.random.default_rng(0).permutation(len(whole.photos))
    place = np.argsort(order)
    shuffled = replace(
        whole,
        photos=[whole.photos[i] for i in order],
        keys=[whole.keys[i] for i in order],
        photo_of=[int(place[i]) for i in whole.photo_of],
    )
    assert pairs_of(shuffled) == pairs_of(whole)

    def chosen(dataset: PairDataset, seed: int) -> set[Path]:
        return set(split_validation(dataset, 5, seed)[1].photos)

    assert chosen(shuffled, 0) == chosen(whole, 0)
    assert chosen(whole, 0) != chosen(whole, 1)


def test_validation_is_the_same_wherever_the_data_lies(tmp_path: Path):
    first, second = (split_validation(many(tmp_path / place), 5, 0)[1] for place in ("here", "there/too"))
    assert names(first.photos) == names(second.photos)


@pytest.mark.parametrize("photos", [0, -1, 20, 21])
def test_validation_leaves_something_to_train_on(tmp_path: Path, photos: int):
    with pytest.raises(ConfigError, match="choose 1 to 19"):
        split_validation(many(tmp_path), photos, seed=0)


def test_subset_keeps_pairs(tmp_path: Path):
    whole = many(tmp_path)
    part = whole.subset([7, 3], "train")
    assert part.photos == [whole.photos[3], whole.photos[7]]
    assert part.keys == [whole.keys[3], whole.keys[7]]
    assert pairs_of(part) == {k: v for k, v in pairs_of(whole).items() if v in {p.stem for p in part.photos}}
    assert len(part.sketches) == 4


# The real data, where it is


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "split", "pairs"),
    [
        ("qmul_v1/shoes", "train", 304),
        ("qmul_v1/shoes", "test", 115),
        ("qmul_v1/chairs", "train", 200),
        ("qmul_v1/chairs", "test", 97),
    ],
)
def test_qmul_v1_counts(data_root: Path, folder: str, split: str, pairs: int):
    dataset = read_pairs(data_root / folder, split)
    assert dataset.layout == "qmul_v1"
    assert (len(dataset.sketches), len(dataset.photos)) == (pairs, pairs)
    assert dataset.unpaired_sketches + dataset.unpaired_photos + dataset.missing == []


@pytest.mark.data
def test_extra_sketches_pair_with_their_photos(data_root: Path):
    dataset = read_pairs(data_root / "qmul_v1_shoes_more_sketches", "train")
    assert (dataset.layout, len(dataset.sketches), len(dataset.photos)) == ("folder", 903, 301)
    assert np.bincount(dataset.photo_of).tolist() == [3] * 301


@pytest.mark.data
def test_real_images_decode(data_root: Path):
    assert check(read_pairs(data_root / "qmul_v1/chairs", "test")) == []
