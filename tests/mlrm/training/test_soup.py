"""The mean of weights, of trunks and of whole models: what it is of, what it refuses, what reads it."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from mlrm import MLRM, MLRMConfig
from mlrm.checkpoint import load, save
from mlrm.errors import CheckpointError, ConfigError
from mlrm.pretrained import load_trunk_weights
from mlrm.soup import main, mean_weights


def model_of(seed: int, **changes: bool) -> MLRM:
    torch.manual_seed(seed)
    return MLRM(MLRMConfig.paper(trunk="efficientnet_lite0", **changes))


def test_weights_are_averaged_by_share_and_counters_are_the_firsts() -> None:
    one = {"w": torch.tensor([1.0, 2.0]), "count": torch.tensor(3)}
    two = {"w": torch.tensor([5.0, -2.0], dtype=torch.float16), "count": torch.tensor(9)}
    mean = mean_weights([one, two], [0.75, 0.25])
    torch.testing.assert_close(mean["w"], torch.tensor([2.0, 1.0]))
    assert mean["count"] == 3


@pytest.mark.parametrize("shares", [[0.5, 0.4], [1.2, -0.2], [1.0, 0.0], [float("nan"), 0.5]])
def test_shares_that_make_no_mean_are_refused(shares: list[float]) -> None:
    with pytest.raises(ConfigError, match="add up to 1"):
        mean_weights([{"w": torch.ones(1)}] * 2, shares)


@pytest.mark.parametrize("other", [{"w": torch.ones(2)}, {"v": torch.ones(1)}, {}])
def test_different_networks_are_refused(other: dict[str, torch.Tensor]) -> None:
    with pytest.raises(CheckpointError, match="differs"):
        mean_weights([{"w": torch.ones(1)}, other], [0.5, 0.5])


@pytest.mark.parametrize("name", ["whole.pt", "whole.safetensors"])
def test_a_trunk_and_a_checkpoint_make_a_trunk_that_training_starts_from(tmp_path: Path, name: str) -> None:
    first, second, fresh = (model_of(seed) for seed in range(3))
    trunks = [model.network().trunk.state_dict() for model in (first, second)]
    safetensors.torch.save_file(trunks[0], tmp_path / "trunk.safetensors")
    save(second, tmp_path / name)
    out = tmp_path / "soup.safetensors"
    main([f"{tmp_path}/trunk.safetensors=0.25", f"{tmp_path / name}=0.75"], out)
    load_trunk_weights(fresh, str(out))
    for key, value in fresh.network().trunk.named_parameters():
        torch.testing.assert_close(value, 0.25 * trunks[0][key] + 0.75 * trunks[1][key])


def test_whole_models_make_a_checkpoint_of_all_their_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [model_of(seed) for seed in range(2)]
    for number, model in enumerate(models):
        save(model, tmp_path / f"{number}.safetensors")
    parts, out = [f"{tmp_path}/0.safetensors=0.75", f"{tmp_path}/1.safetensors=0.25"], tmp_path / "soup.safetensors"
    main(parts, out, whole=True)
    mean = load(out)
    assert mean.config == models[0].config
    for key, value in mean.named_parameters():
        expected = 0.75 * models[0].get_parameter(key) + 0.25 * models[1].get_parameter(key)
        torch.testing.assert_close(value, expected, rtol=2**-10, atol=2**-24)  # stored as float16
    save(model_of(2, l2norm=True), tmp_path / "1.safetensors")
    with pytest.raises(SystemExit):
        main(parts, out, whole=True)
    assert "of another configuration" in capsys.readouterr().err


@pytest.mark.parametrize("entry", ["trunk.safetensors", "trunk.safetensors=half", "=0.5"])
def test_parts_without_file_or_share_are_refused(
    tmp_path: Path, entry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([entry], tmp_path / "soup.safetensors")
    assert "expected FILE=SHARE" in capsys.readouterr().err


def test_a_checkpoint_with_two_networks_and_a_place_that_is_not_there_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(model_of(0, shared_networks=False), tmp_path / "two.pt")
    with pytest.raises(SystemExit):
        main([f"{tmp_path}/two.pt=1"], tmp_path / "soup.safetensors")
    assert "a checkpoint with one" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([f"{tmp_path}/two.pt=1"], tmp_path / "nowhere" / "soup.safetensors")
    assert "in a folder that is there" in capsys.readouterr().err
