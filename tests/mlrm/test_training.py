"""Training on a few pairs of drawn rectangles: what is kept, what is frozen, what is exact."""

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

import mlrm.training_pairs
from mlrm import MLRM, MLRMConfig
from mlrm.checkpoint import load, load_training, save
from mlrm.datasets import read_pairs, split_validation
from mlrm.errors import ConfigError, DatasetError, ImageError, TrainingError
from mlrm.losses import band_mismatch
from mlrm.train import _next_step, main
from mlrm.train_options import TrainOptions
from mlrm.trainer import Trainer
from mlrm.training_data import read_training
from mlrm.training_log import TrainingLog
from mlrm.training_pairs import EARLY_CHUNK, AugmentedImages, CachedEarlyMaps, Draw, TrainingPairs, prefetched
from mlrm.transforms import PairAugment

SIDE = 224
CONFIG = MLRMConfig.paper(
    trunk="efficientnet_lite0",
    image_size=SIDE,
    regions=2,
    token_dim=32,
    transformer_layers=1,
    l2norm=True,
)
OPTIONS = TrainOptions(
    epochs=2, batch=4, warmup_steps=2, separate_steps=2, average=0.5, cache_variants=2, evaluate_every=1
)
EARLY = tuple(f"networks.0.trunk.{name}." for name in ("_conv_stem", "_bn0", *(f"_blocks.{i}" for i in range(5))))
"""The light trunk's stages up to level 1."""


def draw_pairs(folder: Path, stems: list[str], sketches: int = 1) -> Path:
    """A plain folder: of each stem a photo of three coloured rectangles, and sketches of their outlines."""
    for stem in stems:
        rng = np.random.default_rng([ord(letter) for letter in stem])
        corners = np.sort(rng.integers(4, 60, (3, 2, 2)), axis=1)
        photo, sketch = (Image.new("RGB", (64, 64), "white") for _ in range(2))
        for (left, top), (right, bottom) in corners.tolist():
            colour = tuple(rng.integers(0, 200, 3).tolist())
            ImageDraw.Draw(photo).rectangle((left, top, right, bottom), fill=colour)
            ImageDraw.Draw(sketch).rectangle((left, top, right, bottom), outline="black")
        for name, image, numbers in (("photos", photo, [0]), ("sketches", sketch, range(1, sketches + 1))):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for number in numbers:
                image.save(folder / name / (f"{stem}_{number}.png" if number else f"{stem}.png"))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pairs(tmp_path_factory.mktemp("boxes"), list("abcdefgh"))


class KilledError(Exception):
    """Stands for the end of the process."""


def killed_in_epoch(number: int) -> Callable[[str, int, int], None]:
    def progress(what: str, done: int, total: int) -> None:
        if what.startswith(f"epoch {number}/"):
            raise KilledError

    return progress


def silent(what: str, done: int, total: int) -> None:
    """Report progress to nobody."""


