"""The ablation study: every cell trains, a stopped study goes on, and what is compared is comparable."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mlrm import MLRM, MLRMConfig
from mlrm.ablate import Study, chosen, main
from mlrm.ablation_cells import BASE, BY_PRODUCTS, CELLS, Cell, UniformWeights, WholeGrid, pass_by_pass
from mlrm.errors import ConfigError
from mlrm.losses import mlrm_losses
from mlrm.procedural import write_pairs
from mlrm.studies import mean_over_seeds, missing, read_results
from mlrm.train_options import LOSS_NAMES, TrainOptions
from mlrm.training_data import read_training
from mlrm.training_pairs import Identity, TrainingPairs

SIDE = 224


def silent(what: str, done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shop"
    write_pairs(folder, 4, seed=1)
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, shop: Path, tmp_path: Path) -> dict[str, Any]:
    """Arguments of a study that is over in no time: its cells' training is made up."""

    def run(study: Study, cell: Cell, seed: int) -> dict[str, Any]:
        return {"shop/acc1": 0.5 + seed / 10, "shop/acc10": 1.0, "seconds": 1.0}

    monkeypatch.setattr(Study, "run", run)
    return {"data": [shop], "out": tmp_path / "study.json", "trunk_weights": "none", "image_size": SIDE}


def cell(name: str) -> Cell:
    return next(cell for cell in (*CELLS, *BY_PRODUCTS) if cell.name == name)


@pytest.fixture(scope="module")
def study(shop: Path) -> Study:
    pairs, held_out = read_training([shop], [], [1], SIDE, 0, silent)
    options = TrainOptions(epochs=1, batch=3, separate_steps=1, cache_variants=2, evaluate_every=1)
    config = MLRMConfig.paper(
        trunk="efficientnet_lite0", image_size=SIDE, token_dim=32, transformer_layers=1, l2norm=True
    )
    return Study(pairs, held_out, config, options, "none", torch.device("cpu"), silent)


# Those that take a path of their own through the training; the others differ in numbers alone.
@pytest.mark.parametrize(
    "name",
    [
        "none: the whole grid",
        "level 1 alone",
        "1 region",
        "uniform weights",
        "attention over the batch",
        "statistics of a batch, pass by pass",
        "without a penalty",
        "half of the products",
    ],
)
def test_a_cell_trains_on_the_maps_of_the_first(study: Study, name: str) -> None:
    found = study.run(cell(name), seed=0)
    assert 0 <= found["shop/acc1"] <= found["shop/acc10"] == 1
    maps = study.early_maps
    assert maps is not None
    study.run(BASE, seed=1)
    assert study.early_maps is maps


@pytest.mark.parametrize(
    ("name", "products", "epochs"),
    [(BASE.name, 70, 6), ("half of the products", 35, 12), ("a quarter of the products", 18, 24)],
)
def test_fewer_products_are_trained_on_in_as_many_steps(
    study: Study, monkeypatch: pytest.MonkeyPatch, name: str, products: int, epochs: int
) -> None:
    class StoppedError(Exception):
        pass

    def trainer(model: MLRM, pairs: TrainingPairs, held_out: object, options: TrainOptions, *rest: object) -> None:
        assert [len(category) for category in pairs.categories.values()] == [products]
        assert (options.epochs, options.evaluate_every) == (epochs, epochs)
        assert options.epochs * pairs.steps_per_epoch(options.batch) == 24
        raise StoppedError

    pairs = TrainingPairs(SIDE)
    pairs.categories = {"shop": {f"{number}": Identity([], []) for number in range(70)}}
    options = TrainOptions(epochs=6, batch=18, evaluate_every=6)
    monkeypatch.setattr("mlrm.ablate.Trainer", trainer)
    with pytest.raises(StoppedError):
        replace(study, pairs=pairs, options=options).run(cell(name), seed=0)


def test_every_cell_is_a_model_and_a_way_to_train_it_of_its_own() -> None:
    names = [cell.name for cell in (*CELLS, *BY_PRODUCTS)]
    assert len(set(names)) == len(names)
    for cell in CELLS:
        MLRMConfig.paper(**cell.config)
        TrainOptions(**cell.training)
        alters = cell.change.__name__ != "<lambda>"
        assert (cell == BASE) == (not cell.config and not cell.training and not alters)


def test_without_regions_or_attention_a_map_is_1_everywhere_and_weights_are_equal() -> None:
    model = MLRM(MLRMConfig.paper(trunk="efficientnet_lite0", image_size=SIDE, regions=1)).eval()
    with torch.no_grad():
        x3 = torch.rand(1, 112, 14, 14)
        maps, level3 = WholeGrid()(model.network().trunk, x3, [])
        assert torch.equal(maps, torch.ones(1, 1, 7, 7))
        assert torch.equal(level3, model.network().trunk.tail(x3))
    region_weights, level_weights = UniformWeights()((level3, level3), torch.rand(2, 4, 7, 7))
    assert torch.equal(region_weights, torch.full((2, 4), 0.25))
    assert torch.equal(level_weights, torch.full((2, 4, 2), 0.5))


