import argparse
import os
import pickle
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import typer
from torch import Tensor
from typer.testing import CliRunner

from mlrm import MLRM, MLRMConfig
from mlrm.checkpoint import load, load_authors_state_dict, load_training, save
from mlrm.convert import main as convert
from mlrm.errors import CheckpointError, ConfigError
from tests.golden import authors_state_dict


def lite(**overrides: Any) -> MLRM:
    torch.manual_seed(0)
    model = MLRM(MLRMConfig.paper(trunk="efficientnet_lite0", token_dim=32, l2norm=True, **overrides))
    # No weight and no statistic at a value that a new model has anyway.
    for value in model.state_dict().values():
        value.add_(0.25 if value.is_floating_point() else 7)
    return model


@cache
def lite_model() -> MLRM:
    return lite()


def assert_same_model(actual: MLRM, expected: MLRM, rounded: bool = False) -> None:
    assert actual.config == expected.config
    states = actual.state_dict(), expected.state_dict()
    assert list(states[0]) == list(states[1])
    for name, value in states[0].items():
        known = states[1][name]
        assert value.dtype == known.dtype
        assert torch.equal(value, known.half().float() if rounded and known.is_floating_point() else known), name


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


# Code in a pickle


class Runs:
    """Unpickled, it makes a folder: harmless, and seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f'mkdir "{self.folder}"',)


def torch_legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def plain(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def plain_protocol_0(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=0))


WRITERS = pytest.mark.parametrize("write", [torch.save, torch_legacy, plain], ids=["zip", "legacy", "plain"])


@pytest.mark.parametrize("write", [torch.save, torch_legacy, plain, plain_protocol_0])
@pytest.mark.parametrize("name", ["model.pt", "model.pkl", "model.bin"])
@pytest.mark.parametrize("place", ["whole", "entry", "nested"])
def test_code_in_a_pickle_does_not_run(
    tmp_path: Path, write: Callable[[Any, Path], None], name: str, place: str
) -> None:
    runs, path = Runs(tmp_path / "it ran"), tmp_path / name
    write({"whole": runs, "entry": {"model": runs}, "nested": {"model": {"nets.0.x": [runs]}}}[place], path)
    for read in (load, load_training):
        with pytest.raises(
            CheckpointError, match=rf"{name} was not read: it asks for \w+\.system\. Expected"
        ) as refusal:
            read(path)
        assert "weights_only" not in str(refusal.value)  # torch's own message says how to let it run
    assert not (tmp_path / "it ran").exists()


def test_a_pickle_that_torch_cannot_read_safely_is_refused_with_the_reason(tmp_path: Path) -> None:
    torch.save({"model": {"nets.0.x": 1}}, tmp_path / "new.pt", pickle_protocol=4)
    with (
        pytest.warns(UserWarning, match="pickle protocol 4"),
        pytest.raises(CheckpointError, match=r"new\.pt was not read: Unsupported operand \d+\. Expected"),
    ):
        load(tmp_path / "new.pt")


@WRITERS
def test_the_code_would_have_run_elsewhere(tmp_path: Path, write: Callable[[Any, Path], None]) -> None:
    """So the test above says something."""
    write(Runs(tmp_path / "it ran"), tmp_path / "model.pkl")
    if write is plain:
        pickle.loads((tmp_path / "model.pkl").read_bytes())
    else:
        torch.load(tmp_path / "model.pkl", weights_only=False)
    assert (tmp_path / "it ran").exists()


def test_code_behind_a_plain_pickles_tensors_does_not_run(tmp_path: Path) -> None:
    """A tensor in a plain pickle is a pickle within the pickle, which is read as carefully."""
    torch_legacy(Runs(tmp_path / "it ran"), tmp_path / "inner")

    class Inner:
        def __reduce__(self) -> tuple[Any, tuple[bytes]]:
            return torch.storage._load_from_bytes, ((tmp_path / "inner").read_bytes(),)

    plain({"model": Inner()}, tmp_path / "model.pkl")
    with pytest.raises(CheckpointError, match=r"(?s)model\.pkl was not read"):
        load(tmp_path / "model.pkl")
    assert not (tmp_path / "it ran").exists()


# The authors' files


def authors_content(state: Any) -> dict[str, Any]:
    args = argparse.Namespace(lr=1e-4, dataset="shoe", sizes=[256, 256])
    return {"model": state, "epochs": 12, "steps": 3400, "args": args}


@cache
def golden_state() -> dict[str, Tensor]:
    return authors_state_dict()


def authors_name(name: str) -> str:
    """The released program's name of one of our entries (levels 1, 2, 3)."""
    for pattern, replacement in (
        (r"^networks\.(\d)\.trunk\.", r"nets.\1.net."),
        (r"^networks\.(\d)\.regions\.indicator\.", r"nets.\1.condition_encoder."),
        (r"^networks\.(\d)\.regions\.attention\.layers\.", r"nets.\1.spatial_attention.conv1."),
        (r"^networks\.(\d)\.reductions\.1\.", r"nets.\1.reduction_nets.0."),
        (r"^networks\.(\d)\.reductions\.2\.", r"nets.\1.reduction_nets.1."),
        (r"^rla\.feature_maps\.(\d)\.", r"rla.feat_reducers.\1.0."),
        (r"^rla\.transformer\.", "rla.transen."),
        (r"^rla\.(level|region)_head\.", r"rla.\1_weight_head."),
    ):
        name = re.sub(pattern, replacement, name)
    return name