def trainer_of(
    data: Path,
    out: Path,
    options: TrainOptions = OPTIONS,
    *,
    model_seed: int = 0,
    config: MLRMConfig = CONFIG,
    progress: Callable[[str, int, int], None] = silent,
    validation: int = 3,
) -> Trainer:
    out.mkdir(exist_ok=True)
    dataset = read_pairs(data, "train")
    held_out = {}
    if validation:
        dataset, held_out["boxes"] = split_validation(dataset, validation, seed=0)
    pairs = TrainingPairs(config.image_size)
    pairs.add(dataset, "boxes")
    torch.manual_seed(model_seed)
    return Trainer(MLRM(config), pairs, held_out, options, out, torch.device("cpu"), progress)


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """The leaves of nested dicts and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return {name: value}
    return {key: leaf for part, inner in items for key, leaf in flat(inner, f"{name}/{part}").items()}


def assert_equal_trees(actual: Any, expected: Any) -> None:
    """Equal to the last bit."""
    a, b = flat(actual), flat(expected)
    assert list(a) == list(b)
    different = [
        name
        for name, value in a.items()
        if not (torch.equal(value, b[name]) if isinstance(value, Tensor) else value == b[name])
    ]
    assert different == []


def snapshot(model: MLRM) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(model: MLRM, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def one_step(data: Path, out: Path, **options: Any) -> tuple[Trainer, set[str]]:
    """The trainer after one epoch of a single step, and the names of what it changed."""
    values = {"epochs": 1, "batch": 4, "warmup_steps": 1, "separate_steps": 1, "cache_variants": 0}
    trainer = trainer_of(data, out, TrainOptions(**values | options), validation=0)
    before = snapshot(trainer.model)
    trainer.steps_per_epoch = 1
    trainer.run()
    return trainer, changed(trainer.model, before)


# Resuming


@pytest.fixture(scope="module")
def whole_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs in one go."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    trainer_of(data, out).run()
    return out


def resumed_run(data: Path, out: Path, options: TrainOptions = OPTIONS) -> Path:
    """One epoch, killed in the second, and the second again by a new trainer of another random model."""
    with pytest.raises(KilledError):
        trainer_of(data, out, options, progress=killed_in_epoch(2)).run()
    trainer = trainer_of(data, out, options, model_seed=1)
    trainer.resume()
    assert trainer.epoch == 1
    trainer.run()
    return out


def assert_equal_runs(actual: Path, expected: Path) -> None:
    for name in ("last.pt", "best.pt"):
        files = (torch.load(out / name, weights_only=True) for out in (actual, expected))
        assert_equal_trees(*files)
    rows = [
        [{name: value for name, value in row.items() if name != "seconds"} for row in TrainingLog(out).rows()]
        for out in (actual, expected)
    ]
    assert rows[0] == rows[1]


def test_a_resumed_run_equals_one_in_one_go(data: Path, whole_run: Path, tmp_path: Path) -> None:
    """To the last bit: weights, averages, optimizer, scheduler, random numbers and the log."""
    assert_equal_runs(resumed_run(data, tmp_path / "resumed"), whole_run)
    _, state = load_training(whole_run / "last.pt")
    assert {"averaged", "optimizer", "scheduler", "torch_random", "numpy_random", "best"} <= set(state)


def test_a_resumed_run_without_cached_maps_equals_one_in_one_go(data: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, cache_variants=0, freeze_early=False, mixed_precision=False, evaluate_every=2)
    trainer_of(data, tmp_path / "whole", options).run()
    assert_equal_runs(resumed_run(data, tmp_path / "resumed", options), tmp_path / "whole")


def test_a_run_is_determined_by_its_seed(data: Path, whole_run: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, epochs=1, seed=1)
    trainer_of(data, tmp_path / "other", options).run()
    first, other = (TrainingLog(out).rows()[0]["loss/total"] for out in (whole_run, tmp_path / "other"))
    assert first != other


def test_other_options_or_another_model_are_not_resumed(data: Path, whole_run: Path) -> None:
    for trainer in (
        trainer_of(data, whole_run, replace(OPTIONS, lr=1e-3)),
        trainer_of(data, whole_run, config=replace(CONFIG, margin=0.5)),
    ):
        with pytest.raises(ConfigError, match=r"was trained with .*resume with the same options, or start a new run"):
            trainer.resume()


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: draw_pairs(folder, ["new"]),
        lambda folder: (folder / "sketches" / "a_1.png").unlink(),
        lambda folder: (folder / "photos" / "a.png").rename(folder / "photos" / "a.bmp"),
    ],
    ids=["added", "removed", "renamed"],
)
def test_other_data_are_not_resumed(
    data: Path, whole_run: Path, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    shutil.copytree(data, tmp_path / "moved")
    trainer_of(tmp_path / "moved", whole_run).resume()  # the same files elsewhere are the same data
    change(tmp_path / "moved")
    with pytest.raises(ConfigError, match=r"was trained on .*files, sha256.*Resume with the same files"):
        trainer_of(tmp_path / "moved", whole_run).resume()


def test_another_division_of_the_data_is_not_resumed(data: Path, whole_run: Path) -> None:
    with pytest.raises(ConfigError, match="divided in another way"):
        trainer_of(data, whole_run, validation=2).resume()


def test_rows_beyond_the_last_checkpoint_are_trained_and_logged_again(data: Path, tmp_path: Path) -> None:
    """Killed between an epoch's row and its checkpoint, a run must not log that epoch twice."""
    TrainingLog(tmp_path).append({"epoch": 1, "loss/total": 99.0})
    trainer_of(data, tmp_path, replace(OPTIONS, epochs=1)).run()
    rows = TrainingLog(tmp_path).rows()
    assert [row["epoch"] for row in rows] == ["1"]
    assert float(rows[0]["loss/total"]) != 99


