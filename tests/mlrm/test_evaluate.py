"""`python -m mlrm.evaluate`: what it refuses before the work, and what it says about its numbers."""

import json
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from PIL import Image

from mlrm import MLRM, MLRMConfig
from mlrm.accuracy import Accuracy
from mlrm.checkpoint import save
from mlrm.datasets import read_pairs
from mlrm.errors import DatasetError
from mlrm.evaluate import Evaluation, evaluate, main
from mlrm.procedural import write_pairs

SMALL = {"trunk": "efficientnet_lite0", "image_size": 224, "regions": 2, "token_dim": 32, "transformer_layers": 1}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    write_pairs(folder / "test", 3, seed=0)
    return folder


@pytest.fixture(scope="module")
def model() -> MLRM:
    torch.manual_seed(0)
    return MLRM(MLRMConfig.paper(**SMALL)).eval()


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Any:
    """The message of the command where it ends with an error."""

    def message(*arguments: Any, **options: Any) -> str:
        with pytest.raises(SystemExit) as ended:
            main(*arguments, **options)
        assert ended.value.code == 1
        return capsys.readouterr().err

    return message


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*arguments: Any) -> None:
        pytest.fail("the checkpoint was read before the options were checked")

    monkeypatch.setattr("mlrm.evaluate.load", load)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(("option", "name"), [("json_file", "--json"), ("save_ranks", "--save-ranks")])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    pairs: Path, tmp_path: Path, fails: Any, option: str, name: str
) -> None:
    missing = tmp_path / "none" / "results.json"
    assert f"ConfigError: {name} {missing}: there is no folder" in fails(None, [pairs], **{option: missing})
    assert f"ConfigError: {name} {tmp_path} is a folder" in fails(None, [pairs], **{option: tmp_path})


@pytest.mark.usefixtures("no_work")
def test_data_sets_of_one_name_are_refused(pairs: Path, tmp_path: Path, fails: Any) -> None:
    """The ranks of one would overwrite the other's."""
    shutil.copytree(pairs, tmp_path / pairs.name)
    assert f"several --data folders are called {pairs.name}" in fails(None, [pairs, tmp_path / pairs.name])


def test_every_file_that_cannot_be_used_is_named_distractors_too(pairs: Path, tmp_path: Path, model: MLRM) -> None:
    shutil.copytree(pairs, tmp_path / "set")
    dataset = read_pairs(tmp_path / "set", "test")
    other = tmp_path / "other.png"
    corrupt = [dataset.sketches[1], dataset.photos[0], other]
    for path in corrupt:
        path.write_bytes(b"no image")
    steps: list[tuple[str, int, int]] = []
    with pytest.raises(DatasetError, match="3 files of set with its distractors can't be used") as refusal:
        evaluate(model, dataset, torch.device("cpu"), lambda *step: steps.append(step), distractors=[other])
    assert [str(path) in str(refusal.value) for path in corrupt] == [True] * 3
    assert steps == [("set: decode", done, 7) for done in range(1, 8)]  # and nothing was encoded


def test_each_image_is_decoded_once(pairs: Path, model: MLRM, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlrm.decoding

    loaded: list[Path] = []
    original = mlrm.decoding.load_image
    monkeypatch.setattr(mlrm.decoding, "load_image", lambda path: loaded.append(path) or original(path))
    dataset = read_pairs(pairs, "test")
    result = evaluate(model, dataset, torch.device("cpu"), lambda what, done, total: None)
    assert loaded == [*dataset.sketches, *dataset.photos]
    assert list(result.rank_of_sketch) == dataset.relative(dataset.sketches)


def test_accuracy_by_the_amount_of_ink(tmp_path: Path, model: MLRM) -> None:
    """Sketches made blacker and blacker: each third is the next ones, its ink the mean darkness."""
    names = []
    for number, share in enumerate((0.6, 0.1, 0.3)):
        for kind in ("photos", "sketches"):
            picture = np.full((100, 100, 3), 255, np.uint8)
            picture[: round(100 * share)] = 0
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(picture).save(tmp_path / kind / f"{number}.png")
        names.append(f"sketches/{number}.png")
    result = evaluate(model, read_pairs(tmp_path, "train"), torch.device("cpu"), lambda what, done, total: None)
    ranks = [result.rank_of_sketch[names[number]] for number in (1, 2, 0)]
    assert [found.median_rank for _, _, found in result.by_ink] == ranks
    assert [(low, high) for low, high, _ in result.by_ink] == [
        (pytest.approx(share, abs=0.01),) * 2 for share in (0.1, 0.3, 0.6)
    ]
    assert result.to_dict()["by_ink"][2] == {"ink": [ANY, ANY], **result.by_ink[2][2].to_dict()}


@pytest.mark.parametrize("attention_over", ["tokens", "batch"])
def test_numbers_that_depend_on_the_batch_are_said_to(
    pairs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    attention_over: Any,
) -> None:
    save(MLRM(MLRMConfig.paper(**SMALL, attention_over=attention_over)), tmp_path / "model.safetensors")
    made_up = Evaluation("drawn", "test", Accuracy(1, 1, 1, 1, 3, 3), {"a": 1}, [], 0.0, 0.0)
    monkeypatch.setattr("mlrm.evaluate.evaluate", lambda *arguments, **options: made_up)
    main(tmp_path / "model.safetensors", [pairs], json_file=tmp_path / "results.json")
    said = "an image's weights depend on the images it is batched with, so these numbers hold for batches of 16"
    assert (said in capsys.readouterr().err) == (attention_over == "batch")
    written = json.loads((tmp_path / "results.json").read_text())
    assert (written["batch"], written["results"][0]["acc1"]) == (16, 1)