def as_authors_write(model: MLRM) -> dict[str, Tensor]:
    return {authors_name(name): value for name, value in model.state_dict().items()}


@WRITERS
def test_the_authors_file_is_read_however_it_was_written(tmp_path: Path, write: Callable[[Any, Path], None]) -> None:
    write(authors_content(golden_state()), tmp_path / "shoe.pkl")
    model = load(tmp_path / "shoe.pkl")
    assert model.config == MLRMConfig.authors()
    assert not model.training
    state = model.state_dict()
    assert {authors_name(name) for name in state} == {key for key in golden_state() if ".classifier." not in key}
    assert [name for name in state if not torch.equal(state[name], golden_state()[authors_name(name)])] == []


@WRITERS
def test_a_state_dict_straight_from_a_module_is_read(tmp_path: Path, write: Callable[[Any, Path], None]) -> None:
    """`Module.state_dict` gives an OrderedDict that carries an attribute, unlike a dict."""
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(torch.zeros(3))
    write({"model": module.state_dict()}, tmp_path / "other.pkl")
    with pytest.raises(CheckpointError, match=r"no MLRM checkpoint: found the entries \['model'\]"):
        load(tmp_path / "other.pkl")


def test_the_paper_preset_reads_the_same_weights_into_the_form_that_can_be_indexed(tmp_path: Path) -> None:
    torch.save(authors_content(golden_state()), tmp_path / "shoe.pkl")
    paper, authors = (
        load(tmp_path / "shoe.pkl", preset="paper"),
        load(tmp_path / "shoe.pkl", preset="authors"),
    )
    assert (paper.config, authors.config) == (MLRMConfig.paper(), MLRMConfig.authors())
    paper.config.require_image_features()
    states = paper.state_dict(), authors.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_the_way_out_that_a_refused_authors_file_names_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command in the message, as it stands there, makes a checkpoint that can be indexed."""
    monkeypatch.chdir(tmp_path)
    torch.save(authors_content(golden_state()), "theirs.pkl")
    with pytest.raises(ConfigError) as refusal:
        load("theirs.pkl").config.require_image_features()
    [command] = re.findall(r"python -m mlrm\.convert ([\w. -]+?)\. Any", str(refusal.value))
    app = typer.Typer()
    app.command()(convert)
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 0, result.output
    load(command.split()[1]).config.require_image_features()


def test_regions_width_and_separate_networks_are_seen_in_the_shapes(tmp_path: Path) -> None:
    config = MLRMConfig.authors(regions=4, token_dim=64, shared_networks=False)
    model = MLRM(config)
    torch.save(authors_content(as_authors_write(model)), tmp_path / "shoe.pkl")
    assert_same_model(load(tmp_path / "shoe.pkl"), model)


def test_the_authors_state_dict_goes_into_a_model_of_another_threshold() -> None:
    model = MLRM(MLRMConfig.authors(threshold_cells=5, l2norm=True))
    load_authors_state_dict(model, golden_state())
    name = "rla.level_head.0.weight"
    assert torch.equal(model.state_dict()[name], golden_state()[authors_name(name)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state | {"nets.0.extra": torch.zeros(1)}, r"nets\.0\.extra"),
        (
            lambda state: {k: v for k, v in state.items() if "level_weight_head.0" not in k},
            r"level_head\.0\.weight",
        ),
        (lambda state: state | {"rla.level_weight_head.0.bias": torch.zeros(5)}, r"level_head\.0\.bias"),
        (
            lambda state: {k: v for k, v in state.items() if "condition_encoder" not in k},
            r"lacks 'nets\.0\.condition_encoder\.0\.weight'",
        ),
    ],
    ids=["unknown", "missing", "shape", "undetermined"],
)
def test_an_authors_file_with_other_entries_is_refused_naming_them(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], message: str
) -> None:
    torch.save(authors_content(change(golden_state())), tmp_path / "shoe.pkl")
    with pytest.raises(CheckpointError, match=f"(?s){message}"):
        load(tmp_path / "shoe.pkl")
