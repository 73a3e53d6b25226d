"""What a step sees: batches of distinct products, prepared ahead, as early maps."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from mlrm import MLRM
from mlrm.datasets import read_pairs, split_validation
from mlrm.errors import DatasetError
from mlrm.training_pairs import EARLY_CHUNK, AugmentedImages, CachedEarlyMaps, Draw, TrainingPairs, prefetched
from mlrm.transforms import PairAugment
from tests.mlrm.training.runs import CONFIG, SIDE, draw_pairs, drawn_pairs


def test_a_batch_has_distinct_products_and_each_sketch_its_own_photo(data: Path) -> None:
    pairs = drawn_pairs(data)
    owner = {n: stem for stem, i in pairs.categories["boxes"].items() for n in (*i.photos, *i.sketches)}
    batches, flips = pairs.batches(4, np.random.default_rng(0)), set()
    for _ in range(20):
        sketches, photos = next(batches)
        stems = [owner[draw.image] for draw in sketches]
        assert stems == [owner[draw.image] for draw in photos]
        assert len(set(stems)) == 4
        assert {pairs.domains[draw.image] for draw in sketches} == {"sketch"}
        assert {pairs.domains[draw.image] for draw in photos} == {"photo"}
        assert [draw.flipped for draw in sketches] == [draw.flipped for draw in photos]
        flips |= {draw.flipped for draw in photos}
    assert flips == {False, True}


def test_a_smaller_part_of_the_products_is_part_of_a_larger_one_and_images_keep_their_numbers(data: Path) -> None:
    pairs = drawn_pairs(data)
    whole = pairs.categories["boxes"]
    quarter, half, other = pairs.part(1 / 4, 0), pairs.part(1 / 2, 0), pairs.part(1 / 2, 1)
    assert [len(part.categories["boxes"]) for part in (quarter, half)] == [len(whole) // 4, len(whole) // 2]
    assert quarter.categories["boxes"].items() < half.categories["boxes"].items() < whole.items()
    assert half.categories["boxes"] != other.categories["boxes"]
    assert half.images is pairs.images
    assert half.files == pairs.files
    assert pairs.part(1.0, 0).categories == pairs.categories
    assert list(pairs.part(1.0, 0).categories["boxes"]) == list(whole)


def test_a_batch_stays_within_a_category(data: Path, tmp_path: Path) -> None:
    pairs = drawn_pairs(data)
    pairs.add(read_pairs(draw_pairs(tmp_path, ["x", "y", "z"]), "train"), "others")
    members = [
        {n for i in identities.values() for n in (*i.photos, *i.sketches)} for identities in pairs.categories.values()
    ]
    batches, seen = pairs.batches(3, np.random.default_rng(0)), set()
    for _ in range(30):
        sketches, photos = next(batches)
        images = {draw.image for draw in sketches + photos}
        category = [images <= member for member in members]
        assert sum(category) == 1
        seen.add(category.index(True))
    assert seen == {0, 1}


def test_products_are_drawn_as_often_as_they_weigh(data: Path, tmp_path: Path) -> None:
    pairs = drawn_pairs(data)
    real = {n for identity in pairs.categories["boxes"].values() for n in identity.photos}
    pairs.add(read_pairs(draw_pairs(tmp_path, ["x", "y", "z"]), "train"), "boxes", weight=0.1)
    assert [identity.weight for identity in pairs.categories["boxes"].values()] == [1.0] * len(real) + [0.1] * 3
    batches = pairs.batches(1, np.random.default_rng(0))
    drawn = [next(batches)[1][0].image for _ in range(400)]
    light = sum(image not in real for image in drawn) / len(drawn)
    assert light == pytest.approx(0.3 / (len(real) + 0.3), abs=0.03)
    assert light > 0


def test_an_epoch_shows_every_product_about_once(data: Path) -> None:
    pairs = drawn_pairs(data)
    assert [pairs.steps_per_epoch(batch) for batch in (2, 4, 8, 100)] == [4, 2, 1, 1]


def test_a_category_of_one_product_is_refused(tmp_path: Path) -> None:
    pairs = TrainingPairs(64)
    pairs.add(read_pairs(draw_pairs(tmp_path, ["a"]), "train"), "boxes")
    with pytest.raises(DatasetError, match="boxes has 1 products with a sketch to train on; need 2 or more"):
        pairs.steps_per_epoch(4)


def test_more_views_of_a_product_join_it(data: Path, tmp_path: Path) -> None:
    pairs = drawn_pairs(data)
    pairs.add(read_pairs(draw_pairs(tmp_path, ["a", "new"], sketches=2), "train"), "boxes")
    products = pairs.categories["boxes"]
    assert list(products) == [*"abcdefgh", "new"]
    assert (len(products["a"].photos), len(products["a"].sketches)) == (2, 3)
    assert (len(products["b"].photos), len(products["b"].sketches)) == (1, 1)


def test_photos_of_one_name_in_different_folders_are_different_products(tmp_path: Path) -> None:
    """Pairing tells them apart, and so must training: a merged product would be its own negative."""
    for folder, stems in (("x", "ab"), ("y", "ab")):
        drawn = draw_pairs(tmp_path / folder, list(stems))
        for kind in ("photos", "sketches"):
            (tmp_path / "shop" / kind).mkdir(parents=True, exist_ok=True)
            (drawn / kind).rename(tmp_path / "shop" / kind / folder)
    products = drawn_pairs(tmp_path / "shop").categories["boxes"]
    assert list(products) == ["x/a", "x/b", "y/a", "y/b"]
    assert {(len(product.photos), len(product.sketches)) for product in products.values()} == {(1, 1)}


def test_a_data_set_with_a_corrupt_image_is_not_added(tmp_path: Path) -> None:
    folder = draw_pairs(tmp_path, ["a", "b"])
    (folder / "photos" / "b.png").write_bytes(b"no image")
    pairs = TrainingPairs(64)
    [error] = pairs.add(read_pairs(folder, "train"), "boxes")
    assert error.source == str(folder / "photos" / "b.png")
    assert (pairs.images, pairs.categories, pairs.files) == ([], {}, {})


@pytest.mark.parametrize("count", [0, 1, 3])
def test_prefetching_takes_what_is_asked_for_in_order_and_no_more(count: int) -> None:
    items = iter(range(5))
    assert list(prefetched(items, count)) == list(range(count))
    assert next(items) == count


def test_the_next_item_is_made_while_one_is_in_use() -> None:
    made = [threading.Event() for _ in range(2)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    taken = prefetched(items(), 2)
    next(taken)
    assert made[1].wait(5)
    assert next(taken) == 1


def test_an_error_in_prefetching_reaches_the_one_who_asked() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise DatasetError("cut")

    taken = prefetched(items(), 2)
    assert next(taken) == 0
    with pytest.raises(DatasetError, match="cut"):
        next(taken)


def test_cached_maps_are_those_of_the_augmented_images(data: Path) -> None:
    torch.manual_seed(0)
    model, pairs = MLRM(CONFIG).eval(), TrainingPairs(SIDE)
    pairs.add(split_validation(read_pairs(data, "train"), 6, seed=0)[0], "boxes")
    cached = CachedEarlyMaps(pairs, model, 4, 0, torch.device("cpu"), lambda done, total: None)
    augment, rng = PairAugment(SIDE), np.random.default_rng([0, 1])
    network = model.network()
    for number in range(2):
        draws = [Draw(number, variant % 2 == 1) for variant in range(4)]
        images = torch.stack([pairs.vary(draw, augment, rng) for draw in draws])
        with torch.no_grad():
            expected = network.trunk.early(network.normalise(images))[1]
        error = (cached.level1[number].float() - expected).abs()
        assert (error <= 2**-8 * expected.abs() + 1e-4).all()
    for flipped in (False, True):
        draws = [Draw(1, flipped)] * 8
        maps = cached.early(cached.prepare(draws, np.random.default_rng(0)), "photo")[1]
        variants = cached.level1[1, int(flipped) :: 2]
        chosen = {next(v for v in range(2) if torch.equal(map_, variants[v])) for map_ in maps}
        assert chosen == {0, 1}


def test_frozen_early_stages_give_the_same_maps_in_chunks(data: Path) -> None:
    torch.manual_seed(0)
    model = MLRM(CONFIG).eval()
    images = torch.randint(0, 256, (EARLY_CHUNK + 1, 3, SIDE, SIDE), dtype=torch.uint8)
    sources = [AugmentedImages(drawn_pairs(data), model, frozen, torch.device("cpu")) for frozen in (True, False)]
    chunked, whole = (source.early(images, "photo") for source in sources)
    for one, other in zip(chunked, whole, strict=True):
        assert (one.requires_grad, other.requires_grad) == (False, True)
        torch.testing.assert_close(one, other)


def test_augmented_images_do_not_depend_on_the_number_of_threads(data: Path) -> None:
    model, pairs = MLRM(CONFIG).eval(), drawn_pairs(data)
    draws = [Draw(number, number % 2 == 1) for number in range(8)]
    batches = []
    for threads in (1, 3):
        source = AugmentedImages(pairs, model, True, torch.device("cpu"))
        source.workers = ThreadPoolExecutor(threads)
        rng = np.random.default_rng(0)
        batches.append([source.prepare(draws, rng), source.prepare(draws, rng)])
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(*batches[0])
