"""A run that was stopped goes on as if it had not been, and only on what it began with."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlrm.checkpoint import load_training
from mlrm.errors import ConfigError
from mlrm.training_log import TrainingLog
from tests.mlrm.training.runs import CONFIG, OPTIONS, assert_equal_runs, draw_pairs, resumed_run, trainer_of


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
