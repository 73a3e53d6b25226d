"""The learning curve: parts that are comparable, a ruler of all validation sketches, a study that goes on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlrm.errors import DatasetError
from mlrm.intervals import over_products
from mlrm.learning_cells import ALL, CELLS, KINDS, PHOTOS, SKETCHED, Cell, counts
from mlrm.learning_curve import Study, main, read_ruler, shown_products
from mlrm.learning_results import LearningCurve
from mlrm.procedural import write_pairs
from mlrm.tables.studies import LEARNING, learning_table
from mlrm.training_data import PSEUDO_WEIGHT
from mlrm.training_pairs import Identity, TrainingPairs


def products(sketched: int, photos: int, *, chairs: int = 0) -> TrainingPairs:
    """Shoes of both kinds, and chairs that were sketched; without images."""
    pairs = TrainingPairs(256)
    shoes = {f"shoe {number}": Identity([], []) for number in range(sketched)}
    shoes |= {f"photos/{number}": Identity([], [], PSEUDO_WEIGHT) for number in range(photos)}
    pairs.categories = {"shoes": shoes}
    if chairs:
        pairs.categories["chairs"] = {f"chair {number}": Identity([], []) for number in range(chairs)}
    return pairs


def cell(name: str) -> Cell:
    return next(cell for cell in CELLS if cell.name == name)


@pytest.mark.parametrize("one", CELLS, ids=lambda one: one.name)
def test_a_part_has_its_share_of_each_kind_and_as_much_weight_as_the_whole(one: Cell) -> None:
    pairs = products(sketched=40, photos=160, chairs=24)
    part = one.part(pairs, seed=0)
    expected = {SKETCHED: 40 * one.sketched, PHOTOS: 160 * one.photos}
    assert counts(pairs, part) == {"shoes": expected, "chairs": {SKETCHED: 24 * one.sketched, PHOTOS: 0}}
    for category, whole in pairs.categories.items():
        for belongs in KINDS.values():
            left = [name for name in part.categories[category] if belongs(whole[name])]
            weight = sum(part.categories[category][name].weight for name in left)
            assert weight == pytest.approx(sum(product.weight for product in whole.values() if belongs(product)))


def test_a_smaller_part_is_in_a_larger_and_names_and_seed_decide() -> None:
    pairs = products(sketched=40, photos=160)
    names = {one.name: set(one.part(pairs, seed=0).categories["shoes"]) for one in CELLS}
    assert names["an eighth of the photos"] < names["a quarter of the photos"] < names["half of the photos"]
    assert names["half of the photos"] < names["all"] == set(pairs.categories["shoes"])
    assert names["an eighth of the sketched products"] < names["half of the sketched products"] < names["all"]
    turned = products(sketched=40, photos=160)
    turned.categories["shoes"] = dict(reversed(pairs.categories["shoes"].items()))
    assert set(cell("half of the photos").part(turned, seed=0).categories["shoes"]) == names["half of the photos"]
    assert set(cell("half of the photos").part(pairs, seed=1).categories["shoes"]) != names["half of the photos"]


@pytest.mark.parametrize(
    ("pairs", "name", "message"),
    [
        (products(sketched=40, photos=0), "half of the photos", "give --pseudo"),
        (products(sketched=40, photos=3), "an eighth of the photos", "nothing is left of the 3"),
        (products(sketched=8, photos=0), "an eighth of the sketched products", "need 2 or more"),
    ],
)
def test_too_few_products_are_refused(pairs: TrainingPairs, name: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        cell(name).part(pairs, seed=0)


def test_an_interval_is_as_wide_as_products_differ_however_many_sketches_each_has() -> None:
    values, product_of = np.random.default_rng(0).random(60), list(range(60))
    once = over_products(values, product_of)
    assert over_products(np.repeat(values, 4), np.repeat(product_of, 4).tolist()) == pytest.approx(once)
    assert once.value == pytest.approx(values.mean())
    assert once.low < once.value < once.high
    spread = 1.96 * values.std() / 60**0.5
    assert (once.high - once.low) / 2 == pytest.approx(spread, rel=0.1)
    assert over_products([0.5] * 4, [0, 0, 1, 2]) == (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_pairs(folder / "shop", 6, seed=1)
    write_pairs(folder / "views", 6, seed=1, sketches_per_photo=2)
    write_pairs(folder / "drawn", 2, seed=2)
    return folder


@pytest.fixture
def small(data: Path, tmp_path: Path) -> dict[str, Any]:
    """Arguments of a study of two steps."""
    return {
        "data": [data / "shop"],
        "out": tmp_path / "curve.json",
        "pseudo": [f"shop={data / 'drawn'}"],
        "more_sketches": [f"shop={data / 'views'}"],
        "only": ["all", "half of the sketched products"],
        "trunk_weights": "none",
        "validation": [2],
        "steps": 2,
        "batch": 2,
        "validate_every": 1,
    }


def test_all_sketches_of_a_validation_product_are_one_product_in_galleries_of_their_own(data: Path) -> None:
    (name, parts), *others = read_ruler([data / "shop"], [2], [f"shop={data / 'views'}"]).items()
    assert (name, others) == ("shop", [])
    assert [(len(part.photos), len(part.sketches)) for part in parts] == [(2, 2), (2, 4)]
    assert sorted(shown_products(parts)) == [0, 0, 0, 1, 1, 1]


def test_a_study_reads_every_run_on_its_way_goes_on_and_refuses_other_options(
    small: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(**small)
    assert small["out"].with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    written = small["out"].read_text()
    study = json.loads(written)
    assert study["setting"]["gallery"] == {"shop: shop": 2, "shop: views": 2}
    assert [run["cell"] for run in study["results"]] == small["only"]
    assert [run["products"]["shop"] for run in study["results"]] == [
        {PHOTOS: 2, SKETCHED: 4},
        {PHOTOS: 2, SKETCHED: 2},
    ]
    for run in study["results"]:
        assert [point["step"] for point in run["points"]] == [1, 2]
        for point in run["points"]:
            ranks = [int(rank) for rank in point["shop"]["ranks"].split()]
            assert len(ranks) == 6
            assert set(ranks) <= {1, 2}
            assert point["shop"]["acc1"][0] == pytest.approx(np.mean(np.equal(ranks, 1)), abs=1e-4)
            assert point["shop"]["mrr"][0] == pytest.approx(np.mean(1 / np.array(ranks)), abs=1e-4)

    def repeated(*arguments: object) -> dict[str, Any]:
        raise AssertionError

    monkeypatch.setattr(Study, "run", repeated)
    main(**small)
    assert small["out"].read_text() == written
    with pytest.raises(SystemExit):
        main(**small | {"steps": 3})
    assert "was made with another options" in " ".join(capsys.readouterr().err.split())


def run_of(name: str, seed: int, sketched: int, ranks: str) -> dict[str, Any]:
    points = [{"step": 1, "shoes": {"ranks": "4 4 4"}}, {"step": 2, "shoes": {"ranks": ranks}}]
    return {"cell": name, "seed": seed, "products": {"shoes": {SKETCHED: sketched, PHOTOS: 1600}}, "points": points}


STUDY = {
    "setting": {"sketched_products": {"shoes": "0 0 1"}},
    "results": [
        run_of("all", 0, 40, "1 1 1"),
        run_of("all", 1, 40, "1 1 2"),
        run_of("half of the sketched products", 0, 20, "2 2 2"),
    ],
}


def test_seeds_are_averaged_and_compared_where_both_were_run() -> None:
    curve, half = LearningCurve(STUDY), "half of the sketched products"
    assert curve.steps(ALL.name) == [1, 2]
    found = [curve.estimate(ALL.name, "shoes", measure) for measure in ("acc1", "mrr")]
    assert [one and one.value for one in found] == pytest.approx([5 / 6, 11 / 12])
    assert curve.estimate(ALL.name, "shoes", "mrr", step=1) == (0.25, 0.25, 0.25)
    assert curve.lead_of_all(half, "shoes", "mrr") == (0.5, 0.5, 0.5)  # of seed 0 alone
    assert curve.estimate("half of the photos", "shoes", "mrr") is None
    assert curve.lead_of_all("half of the photos", "shoes", "mrr") is None


def test_the_table_has_the_steps_the_cells_and_what_all_reads_more(tmp_path: Path) -> None:
    empty = learning_table(tmp_path).splitlines()
    assert empty[2] == "| all |  |  | 0 |"
    (tmp_path / LEARNING).parent.mkdir()
    (tmp_path / LEARNING).write_text(json.dumps(STUDY))
    lines = learning_table(tmp_path).splitlines()
    assert lines[0].startswith("| trained on | sketched products | photos nobody sketched | shoes acc@1 % |")
    assert lines[2] == "| all, after 1 steps | 40 shoes | 1,600 | 0.0 [0.0, 0.0] | 25.0 [25.0, 25.0] |  | 2 |"
    assert lines[3].startswith("| all | 40 shoes | 1,600 | 83.3 [")
    assert (
        "| half of the sketched products | 20 shoes | 1,600 | 0.0 [0.0, 0.0] | 50.0 [50.0, 50.0] | +50.0 [" in lines[6]
    )
    assert len(lines) == 2 + 1 + len(CELLS)