# What a run leaves


def test_a_run_leaves_checkpoints_a_log_and_a_picture(whole_run: Path) -> None:
    assert {path.name for path in whole_run.iterdir()} == {"last.pt", "best.pt", "log.csv", "curve.png"}
    with Image.open(whole_run / "curve.png") as picture:
        assert picture.format == "PNG"
    rows = TrainingLog(whole_run).rows()
    assert [row["epoch"] for row in rows] == ["1", "2"]
    named = {"gtrp_in", "gtrp_rn", "ltrp_in", "ltrp_rn", "overlap_sketch", "overlap_photo", "total"}
    for row in rows:
        assert {name.removeprefix("loss/") for name in row if name.startswith("loss/")} == named
        assert 0 <= float(row["boxes/acc1"]) <= float(row["boxes/acc5"]) <= float(row["boxes/acc10"]) == 1
        parts = sum(float(row[f"loss/{name}"]) for name in named - {"total"})
        assert float(row["loss/total"]) == pytest.approx(parts, rel=1e-4)


def test_a_trained_checkpoint_loads_as_a_model(whole_run: Path) -> None:
    model = load(whole_run / "best.pt")
    assert model.config == CONFIG
    assert not model.training
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_training_changes_what_it_should(data: Path, whole_run: Path) -> None:
    torch.manual_seed(0)
    before = snapshot(MLRM(CONFIG))
    names = changed(load(whole_run / "last.pt"), before)
    parameters = {name for name, _ in MLRM(CONFIG).named_parameters()}
    assert names & parameters == {name for name in parameters if not name.startswith(EARLY)}


