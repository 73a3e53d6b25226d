"""Which pairs the comparison's accuracy is read on."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from benches.table2 import accuracy
from benches.table2.accuracy import AccuracyFile, read_accuracy
from benches.table2.real import Progress
from mlrm.datasets import PairDataset, read_pairs
from mlrm.procedural import write_pairs
from mlrm.training_data import read_training


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[PairDataset]:
    """The data sets that the command goes on to measure, which it doesn't here."""
    found: list[PairDataset] = []

    def measure_all(
        datasets: Sequence[PairDataset], split: str, runs: tuple[str, ...], progress: Progress
    ) -> AccuracyFile:
        found.extend(datasets)
        return AccuracyFile("0" * 64, split, runs, ())

    monkeypatch.setattr(accuracy, "measure_all", measure_all)
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    made = [tmp_path_factory.mktemp("pairs") / name for name in ("shoes", "chairs")]
    for seed, folder in enumerate(made):
        write_pairs(folder, 10, seed=seed)
    return made


def called(folders: list[Path], *options: str) -> Result:
    app = Typer()
    app.command()(accuracy.main)
    data = [word for folder in folders for word in ("--data", str(folder))]
    return CliRunner().invoke(app, [*data, *options])


@pytest.mark.parametrize("counts", [[], [3, 4]])
@pytest.mark.parametrize("seed", [0, 7])
def test_the_validation_part_is_what_training_set_aside(
    folders: list[Path], measured: list[PairDataset], tmp_path: Path, counts: list[int], seed: int
) -> None:
    options = [word for count in counts for word in ("--validation", str(count))]
    out = tmp_path / "validation.json"
    result = called(folders, "--split", "validation", *options, "--split-seed", str(seed), "--out", str(out))
    assert result.exit_code == 0, result.output
    _, held_out = read_training(folders, [], counts or None, 64, seed, lambda *_: None)
    assert measured == list(held_out.values())
    assert [len(one.photos) for one in measured] == (counts or [2, 2])
    assert read_accuracy(out).split == "validation"


def test_all_pairs_of_a_test_set_are_read(measured: list[PairDataset], tmp_path: Path) -> None:
    write_pairs(tmp_path / "mugs" / "test", 3, seed=2)
    write_pairs(tmp_path / "mugs" / "train", 2, seed=3)
    assert called([tmp_path / "mugs"], "--out", str(tmp_path / "test.json")).exit_code == 0
    assert measured == [read_pairs(tmp_path / "mugs", "test")]


def test_photos_set_aside_are_asked_for_with_the_validation_part_alone(
    folders: list[Path], measured: list[PairDataset], tmp_path: Path
) -> None:
    refused = called(folders, "--validation", "3", "--validation", "3", "--out", str(tmp_path / "test.json"))
    assert refused.exit_code == 1
    assert "--validation and --more-sketches are of --split validation" in " ".join(refused.output.split())
    assert not measured
