"""What is trained when: regions get their places first, early stages and statistics stay frozen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mlrm.losses import band_mismatch
from mlrm.training_pairs import CachedEarlyMaps
from tests.mlrm.training.runs import CONFIG, EARLY, OPTIONS, SIDE, changed, one_step, snapshot, trainer_of


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


def test_a_trunk_without_a_learning_rate_stays_as_it_was_and_gets_no_gradients(data: Path, tmp_path: Path) -> None:
    trainer, names = one_step(data, tmp_path, trunk_lr=0)
    assert {name for name in names if ".trunk." in name} == set()
    assert {name.split(".")[2] for name in names if name.startswith("networks.")} == {"reductions", "regions"}
    assert {".trunk." in name for name, p in trainer.model.named_parameters() if p.grad is None} == {True}


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


@pytest.mark.parametrize("bfloat16", [False, True])
def test_cached_maps_are_in_the_type_that_the_device_computes_fast(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bfloat16: bool
) -> None:
    """Without instructions for it bfloat16 is emulated, many times slower than float32: see `computes_bfloat16`."""
    monkeypatch.setattr("mlrm.trainer.computes_bfloat16", lambda device: bfloat16)
    trainer, touched = one_step(data, tmp_path / "out", cache_variants=2)
    assert isinstance(trainer.source, CachedEarlyMaps)
    assert trainer.source.level1.dtype == (torch.bfloat16 if bfloat16 else torch.float32)
    assert touched
