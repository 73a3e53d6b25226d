"""What a run leaves: checkpoints, log, picture, and the best of its averages."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from mlrm import MLRM
from mlrm.checkpoint import load, load_training
from mlrm.errors import TrainingError
from mlrm.training_log import TrainingLog
from tests.mlrm.training.runs import CONFIG, EARLY, OPTIONS, assert_equal_trees, changed, one_step, snapshot, trainer_of


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
