"""The pairs that parity is measured on: a data set's test split, spread over the whole, or drawn ones."""

import re
from pathlib import Path

import pytest
import torch

from export.images import load_pairs, pairs_name
from mlrm.datasets import read_pairs
from mlrm.errors import DatasetError
from mlrm.images import load_image
from mlrm.procedural import write_pairs
from mlrm.transforms import image_to_tensor
from tests.export.conftest import no_progress

SIZE = 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pairs of two sketches each, as a test split."""
    write_pairs(tmp_path / "shoes" / "test", 5, seed=0, sketches_per_photo=2)
    return tmp_path / "shoes"


def test_a_data_sets_pairs_belong_together(folder: Path) -> None:
    pairs = load_pairs(folder, "test", SIZE, 9, no_progress)
    dataset = read_pairs(folder, "test")
    assert pairs.name == pairs_name(folder, "test", 9)
    assert re.fullmatch(r"5 pairs of shoes \(test, [0-9a-f]{12}\)", pairs.name)
    assert (len(pairs.sketches), len(pairs.photos), pairs.photo_of) == (5, 5, [0, 1, 2, 3, 4])
    for number, photo in enumerate(dataset.photos):
        first = dataset.sketches[dataset.photo_of.index(number)]
        assert torch.equal(pairs.photos[number], image_to_tensor(load_image(photo), SIZE))
        assert torch.equal(pairs.sketches[number], image_to_tensor(load_image(first), SIZE))


def test_fewer_pairs_are_spread_over_the_data_set(folder: Path) -> None:
    whole, two = (load_pairs(folder, "test", SIZE, count, no_progress) for count in (5, 2))
    assert torch.equal(two.photos, whole.photos[[0, 2]])


def test_other_images_have_another_name(folder: Path, tmp_path: Path) -> None:
    first = pairs_name(folder, "test", 5)
    assert first != pairs_name(folder, "test", 4)
    write_pairs(tmp_path / "another" / "shoes" / "test", 5, seed=1, sketches_per_photo=2)
    assert first != pairs_name(tmp_path / "another" / "shoes", "test", 5)
    photo = read_pairs(folder, "test").photos[3]
    photo.write_bytes(photo.read_bytes() + b" ")
    assert first != pairs_name(folder, "test", 5)


def test_a_data_set_without_the_split_is_refused(folder: Path) -> None:
    with pytest.raises(DatasetError, match="train"):
        load_pairs(folder, "train", SIZE, 5, no_progress)


def test_drawn_pairs_are_the_same_every_time() -> None:
    one, again = (load_pairs(None, "test", SIZE, 3, no_progress) for _ in range(2))
    assert torch.equal(one.sketches, again.sketches)
    assert torch.equal(one.photos, again.photos)
    assert one.name == "3 drawn pairs (test)"
