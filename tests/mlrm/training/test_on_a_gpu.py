"""A step of either training on a GPU: its loss is the CPU's, and what it leaves is loaded anywhere."""

import csv
from pathlib import Path

import pytest
import torch

from mlrm import MLRM, MLRMConfig
from mlrm.checkpoint import load
from mlrm.pretrain import main as pretrain
from mlrm.pretrained import load_trunk_weights
from mlrm.train import main as train
from mlrm.training_log import TrainingLog
from tests.mlrm.training.runs import CONFIG

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
DEVICES = ("cpu", "cuda")
ROUNDING = 0.1
"""Relative: bfloat16 through some hundred layers of random weights."""


@pytest.mark.parametrize("cache_variants", [0, 2])
def test_a_step_of_training(
    data: Path, tmp_path: Path, cache_variants: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(device: str) -> Path:
        train(
            [data],
            tmp_path / device,
            validation=[3],
            trunk_weights="none",
            config=CONFIG.to_json(),
            epochs=1,
            batch=4,
            separate_steps=1,
            cache_variants=cache_variants,
            device=device,
        )
        return tmp_path / device

    losses = [float(TrainingLog(run(device)).rows()[-1]["loss/total"]) for device in DEVICES]
    assert losses[1] == pytest.approx(losses[0], rel=ROUNDING)
    assert all(parameter.device.type == "cpu" for parameter in load(tmp_path / "cuda" / "best.pt").parameters())
    run("cuda")
    assert "going on after epoch 1" in capsys.readouterr().err


def test_a_step_of_pretraining(data: Path, tmp_path: Path) -> None:
    losses = []
    for device in DEVICES:
        torch.manual_seed(0)  # the same random weights to start from
        out = tmp_path / f"{device}.safetensors"
        pretrain([data], out, trunk_weights="none", validation=[3], steps=1, batch=4, validate_every=1, device=device)
        with out.with_suffix(".csv").open(newline="") as lines:
            losses.append(float(next(csv.DictReader(lines))["loss"]))
        load_trunk_weights(MLRM(MLRMConfig.paper(trunk="efficientnet_lite0")), str(out))
    assert losses[1] == pytest.approx(losses[0], rel=ROUNDING)
