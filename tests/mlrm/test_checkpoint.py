"""Checkpoints as this project writes them, and what is none."""

import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from mlrm import MLRM, MLRMConfig
from mlrm.checkpoint import load, load_training, save
from mlrm.errors import CheckpointError
from tests.mlrm.checkpoints import assert_same_model, lite, lite_model

# What we write


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_round_trip(tmp_path: Path, suffix: str, half: bool) -> None:
    path = tmp_path / f"model{suffix}"
    save(lite_model(), path, half=half)
    loaded = load(path)
    assert_same_model(loaded, lite_model(), rounded=half)
    assert not loaded.training
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("overrides", [{"shared_networks": False}, {"region_maps": "cama", "levels": (0, 3)}], ids=str)
def test_round_trip_of_other_forms(tmp_path: Path, overrides: dict[str, Any]) -> None:
    model = lite(**overrides)
    save(model, str(tmp_path / "model.safetensors"))
    assert_same_model(load(str(tmp_path / "model.safetensors")), model)


def test_float16_halves_the_file(tmp_path: Path) -> None:
    for half in (False, True):
        save(lite_model(), tmp_path / f"{half}.safetensors", half=half)
    sizes = [(tmp_path / f"{half}.safetensors").stat().st_size for half in (False, True)]
    assert sizes[1] < 0.52 * sizes[0]


def test_a_weight_beyond_float16_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    model = lite()
    model.state_dict()["rla.level_head.0.bias"][3] = 70000
    with pytest.raises(CheckpointError, match=r"rla\.level_head\.0\.bias has values beyond float16's 65504"):
        save(model, tmp_path / "model.safetensors", half=True)
    assert list(tmp_path.iterdir()) == []


def test_the_layout_in_memory_is_not_part_of_a_checkpoint(tmp_path: Path) -> None:
    model = lite().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save(model, tmp_path / "model.safetensors")
    assert_same_model(load(tmp_path / "model.safetensors"), lite_model())


@pytest.mark.parametrize("name", ["model.onnx", "model", "model.pkl"])
def test_other_suffixes_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=r"expected a name that ends in \.safetensors or \.pt"):
        save(lite_model(), tmp_path / name)


def test_training_state_goes_into_a_pt_only(tmp_path: Path) -> None:
    state = {"epoch": 3, "best": 0.5, "moments": torch.arange(3.0)}
    save(lite_model(), tmp_path / "last.pt", training=state)
    model, training = load_training(tmp_path / "last.pt")
    assert_same_model(model, lite_model())
    assert (training["epoch"], training["best"]) == (3, 0.5)
    assert torch.equal(training["moments"], state["moments"])
    assert_same_model(load(tmp_path / "last.pt"), lite_model())
    with pytest.raises(CheckpointError, match="expected a name"):
        save(lite_model(), tmp_path / "last.safetensors", training=state)


def test_a_checkpoint_without_training_state_cannot_be_resumed_from(tmp_path: Path) -> None:
    save(lite_model(), tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=r"holds no training state; expected the last\.pt"):
        load_training(tmp_path / "best.pt")


@pytest.mark.parametrize(("suffix", "writer"), [(".pt", "torch.save"), (".safetensors", "safetensors.torch.save_file")])
def test_an_interrupted_save_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, writer: str
) -> None:
    path = tmp_path / f"model{suffix}"
    save(lite_model(), path)

    def write_a_part(*arguments: Any) -> None:
        target = next(argument for argument in arguments if isinstance(argument, Path))
        target.write_bytes(b"cut")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, write_a_part)
    with pytest.raises(OSError, match="No space left"):
        save(MLRM(lite_model().config), path)
    monkeypatch.undo()
    assert_same_model(load(path), lite_model())
    # What was cut does not stand in the way of the next save.
    other = MLRM(lite_model().config)
    save(other, path)
    assert_same_model(load(path), other)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


# What is no checkpoint


@pytest.mark.parametrize("name", ["lost.safetensors", "lost.pt", "lost.pkl"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=rf"no checkpoint at .*{name}"):
        load(tmp_path / name)


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello, I am a text file\n", b"PK\x03\x04", b"\x80\x02", b"\x00" * 100])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".pkl"])
def test_what_is_no_checkpoint_is_refused_by_name(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"note{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"note\."):
        load(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kept", [0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused_by_name(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"model{suffix}"
    save(lite_model(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(CheckpointError, match=r"model\.\w+ is damaged"):
        load(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": "mlrm"}])
def test_safetensors_of_something_else_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path, metadata)
    with pytest.raises(CheckpointError, match="a safetensors file without an MLRM configuration"):
        load(path)


@pytest.mark.parametrize(
    "content", [{"weights": torch.zeros(3)}, {"model": {"layer": torch.zeros(3)}}, {"model": 3}, {}]
)
def test_another_dict_is_refused_with_what_it_holds(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(
        CheckpointError, match=rf"no MLRM checkpoint: found the entries {re.escape(str(list(content)))}"
    ):
        load(path)


def test_what_is_no_dict_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(3)], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list; expected a dict"):
        load(tmp_path / "list.pt")


def written(path: Path, **changes: Any) -> Path:
    """A `.pt` of ours with some entries changed, or left out if None."""
    save(lite_model(), path)
    content = torch.load(path, weights_only=True) | changes
    torch.save({key: value for key, value in content.items() if value is not None}, path)
    return path


def test_a_configuration_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    newer = lite_model().config.to_json().replace("{", '{"new_option": 1, ', 1)
    with pytest.raises(CheckpointError, match=r"doesn't fit this version.*unknown configuration keys \['new_option'\]"):
        load(written(tmp_path / "model.pt", config=newer))
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(lite_model().state_dict(), path, {"format": "mlrm", "config": newer})
    with pytest.raises(CheckpointError, match="new_option"):
        load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"state": {"weight": torch.zeros(3)}},
        {"state": None},
        {"state": [1]},
        {"state": {"rla.level_head.0.bias": "text"}},
        {"config": None},
        {"config": 3},
        {"config": MLRMConfig.paper().to_json()},
    ],
    ids=str,
)
def test_a_checkpoint_that_does_not_fit_its_own_configuration_is_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(CheckpointError, match=r"model\.pt"):
        load(written(tmp_path / "model.pt", **changes))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_preset_is_for_the_authors_files_only(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    save(lite_model(), path)
    with pytest.raises(CheckpointError, match="carries its configuration; preset='paper' is for the authors'"):
        load(path, preset="paper")
