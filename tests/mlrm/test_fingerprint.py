"""The fingerprint: what changes it, and what does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mlrm import MLRM
from mlrm.checkpoint import load, save
from tests.mlrm.models import (
    lite_model,
)


def twin(model: MLRM, **changes: Any) -> MLRM:
    """The same weights under a configuration with changes."""
    other = MLRM(replace(model.config, **changes))
    other.load_state_dict(model.state_dict())
    return other


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold_cells": 4},
        {"l2norm": True},
        {"level_softmax": "regions"},
        {"region_weight_power": 2},
        {"attention_over": "batch"},
        {"attention_heads": 2},
        {"image_size": 256},
    ],
    ids=str,
)
def test_the_fingerprint_changes_with_what_changes_features_or_distances(changes: dict[str, Any]) -> None:
    assert twin(lite_model(), **changes).fingerprint() != lite_model().fingerprint()


@pytest.mark.parametrize(
    "changes",
    [{"dropout": 0.2, "margin": 0.5, "alpha": 0.3, "beta": 0.2}, {"overlap_penalty": "cama"}],
    ids=str,
)
def test_the_fingerprint_does_not_change_with_what_only_training_uses(changes: dict[str, Any]) -> None:
    assert twin(lite_model(), **changes).fingerprint() == lite_model().fingerprint()


@pytest.mark.parametrize("name", ["networks.0.trunk._conv_stem.weight", "networks.0.trunk._bn1.running_mean"])
def test_the_fingerprint_changes_with_the_least_change_of_a_weight_or_statistic(name: str) -> None:
    model = twin(lite_model())
    value = model.state_dict()[name].flatten()[-1]
    value.copy_(torch.nextafter(value, torch.tensor(torch.inf)))
    assert model.fingerprint() != lite_model().fingerprint()


def test_the_fingerprint_ignores_step_counters_and_memory_layout() -> None:
    model = twin(lite_model()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.network().trunk._bn1.num_batches_tracked += 1
    assert model.fingerprint() == lite_model().fingerprint()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_fingerprint_survives_saving_and_loading(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    save(lite_model(), path)
    assert load(path).fingerprint() == lite_model().fingerprint()