def test_pass_by_pass_differs_from_one_pass_only_by_the_statistics_of_a_batch() -> None:
    torch.manual_seed(0)
    model = MLRM(MLRMConfig.paper(trunk="efficientnet_lite0", image_size=SIDE)).eval()
    network = model.network()
    x3, low = torch.rand(2, 112, 14, 14), [torch.rand(2, 256, 7, 7), torch.rand(2, 512, 7, 7)]
    found = {}
    for training in (False, True):
        for form in ("one pass", "pass by pass"):
            if form == "pass by pass":
                pass_by_pass(model)
            network.trunk.train(training)
            with torch.no_grad():
                found[training, form] = network.regions(network.trunk, x3, low)[0]
        network.regions.__class__ = type(MLRM(model.config).network().regions)
    torch.testing.assert_close(found[False, "one pass"], found[False, "pass by pass"], atol=1e-4, rtol=0)
    # With statistics of its own a pass loses its constant: all regions are one.
    apart, together = found[True, "one pass"], found[True, "pass by pass"]
    assert (together[:, 0] - together[:, 1]).abs().max() < 1e-3 < (apart[:, 0] - apart[:, 1]).abs().max()


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_the_losses_that_can_be_left_out_are_those_there_are(name: str) -> None:
    torch.manual_seed(0)
    model = MLRM(MLRMConfig.paper(trunk="efficientnet_lite0", image_size=SIDE)).eval()
    with torch.no_grad():
        features = model(torch.rand(2, 3, SIDE, SIDE))
        assert name in mlrm_losses(features, features, model)


def test_runs_are_ordered_by_seed_and_not_repeated() -> None:
    done = [{"cell": CELLS[0].name, "seed": 0}]
    to_do = missing(done, CELLS[:2], 2)
    assert [(cell.name, seed) for cell, seed in to_do] == [
        (CELLS[1].name, 0),
        (CELLS[0].name, 1),
        (CELLS[1].name, 1),
    ]


def test_a_study_goes_on_and_one_of_another_setting_is_refused(
    small: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    main(**small, only=["base"])
    main(**small, only=["base", "penalties"], seeds=2)
    assert "1 runs in" in capsys.readouterr().err.replace("0 runs in", "")
    written = json.loads(small["out"].read_text())
    assert [(run["cell"], run["seed"]) for run in written["results"]] == [
        (cell.name, seed)
        for cell, seed in [(BASE, 0), *((c, 0) for c in CELLS if c.group == "penalties")]
        + [(c, 1) for c in CELLS if c.group in ("base", "penalties")]
    ]
    assert mean_over_seeds(written["results"], BASE.name, "shop/acc1") == (pytest.approx(0.55), 2)
    assert mean_over_seeds(written["results"], CELLS[1].name, "shop/acc1") is None
    with pytest.raises(SystemExit):
        main(**small, only=["base"], epochs=9)
    assert "was made with another options, steps" in " ".join(capsys.readouterr().err.split())


def test_a_study_goes_on_from_the_same_trunk_only_whatever_its_file_is_called(
    small: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: tmp_path / name / "trunk.safetensors" for name in ("first", "copy of first", "other")}
    for name, file in files.items():
        file.parent.mkdir()
        save_file({"conv": torch.full((2, 3), 2.0 if name == "other" else 1.0)}, file)
    main(**small | {"trunk_weights": str(files["first"])}, only=["base"])
    main(**small | {"trunk_weights": str(files["copy of first"])}, only=["base"])
    assert "1 runs in" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(**small | {"trunk_weights": str(files["other"])}, only=["base"])
    assert "was made with another trunk_weights (['sha256 " in " ".join(capsys.readouterr().err.split())


def test_a_study_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text("[]")
    with pytest.raises(ConfigError, match="give another --out"):
        read_results(tmp_path / "study.json", {})


def test_cells_are_chosen_by_name_or_group() -> None:
    assert chosen(None) == CELLS
    assert {cell.group for cell in chosen(["levels"])} == {"levels"}
    assert chosen(["p = 2"]) == (cell("p = 2"),)
    assert chosen(["products", "base"]) == (BASE, *BY_PRODUCTS)
    with pytest.raises(ConfigError, match=r"--only 'layers' is neither a cell nor a group of them \(base, region maps"):
        chosen(["layers"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": 0}, "--seeds is 0"),
        ({"validation": [0]}, "nothing to measure on"),
        ({"out": Path("nowhere") / "study.json"}, "there is no folder nowhere"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    small: dict[str, Any], capsys: pytest.CaptureFixture[str], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(SystemExit):
        main(**small | arguments)
    assert message in " ".join(capsys.readouterr().err.split())
