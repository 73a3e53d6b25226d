"""The checkpoint that comes with the package: what it is, and that it works."""

from pathlib import Path

import pytest
import torch

from mlrm import MLRM
from mlrm.checkpoint import SHIPPED, load_shipped
from mlrm.datasets import PairDataset, read_pairs
from mlrm.evaluate import evaluate
from mlrm.images import load_image
from mlrm.procedural import write_pairs
from mlrm.transforms import image_to_tensor

CARD = SHIPPED.with_name("MODEL_CARD.md")
LARGEST_BYTES = 12_000_000


@pytest.fixture(scope="module")
def model() -> MLRM:
    return load_shipped()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> PairDataset:
    folder = tmp_path_factory.mktemp("drawn")
    write_pairs(folder / "train", 42, seed=12345)
    return read_pairs(folder, "train")


def share_found_first(model: MLRM, dataset: PairDataset) -> float:
    return evaluate(model, dataset, torch.device("cpu"), lambda what, done, total: None).accuracy.acc1


def test_it_is_small_enough_to_ship() -> None:
    assert SHIPPED.stat().st_size <= LARGEST_BYTES


def test_its_card_is_of_these_weights(model: MLRM) -> None:
    assert model.fingerprint() in CARD.read_text()


def test_it_can_be_indexed(model: MLRM) -> None:
    model.config.require_image_features()


def test_its_regions_look_at_different_places(model: MLRM, drawn: PairDataset) -> None:
    images = torch.stack([image_to_tensor(load_image(path)) for path in drawn.photos[:8]])
    with torch.inference_mode():
        maps = model(images).maps.flatten(2)
    directions = torch.nn.functional.normalize(maps, dim=2)
    cosines = (directions @ directions.transpose(1, 2))[:, *torch.triu_indices(3, 3, 1)]
    assert cosines.mean() < 0.7


def test_it_finds_drawn_products(model: MLRM, drawn: PairDataset) -> None:
    """Chance is 1 in 42; products of the drawing program were not selected on."""
    assert share_found_first(model, drawn) >= 0.6


@pytest.mark.data
def test_it_finds_the_photos_it_was_trained_on(model: MLRM, data_root: Path) -> None:
    """A check of the weights file, not of accuracy: that was measured once on the test pairs, see the card.

    Chance is 1 in 60. Trained only briefly on real pairs, these weights know few by heart: 88 % are found first.
    """
    chairs = read_pairs(data_root / "qmul_v1" / "chairs", "train").subset(range(60), "train")
    assert share_found_first(model, chairs) >= 0.8