def test_the_best_on_validation_is_kept(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four epochs with accuracies made up here, the second; acc@10 breaks ties."""
    from mlrm.accuracy import Accuracy

    trainer = trainer_of(data, tmp_path, replace(OPTIONS, epochs=4, separate_steps=0))
    made_up = iter([(0.2, 1.0), (0.5, 0.6), (0.5, 0.55), (0.4, 1.0)])
    kept: list[bytes] = []

    def train_epoch() -> dict[str, float]:
        with torch.no_grad():
            trainer.averaged.module.rla.region_head[0].bias.fill_(trainer.epoch + 1)
        return {"loss/total": 1.0}

    def evaluate(model: MLRM) -> dict[str, Accuracy]:
        acc1, acc10 = next(made_up)
        kept.append((tmp_path / "best.pt").read_bytes() if (tmp_path / "best.pt").exists() else b"")
        return {"boxes": Accuracy(acc1, acc10, acc10, 1.0, 3, 3)}

    monkeypatch.setattr(trainer, "_train_epoch", train_epoch)
    monkeypatch.setattr(trainer, "evaluate", evaluate)
    monkeypatch.setattr(trainer, "_source", lambda: None)
    monkeypatch.setattr(trainer, "_separate", lambda: None)
    trainer.run()
    best = load(tmp_path / "best.pt").state_dict()["rla.region_head.0.bias"]
    assert best.unique().tolist() == [2.0]
    assert len(set(kept)) == 3  # none, the first epoch's, the second's
    assert load_training(tmp_path / "last.pt")[1]["best"] == pytest.approx(0.5006)


def test_without_validation_the_latest_average_is_kept(data: Path, tmp_path: Path) -> None:
    trainer, _ = one_step(data, tmp_path)
    assert_equal_trees(load(tmp_path / "best.pt").state_dict(), trainer.averaged.module.state_dict())


def test_what_is_kept_is_the_running_average_of_the_weights(data: Path, whole_run: Path) -> None:
    _, state = load_training(whole_run / "last.pt")
    last = load(whole_run / "last.pt").state_dict()
    average = state["averaged"]["module.rla.region_head.0.weight"]
    assert not torch.equal(average, last["rla.region_head.0.weight"])
    assert state["averaged"]["n_averaged"] == 2  # a step an epoch


def test_an_infinite_loss_stops_training_before_it_reaches_the_weights(data: Path, tmp_path: Path) -> None:
    trainer = trainer_of(data, tmp_path, replace(OPTIONS, separate_steps=0))
    with torch.no_grad():
        trainer.model.rla.feature_maps[0].bias[0] = torch.nan
    before = snapshot(trainer.model)
    with pytest.raises(TrainingError, match="lower --lr"):
        trainer.run()
    name = "networks.0.regions.attention.layers.0.weight"
    assert torch.equal(trainer.model.state_dict()[name], before[name])
    assert not (tmp_path / "last.pt").exists()


# Giving regions their places


def test_separation_changes_the_region_extraction_alone_and_moves_maps_to_bands(data: Path, tmp_path: Path) -> None:
    trainer = trainer_of(data, tmp_path, replace(OPTIONS, separate_steps=12, separate_lr=5e-3))
    trainer.source = trainer._source()
    images = torch.rand(4, 3, SIDE, SIDE)

    def mismatch() -> float:
        with torch.no_grad():
            maps = trainer.model.eval()(images).maps
        assert maps is not None
        return float(band_mismatch(maps))

    before, at_first = snapshot(trainer.model), mismatch()
    trainer._separate()
    assert mismatch() < at_first
    parameters = {name for name, _ in trainer.model.named_parameters()}
    touched = changed(trainer.model, before) & parameters
    assert touched
    assert {name for name in touched if ".regions." not in name} == set()


@pytest.mark.parametrize("region_maps", ["lama", "cama"])
def test_separation_leaves_the_trunks_statistics_alone_where_training_moves_them(
    data: Path, tmp_path: Path, region_maps: Any
) -> None:
    options = replace(OPTIONS, freeze_batch_norm=False, freeze_early=False, cache_variants=0)
    trainer = trainer_of(data, tmp_path, options, config=replace(CONFIG, region_maps=region_maps))
    trainer.source = trainer._source()
    before = snapshot(trainer.model)
    trainer._separate()
    touched = changed(trainer.model, before)
    assert touched
    assert {name for name in touched if ".regions." not in name} == set()


def test_regions_may_be_left_to_the_published_loss(data: Path, tmp_path: Path) -> None:
    trainer = trainer_of(data, tmp_path, replace(OPTIONS, separate_steps=0))
    trainer.source = trainer._source()
    before = snapshot(trainer.model)
    trainer._separate()
    assert changed(trainer.model, before) == set()


# Freezing


def test_early_stages_are_trained_where_they_are_not_frozen(data: Path, tmp_path: Path) -> None:
    trainer, names = one_step(data, tmp_path, freeze_early=False)
    parameters = {name for name, _ in trainer.model.named_parameters()}
    assert {name for name in parameters if name.startswith(EARLY)} <= names


def test_frozen_early_stages_stay_as_they_were(data: Path, tmp_path: Path) -> None:
    trainer, names = one_step(data, tmp_path, freeze_early=True)
    assert [name for name in names if name.startswith(EARLY)] == []
    frozen = {name for name, parameter in trainer.model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in trainer.model.named_parameters() if name.startswith(EARLY)}
    optimized = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert optimized == {id(p) for name, p in trainer.model.named_parameters() if name not in frozen}


@pytest.mark.parametrize("freeze", [True, False])
def test_statistics_of_the_trunk_are_frozen_if_asked_and_others_never(data: Path, tmp_path: Path, freeze: bool) -> None:
    trainer, names = one_step(data, tmp_path, freeze_batch_norm=freeze, freeze_early=False)
    statistics = {name for name, _ in trainer.model.named_buffers() if "running_" in name}
    of_trunk = {name for name in statistics if ".trunk." in name}
    assert of_trunk
    assert statistics - of_trunk <= names
    assert of_trunk & names == (set() if freeze else of_trunk)


def test_trunk_and_new_parts_have_their_own_learning_rates(data: Path, tmp_path: Path) -> None:
    trainer = trainer_of(data, tmp_path, replace(OPTIONS, lr=0.5, trunk_lr=0.25))
    rates = {id(p): group["initial_lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
    for name, parameter in trainer.model.named_parameters():
        if not name.startswith(EARLY):
            assert rates[id(parameter)] == (0.25 if ".trunk." in name else 0.5), name


def test_separate_networks_are_both_trained(data: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, shared_networks=False)
    trainer = trainer_of(data, tmp_path, replace(OPTIONS, epochs=1), config=config, validation=2)
    before = snapshot(trainer.model)
    trainer.run()
    names = changed(trainer.model, before)
    for network in (0, 1):
        assert f"networks.{network}.trunk._conv_head.weight" in names
        assert f"networks.{network}.trunk._conv_stem.weight" not in names


# Batches


def drawn_pairs(data: Path) -> TrainingPairs:
    pairs = TrainingPairs(64)
    pairs.add(read_pairs(data, "train"), "boxes")
    return pairs


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


# The command


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


@pytest.mark.parametrize("entry", ["boxes", "boxes=", "=more"])
def test_a_malformed_entry_of_further_sketches_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: str
) -> None:
    with pytest.raises(SystemExit):
        main([data], tmp_path / "out", more_sketches=[entry], trunk_weights="none", config=CONFIG.to_json())
    assert f"--more-sketches is {entry!r}; expected NAME=FOLDER" in capsys.readouterr().err


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


WHOLE = ("epochs", "batch", "warmup_steps", "separate_steps", "evaluate_every", "seed", "cache_variants")
RATES = ("lr", "trunk_lr", "weight_decay", "separate_lr", "average")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache_variants": 1}, "expected 0, or an even number"),
        ({"cache_variants": 3}, "expected 0, or an even number"),
        ({"cache_variants": 2, "freeze_early": False}, "freeze_early=False"),
        ({"batch": 1}, "a triplet needs a negative"),
        *(({name: 0}, f"{name} is 0; expected a whole number of at least 1") for name in ("epochs", "evaluate_every")),
        ({"warmup_steps": 0}, "warmup_steps is 0; expected a whole number of at least 1"),
        ({"lr": 0.0}, "lr is 0.0; expected a number above 0"),
        ({"separate_lr": 0}, "separate_lr is 0; expected a number above 0"),
        ({"average": 1.0}, "average is 1.0; expected a number of at least 0 and below 1"),
        ({"seed": 2**64}, "seed is 18446744073709551616; expected at most"),
        *(({name: value}, f"{name} is {value}; expected") for name in WHOLE for value in (-1, 2.0, True)),
        *(({name: value}, f"{name} is {value}; expected") for name in RATES for value in (-1e-3, math.inf, math.nan)),
        *(({name: 1}, f"{name} is 1; expected one of True") for name in ("freeze_batch_norm", "mixed_precision")),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        TrainOptions(**options)


def test_options_at_the_ends_of_their_ranges_are_taken() -> None:
    TrainOptions(epochs=1, batch=2, warmup_steps=1, separate_steps=0, evaluate_every=1, seed=2**64 - 1)
    TrainOptions(trunk_lr=0, weight_decay=0.0, average=0, cache_variants=0, freeze_early=False)


def test_level_0_cannot_be_cached(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="use cache_variants=0"):
        trainer_of(data, tmp_path, config=replace(CONFIG, levels=(0, 3)))


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(
        [sys.executable, "-m", "mlrm.train", *map(str, arguments)], env=environment, capture_output=True, text=True
    )


def test_help_shows_an_example() -> None:
    shown = command("--help")
    assert shown.returncode == 0
    assert "Example: python -m mlrm.train --data shoes --data chairs" in shown.stdout
    assert "--more-sketches" in shown.stdout


def test_the_command_trains_and_goes_on(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the same seed gives the same model, its random beginning included."""
    config = CONFIG.to_json()
    numbers = {"epochs": 1, "separate_steps": 1, "cache_variants": 2}
    options = {"validation": "2", "trunk-weights": "none", "config": config}
    options |= {name.replace("_", "-"): str(value) for name, value in numbers.items()}
    first = command("--data", data, "--out", tmp_path / "a", *(f"--{name}={value}" for name, value in options.items()))
    assert first.returncode == 0, first.stderr
    written = (tmp_path / "a" / "options.json").read_bytes()
    for out in ("a", "b"):
        torch.manual_seed(int.from_bytes(os.urandom(4)))
        main([data], tmp_path / out, validation=[2], trunk_weights="none", config=config, **numbers)
    assert capsys.readouterr().err.count("going on after epoch 1") == 1
    assert load(tmp_path / "a" / "best.pt").fingerprint() == load(tmp_path / "b" / "best.pt").fingerprint()
    assert (tmp_path / "b" / "options.json").read_bytes() == written

    # The step it names can be taken: this plain folder has no test pairs.
    [line] = re.findall("next: (.*)", first.stderr)
    assert f"{data} has no test pairs, so this measures the pairs that the model was trained" in first.stderr
    step = subprocess.run([sys.executable, *shlex.split(line)[1:]], capture_output=True, text=True)
    assert step.returncode == 0, step.stderr


def test_the_next_step_measures_test_pairs_where_there_are_some(tmp_path: Path) -> None:
    folder = tmp_path / "my boxes"
    for split, stems in (("train", ["a", "b"]), ("test", ["c"])):
        draw_pairs(folder / split, stems)
    assert _next_step(tmp_path / "best.pt", folder) == (
        f"next: python -m mlrm.evaluate {tmp_path / 'best.pt'} --data '{folder}'"
    )


def test_options_json_says_what_a_run_was_made_of_and_no_path(data: Path, tmp_path: Path) -> None:
    more = draw_pairs(tmp_path / "more", list("abcdefgh"), sketches=2)
    torch.manual_seed(0)
    save(MLRM(CONFIG), tmp_path / "start.safetensors")
    main(
        [data],
        tmp_path / "out",
        more_sketches=[f"{data.name}={more}"],
        pseudo=[f"{data.name}={more}"],
        init=tmp_path / "start.safetensors",
        validation=[3],
        epochs=1,
        separate_steps=1,
        cache_variants=2,
        lr=2e-3,
    )
    text = (tmp_path / "out" / "options.json").read_text()
    assert str(tmp_path) not in text
    assert str(data) not in text
    record = json.loads(text)
    assert record["data"] == [data.name]
    assert record["more_sketches"] == [f"{data.name}=more"]
    assert record["pseudo"] == [f"{data.name}=more"]
    assert record["validation"] == {data.name: 3}
    assert (record["init"], record["trunk_weights"]) == ("start.safetensors", None)
    assert MLRMConfig.from_json(json.dumps(record["config"])) == CONFIG
    assert record["options"]["lr"] == 2e-3
    # Five products in training: a photo and a sketch each, and one photo and two sketches more; eight pseudo products.
    assert record["files"][data.name]["training"].startswith("49 files, sha256 ")
    assert record["files"][data.name]["validation"].startswith("6 files, sha256 ")


@pytest.mark.parametrize("config", ["{", "[]", '{"region": 4}'])
def test_a_wrong_configuration_is_one_message_without_a_traceback(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([data], tmp_path / "a", trunk_weights="none", config=config)
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("ConfigError: ")
    assert not (tmp_path / "a").exists()
