"""The command: trains, goes on, says what it did and what is next."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mlrm import MLRM, MLRMConfig
from mlrm.checkpoint import load, save
from mlrm.train import _next_step, main
from tests.mlrm.training.runs import CONFIG, draw_pairs


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
    assert f"{data} has no test pairs, so this measures the pairs set aside" in first.stderr
    step = subprocess.run([sys.executable, *shlex.split(line)[1:]], capture_output=True, text=True)
    assert step.returncode == 0, step.stderr
    assert "validation): 2 sketches of 2 photos" in step.stderr


def test_another_seed_trains_otherwise_on_the_same_part_and_another_split_seed_sets_others_aside(
    data: Path, tmp_path: Path
) -> None:
    records = {}
    for name, seed, split_seed in (("first", 0, 0), ("seed", 3, 0), ("split", 0, 3)):
        main(
            [data],
            tmp_path / name,
            trunk_weights="none",
            config=CONFIG.to_json(),
            validation=[3],
            epochs=1,
            separate_steps=1,
            cache_variants=2,
            seed=seed,
            split_seed=split_seed,
        )
        records[name] = json.loads((tmp_path / name / "options.json").read_text())
    assert records["seed"]["files"] == records["first"]["files"]
    assert records["split"]["files"] != records["first"]["files"]
    assert (records["split"]["split_seed"], records["split"]["options"]["seed"]) == (3, 0)
    fingerprints = {name: load(tmp_path / name / "best.pt").fingerprint() for name in records}
    assert len(set(fingerprints.values())) == 3


def test_the_next_step_measures_test_pairs_where_there_are_some(tmp_path: Path) -> None:
    folder = tmp_path / "my boxes"
    for split, stems in (("train", ["a", "b"]), ("test", ["c"])):
        draw_pairs(folder / split, stems)
    assert _next_step(tmp_path / "best.pt", folder, set_aside=1, split_seed=0) == (
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


@pytest.mark.parametrize("entry", ["boxes", "boxes=", "=more"])
def test_a_malformed_entry_of_further_sketches_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: str
) -> None:
    with pytest.raises(SystemExit):
        main([data], tmp_path / "out", more_sketches=[entry], trunk_weights="none", config=CONFIG.to_json())
    assert f"--more-sketches is {entry!r}; expected NAME=FOLDER" in capsys.readouterr().err
