"""A trunk is trained on bands of level 3; what is held out stays unseen, and mlrm.train starts from the result."""

import csv
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import safetensors.torch
import torch

import mlrm.pretrainer
from mlrm import MLRM, MLRMConfig
from mlrm.errors import CheckpointError, ConfigError, TrainingError
from mlrm.pretrain import main
from mlrm.pretrained import load_trunk_weights
from mlrm.pretrainer import Pretrainer, PretrainOptions, band_distance, band_features, contrastive_loss
from mlrm.procedural import write_pairs
from mlrm.training_data import PSEUDO_WEIGHT, read_training

CPU = torch.device("cpu")
SIDE = 224


def silent(what: str, done: int, total: int) -> None:
    pass


def silent_line(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_pairs(folder / "shop", 5, seed=1)
    write_pairs(folder / "drawn", 4, seed=2)
    return folder


def small_model(seed: int = 0) -> MLRM:
    torch.manual_seed(seed)
    return MLRM(MLRMConfig.paper(trunk="efficientnet_lite0", image_size=SIDE))


class KilledError(Exception):
    """Stands for the end of the process."""


def pretrainer(
    data: Path, out: Path, options: PretrainOptions, *, validation: int = 0, model_seed: int = 0, killed_at: int = 0
) -> Pretrainer:
    """A pretrainer on the shop's products; its process ends in step `killed_at`, if one is given."""

    def progress(what: str, done: int, total: int) -> None:
        if what == "pretrain" and done == killed_at:
            raise KilledError

    pairs, held_out = read_training([data / "shop"], [], [validation], SIDE, 0, silent)
    return Pretrainer(small_model(model_seed), pairs, held_out, options, out, CPU, progress)


def test_band_features_are_unit_means_over_bands() -> None:
    level3 = torch.rand(2, 4, 6, 7)
    features = band_features(level3, 3)
    for band in range(3):
        mean = level3[:, :, 2 * band : 2 * band + 2].mean((2, 3))
        torch.testing.assert_close(features[:, band], torch.nn.functional.normalize(mean, dim=1))


def test_the_distance_is_the_mean_over_bands() -> None:
    sketch, photo = torch.rand(2, 3, 5), torch.rand(4, 3, 5)
    expected = (sketch[:, None] - photo[None]).norm(dim=3).mean(2)
    torch.testing.assert_close(band_distance(sketch, photo), expected)


def test_the_loss_is_low_where_each_finds_its_own_and_treats_both_sides_alike() -> None:
    distance = torch.tensor([[0.1, 0.9], [0.8, 0.2]])
    assert contrastive_loss(distance) < 1e-4 < 5 < contrastive_loss(distance.flip(0))
    torch.testing.assert_close(contrastive_loss(distance), contrastive_loss(distance.T))


def test_the_trunks_later_stages_alone_are_trained_and_the_result_can_be_loaded(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "trunk.safetensors"
    run = pretrainer(data, out, PretrainOptions(steps=2, batch=3, validate_every=1), validation=2)
    model = run.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    lines: list[str] = []
    state = run.run(lines.append)
    after = model.state_dict()
    touched = {name for name, value in before.items() if not torch.equal(value, after[name])}
    parameters = {f"networks.0.trunk.{name}" for name, _ in model.network().trunk.named_parameters()}
    early = ("_conv_stem.", "_bn0.", *(f"_blocks.{block}." for block in range(5)))
    assert touched == {name for name in parameters if not name.removeprefix("networks.0.trunk.").startswith(early)}
    assert [line.split(",")[0] for line in lines] == ["step 1/2", "step 2/2"]
    assert all("shop " in line for line in lines)
    with run.curve.open() as file:
        assert [(row["step"], row.keys()) for row in csv.DictReader(file)] == [
            ("1", {"step", "loss", "shop"}),
            ("2", {"step", "loss", "shop"}),
        ]
    safetensors.torch.save_file(state, out)
    fresh = MLRM(model.config)
    load_trunk_weights(fresh, str(out))
    assert all(torch.equal(value, state[name]) for name, value in fresh.network().trunk.state_dict().items())


def test_the_whole_trunk_is_trained_where_its_early_stages_are_not_frozen(data: Path, tmp_path: Path) -> None:
    run = pretrainer(data, tmp_path / "trunk.safetensors", PretrainOptions(steps=1, batch=2, freeze_early=False))
    before = {name: value.clone() for name, value in run.trunk.named_parameters()}
    run.run(silent_line)
    assert [name for name, value in run.trunk.named_parameters() if torch.equal(value, before[name])] == []


def test_a_run_is_determined_by_its_seed(data: Path, tmp_path: Path) -> None:
    def trained(seed: int) -> torch.Tensor:
        options = PretrainOptions(steps=1, batch=2, seed=seed)
        return pretrainer(data, tmp_path / "t.safetensors", options).run(silent_line)["_conv_head.weight"]

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


def test_chunks_on_several_threads_add_up_to_the_gradient_of_the_whole(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of two images and one of all six: the same gradients but for bfloat16's noise."""
    found = []
    for chunk in (2, 6):
        monkeypatch.setattr(mlrm.pretrainer, "CHUNK", chunk)
        run = pretrainer(data, tmp_path / "t.safetensors", PretrainOptions(steps=1, batch=3))
        with ThreadPoolExecutor(2) as workers:
            run._step(next(run.batches), workers)
        found.append(torch.cat([p.grad.flatten() for p in run.trained if p.grad is not None]))
    assert len(found[0]) == sum(p.numel() for p in run.trained)
    assert torch.nn.functional.cosine_similarity(*found, dim=0) > 0.99
    assert abs(found[0].norm() / found[1].norm() - 1) < 0.05


def test_a_killed_run_goes_on_to_what_it_would_have_been(data: Path, tmp_path: Path) -> None:
    """To the last bit; what was done after the last validation is done again, whatever model it starts from."""
    options = PretrainOptions(steps=3, batch=2, validate_every=1)
    whole = pretrainer(data, tmp_path / "whole.safetensors", options).run(silent_line)
    out = tmp_path / "killed.safetensors"
    with pytest.raises(KilledError):
        pretrainer(data, out, options, killed_at=2).run(silent_line)
    again = pretrainer(data, out, options, model_seed=1)
    again.resume()
    assert again.step == 1
    resumed = again.run(silent_line)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert again.curve.read_text() == (tmp_path / "whole.csv").read_text()


def test_a_run_may_be_lengthened_and_nothing_else_changed(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.safetensors"
    pretrainer(data, out, PretrainOptions(steps=1, batch=2)).run(silent_line)
    longer = pretrainer(data, out, PretrainOptions(steps=2, batch=2))
    longer.resume()
    assert longer.step == 1
    with pytest.raises(ConfigError, match="resume with the same options"):
        pretrainer(data, out, PretrainOptions(steps=2, batch=3)).resume()
    with pytest.raises(ConfigError, match="Resume with the same files"):
        pretrainer(data, out, PretrainOptions(steps=2, batch=2), validation=1).resume()
    longer.last.write_bytes(b"no state")
    with pytest.raises(CheckpointError, match="remove it"):
        longer.resume()


def test_the_learning_rate_rises_stays_and_falls_to_nothing(data: Path, tmp_path: Path) -> None:
    run = pretrainer(data, tmp_path / "t.safetensors", PretrainOptions(steps=1000))
    factors = {}
    for run.step in (0, 49, 400, 699, 850, 999):
        factors[run.step] = run._lr_factor()
    assert factors == pytest.approx({0: 0.02, 49: 1, 400: 1, 699: 1, 850: 0.5, 999: 1 / 300})


def test_an_infinite_loss_stops_it(data: Path, tmp_path: Path) -> None:
    run = pretrainer(data, tmp_path / "t.safetensors", PretrainOptions(steps=1, batch=2))
    with torch.no_grad():
        run.trunk.get_parameter("_conv_head.weight")[0] = torch.nan
    with pytest.raises(TrainingError, match="lower --lr"):
        run.run(silent_line)
    assert not run.last.exists()


def test_pseudo_products_join_their_category_with_less_weight_and_none_of_its_products(
    data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data / "shop", tmp_path / "twin")  # photos called as those of the category
    pairs, held_out = read_training([data / "shop"], [], [2], SIDE, 0, silent, [("shop", tmp_path / "twin")])
    products = pairs.categories["shop"]
    drawn = {key for key in products if key.startswith("twin/")}
    assert (len(drawn), len(products) - len(drawn), len(held_out["shop"].photos)) == (5, 3, 2)
    assert {products[key].weight for key in drawn} == {PSEUDO_WEIGHT}
    assert {products[key].weight for key in products.keys() - drawn} == {1.0}


def test_pseudo_products_of_no_category_are_refused(data: Path) -> None:
    with pytest.raises(ConfigError, match="no --data folder is called 'shoes'"):
        read_training([data / "shop"], [], [2], SIDE, 0, silent, [("shoes", data / "drawn")])


@pytest.mark.parametrize("options", [{"steps": 0}, {"batch": 1}, {"lr": 0}, {"validate_every": 0}, {"seed": -1}])
def test_options_that_make_no_sense_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        PretrainOptions(**options)


def test_the_command_writes_a_trunk_and_says_what_is_next(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "trunk.safetensors"
    main([data / "shop"], out, [f"shop={data / 'drawn'}"], trunk_weights="none", validation=[0], steps=1, batch=2)
    assert "mlrm.train --trunk-weights" in capsys.readouterr().err
    load_trunk_weights(small_model(), str(out))


def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([data / "shop"], tmp_path / "nowhere" / "trunk.safetensors")
    assert ConfigError.__name__ in capsys.readouterr().err


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError):
        load_trunk_weights(small_model(), str(tmp_path / "other.safetensors"))
