"""From folders to training pairs and what is held out; folders that do not fit together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import mlrm.training_pairs
from mlrm.errors import ConfigError, DatasetError, ImageError
from mlrm.training_data import read_training
from tests.mlrm.training.runs import draw_pairs, silent


def test_validation_products_never_appear_in_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the folder itself nor in the further sketches and photos of its products."""
    more = draw_pairs(tmp_path / "more", [*"abcdefgh", "stranger"], sketches=3)
    loaded: list[Path] = []
    original = mlrm.training_pairs.decode

    def recorded(paths: Sequence[Path], *arguments: Any) -> tuple[list[Any], list[ImageError]]:
        loaded.extend(paths)
        return original(paths, *arguments)

    monkeypatch.setattr(mlrm.training_pairs, "decode", recorded)
    pairs, held_out = read_training([data], [(data.name, more)], [3], 64, 0, silent)
    validation = {photo.stem for photo in held_out[data.name].photos}
    assert len(validation) == 3
    trained = set(pairs.categories[data.name])
    assert trained == set("abcdefgh") - validation
    assert {path.stem.partition("_")[0] for path in loaded} == trained
    assert {path for path in loaded if more in path.parents}
    assert all(len(product.sketches) == 4 for product in pairs.categories[data.name].values())


def test_further_views_go_by_the_path_that_pairs_them(tmp_path: Path) -> None:
    """Held out x/a stays unseen although y/a, of the same file name, is in training."""
    for root, sketches in (("shop", 1), ("more", 2)):
        for folder in "xy":
            drawn = draw_pairs(tmp_path / f"{root} {folder}", list("abc"), sketches)
            for kind in ("photos", "sketches"):
                (tmp_path / root / kind).mkdir(parents=True, exist_ok=True)
                (drawn / kind).rename(tmp_path / root / kind / folder)
    shop, more = tmp_path / "shop", tmp_path / "more"
    pairs, held_out = read_training([shop], [("shop", more)], [3], 64, 0, silent)
    unseen, trained = set(held_out["shop"].keys), pairs.categories["shop"]
    assert {key[-1] for key in unseen} & {key[-1] for key in trained}
    assert trained.keys() == {f"{folder}/{stem}" for folder in "xy" for stem in "abc"} - unseen
    assert {(len(product.photos), len(product.sketches)) for product in trained.values()} == {(2, 3)}


def test_further_views_of_no_training_product_are_refused(data: Path, tmp_path: Path) -> None:
    more = draw_pairs(tmp_path / "more", ["x", "y"])
    with pytest.raises(DatasetError, match=r"more: none of its 2 photos \(x, y, \.\.\.\) is called like one of the 7"):
        read_training([data], [(data.name, more)], [1], 64, 0, silent)


def test_a_fifth_is_set_aside_unless_told_otherwise(data: Path) -> None:
    for validation, count in ((None, 1), ([3], 3), ([0], 0)):
        pairs, held_out = read_training([data], [], validation, 64, 0, silent)
        assert len(pairs.categories[data.name]) == 8 - count
        assert [len(part.photos) for part in held_out.values()] == ([count] if count else [])


def test_corrupt_images_are_named_before_training(tmp_path: Path) -> None:
    folder = draw_pairs(tmp_path / "boxes", list("abcd"))
    (folder / "photos" / "b.png").write_bytes(b"no image")
    (folder / "sketches" / "c_1.png").write_bytes((folder / "sketches" / "c_1.png").read_bytes()[:60])
    with pytest.raises(DatasetError, match=r"(?s)2 files of boxes can't be used; repair or remove them.*b\.png.*c_1"):
        read_training([folder], [], None, 64, 0, silent)


def test_corrupt_further_sketches_are_named_too(data: Path, tmp_path: Path) -> None:
    more = draw_pairs(tmp_path / "more", ["a"])
    (more / "sketches" / "a_1.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"1 files of more can't be used(?s:.*)a_1\.png"):
        read_training([data], [(data.name, more)], [1], 64, 0, silent)


@pytest.mark.parametrize(
    ("more", "validation", "message"),
    [
        ([], [1, 1], "--validation was given 2 times; expected once for each of 1 --data"),
        (["other"], [1], "no --data folder is called 'other'"),
        ([], [8], "choose 1 to 7"),
    ],
)
def test_options_that_do_not_fit_the_data_are_refused(
    data: Path, more: list[str], validation: list[int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_training([data], [(name, data) for name in more], validation, 64, 0, silent)


def test_two_folders_of_one_name_are_refused(data: Path, tmp_path: Path) -> None:
    twin = draw_pairs(tmp_path / data.name, list("xyz"))
    with pytest.raises(ConfigError, match="two --data folders are called"):
        read_training([data, twin], [], None, 64, 0, silent)
