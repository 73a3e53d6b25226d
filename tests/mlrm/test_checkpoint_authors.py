"""The authors' files."""

import argparse
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torch import Tensor
from typer.testing import CliRunner

from mlrm import MLRM, MLRMConfig
from mlrm.checkpoint import load, load_authors_state_dict
from mlrm.convert import main as convert
from mlrm.errors import CheckpointError, ConfigError
from tests.golden import authors_state_dict
from tests.mlrm.checkpoints import WRITERS, assert_same_model


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
