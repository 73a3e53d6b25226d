"""Which pairs `mlrm.evaluate` reads: the validation part is the one that training set aside."""

from pathlib import Path

import pytest

from mlrm.datasets import read_pairs
from mlrm.errors import ConfigError, DatasetError
from mlrm.evaluated_pairs import read_evaluated
from mlrm.procedural import write_pairs
from mlrm.training_data import read_training


@pytest.fixture(scope="module")
def shoes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "shoes"
    write_pairs(folder, 12, seed=3)
    return folder


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "views"
    write_pairs(folder, 12, seed=3, sketches_per_photo=2)
    return folder


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("validation", [None, [5]])
def test_the_validation_part_is_what_training_holds_out(shoes: Path, seed: int, validation: list[int] | None) -> None:
    _, held_out = read_training([shoes], [], validation, 64, seed, lambda *_: None)
    [evaluated] = read_evaluated([shoes], "validation", validation, seed, [])
    assert evaluated == held_out["shoes"]
    assert len(evaluated.photos) == (validation or [2])[0]


def test_another_seed_sets_other_photos_aside(shoes: Path) -> None:
    parts = [read_evaluated([shoes], "validation", [5], seed, [])[0].keys for seed in (0, 7)]
    assert parts[0] != parts[1]


def test_further_views_are_of_the_products_set_aside(shoes: Path, views: Path) -> None:
    own, more = read_evaluated([shoes], "validation", [5], 0, [f"shoes={views}"])
    assert more.name == "views"
    assert sorted(more.keys) == sorted(own.keys)
    assert (len(more.photos), len(more.sketches)) == (5, 10)


def test_views_of_no_product_set_aside_are_named(shoes: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path / "others", 1, seed=0)
    [photo] = (tmp_path / "others" / "photos").iterdir()
    photo.rename(photo.with_stem("another"))
    [sketch] = (tmp_path / "others" / "sketches").iterdir()
    sketch.rename(sketch.with_stem("another_0"))
    with pytest.raises(DatasetError, match=r"none of its 1 photos is called like one of the 5 that shoes sets aside"):
        read_evaluated([shoes], "validation", [5], 0, [f"shoes={tmp_path / 'others'}"])


def test_other_splits_are_read_as_they_are(shoes: Path) -> None:
    assert read_evaluated([shoes], "train", None, 0, []) == [read_pairs(shoes, "train")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("all", None, []), "split is 'all'; expected train, test, validation"),
        (("test", [5], []), "--validation and --more-sketches are of --split validation; split is test"),
        (("train", None, ["shoes=x"]), "--validation and --more-sketches are of --split validation; split is train"),
        (("validation", [5, 5], []), "--validation was given 2 times; expected once for each of 1 --data"),
        (("validation", [5], ["shoes"]), "--more-sketches is 'shoes'; expected NAME=FOLDER"),
        (("validation", [5], ["boots=x"]), "--more-sketches boots=x: no --data folder is called 'boots'"),
        (("validation", [12], []), "choose 1 to 11"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    shoes: Path, options: tuple[str, list[int] | None, list[str]], message: str
) -> None:
    split, validation, more = options
    with pytest.raises(ConfigError) as refused:
        read_evaluated([shoes], split, validation, 0, more)
    assert message in str(refused.value)


def test_two_folders_of_one_name_are_refused(shoes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="several --data folders are called shoes"):
        read_evaluated([shoes, tmp_path / "shoes"], "test", None, 0, [])
