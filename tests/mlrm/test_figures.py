"""Figures: their numbers by hand, and the command on drawn pairs and small files of results."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer import Typer
from typer.testing import CliRunner, Result

from mlrm.checkpoint import load
from mlrm.errors import ConfigError
from mlrm.figures import attention, curves, nearest, trade
from mlrm.figures.__main__ import main
from mlrm.figures.pairs import Pictures, Seen, read, see, spread
from mlrm.figures.style import MISS, OWN, WEIGHTS, save
from tests.engine.conftest import write_checkpoint

PRETRAINING = "step,loss,shoes,chairs\n100,0.4,0.30,0.80\n200,0.3,0.35,0.85\n"
TRAINING = (
    "epoch,lr,loss/total,loss/gtrp_in,shoes/acc1,shoes/acc5,shoes/acc10\n1,1,2.0,1.0,,,\n2,1,1.5,0.7,0.4,0.6,0.8\n"
)


def grid(*cells: tuple[int, int]) -> torch.Tensor:
    """One region's map of 4 x 4 cells."""
    one = torch.zeros(4, 4)
    for cell in cells:
        one[cell] = 1
    return one


def white() -> torch.Tensor:
    return torch.full((3, 64, 64), 255, dtype=torch.uint8)


def drawn_in(*corners: tuple[int, int]) -> torch.Tensor:
    """A white picture with a black square of 8 pixels at each corner (y, x)."""
    image = white()
    for y, x in corners:
        image[:, y : y + 8, x : x + 8] = 0
    return image


def test_equal_regions_overlap_wholly_and_disjoint_ones_not_at_all() -> None:
    image = [drawn_in((20, 20))]
    same = attention.reach(torch.stack([grid((0, 0)), grid((0, 0))])[None], image)
    apart = attention.reach(torch.stack([grid((0, 0)), grid((3, 3))])[None], image)
    assert (same.overlap, apart.overlap) == (1, 0)
    assert (same.cells, apart.cells) == (1 / 16, 2 / 16)


def test_what_regions_hold_of_the_object_is_counted_in_pixels_that_differ_from_the_border() -> None:
    image = drawn_in((4, 4), (36, 36), (36, 20))  # in the cells (0, 0), (2, 2) and (2, 1)
    held = attention.reach(torch.stack([grid((2, 2)), grid((0, 0), (3, 3))])[None], [image])
    assert held.object == pytest.approx(2 / 3)
    assert int(attention.object_mask(image).sum()) == 3 * 64
    assert attention.reach(grid((0, 0))[None, None], [white()]).object == 0


def test_what_is_shown_is_spread_evenly() -> None:
    assert spread(3, 9) == [1, 4, 7]
    assert spread(5, 2) == [0, 1]


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return read(None, "test", 8, 224, lambda what, done, total: None)


@pytest.fixture(scope="module")
def seen(pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    model = load(write_checkpoint(tmp_path_factory.mktemp("model") / "tiny.safetensors"))
    return see("tiny", model, pictures, torch.device("cpu"), lambda what, done, total: None)


def test_a_ranking_names_the_own_photos_place_among_all(pictures: Pictures, seen: Seen) -> None:
    found, numbers = nearest.rankings(pictures, seen, range(8))
    assert numbers.photos == 8
    for one in found:
        assert one.distances == sorted(one.distances)
        own = pictures.photo_of[one.sketch]
        assert (own in one.photos) == (one.own_rank <= 5)
        if own in one.photos:
            assert one.photos.index(own) + 1 == one.own_rank
    assert numbers.acc1 == sum(one.own_rank == 1 for one in found) / 8


def test_a_missed_photo_is_shown_apart(pictures: Pictures, seen: Seen) -> None:
    swapped = Pictures(**vars(pictures) | {"photo_of": [(own + 4) % 8 for own in pictures.photo_of]})
    found, _ = nearest.rankings(swapped, seen, range(8))
    missed = [one.sketch for one in found if one.own_rank > 5]
    assert missed
    figure = nearest.draw(swapped, seen, missed)
    frames = [axes.spines["left"].get_edgecolor() for axes in figure.axes]
    colours = [tuple(round(255 * part) for part in frame[:3]) for frame in frames]
    assert colours.count(_rgb(OWN)) == len(missed)
    assert colours.count(_rgb(MISS)) == 5 * len(missed)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def test_the_same_figure_is_the_same_file_and_names_its_weights(pictures: Pictures, seen: Seen, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(attention.draw(pictures, [seen], [1]), tmp_path / name, "abc")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert Image.open(tmp_path / "a.png").text == {WEIGHTS: "abc"}


def test_curves_of_both_kinds_are_read(tmp_path: Path) -> None:
    (tmp_path / "trunk.csv").write_text(PRETRAINING)
    (tmp_path / "log.csv").write_text(TRAINING)
    first, second = (curves.read(tmp_path / name) for name in ("trunk.csv", "log.csv"))
    assert first.losses == {"loss": [(100, 0.4), (200, 0.3)]}
    assert first.accuracies["chairs"] == [(100, 0.8), (200, 0.85)]
    assert second.losses["gtrp_in"] == [(1, 1.0), (2, 0.7)]
    assert second.accuracies == {"shoes, acc@1": [(2, 0.4)], "shoes, acc@10": [(2, 0.8)]}


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "epoch,loss/total\n1,none\n"])
def test_another_table_is_no_training_log(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(ConfigError, match="is no training log; expected"):
        curves.read(tmp_path / "x.csv")


def write_comparison(folder: Path, size: str = "shoes") -> tuple[Path, Path]:
    times, accuracy = folder / "times.json", folder / "accuracy.json"
    row = {"method": "TC-Net", "way": "cdist", "sketches": 4, "photos": 5}
    times.write_text(json.dumps({"table2": [row | {"size": size, "seconds": 0.02}]}))
    accuracy.write_text(json.dumps({"model": "abc", "rows": [row | {"data": "shoes", "acc1": 0.5}]}))
    return times, accuracy


def test_times_and_accuracies_of_the_same_rows_are_joined(tmp_path: Path) -> None:
    found = trade.read(*write_comparison(tmp_path))
    assert found == trade.Comparison([trade.Point("shoes", "TC-Net", "cdist", 5.0, 0.5, 4, 5)], "abc")
    times, accuracy = write_comparison(tmp_path, "ChairV2")
    with pytest.raises(ConfigError, match=r"no row is in both.*ChairV2"):
        trade.read(times, accuracy)
    with pytest.raises(ConfigError, match="are no results of the retrieval comparison"):
        trade.read(accuracy, times)


def run(*options: object) -> Result:
    app = Typer()
    app.command()(main)
    return CliRunner().invoke(app, [str(option) for option in options])


def test_the_command_draws_everything_for_two_models(tmp_path: Path) -> None:
    first, twin = write_checkpoint(tmp_path / "lama.safetensors"), tmp_path / "twin"
    twin.mkdir()
    second = write_checkpoint(twin / "best.pt", region_maps="cama")
    log = tmp_path / "trunk.csv"
    log.write_text(PRETRAINING)
    times, accuracy = write_comparison(tmp_path)
    options = ["--drawn", 4, "--against", second, "--log", log, "--times", times, "--accuracy", accuracy]
    result = run(first, *options, "--out", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 0, result.output
    names = {file.name for file in (tmp_path / "out").iterdir()}
    drawn = {"attention-drawn.png", "nearest-drawn.png"}
    assert names == {*drawn, "curves.png", "accuracy-time.png", "figures.json"}
    record = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert [one["regions"] for one in record["data"]["drawn"]] == ["lama", "cama"]
    assert [one["name"] for one in record["data"]["drawn"]] == ["lama", "twin"]
    prints = [one["fingerprint"] for one in record["data"]["drawn"]]
    assert record["weights"] == prints[0] == load(first).fingerprint() != prints[1]
    assert {Image.open(tmp_path / "out" / name).text[WEIGHTS] for name in drawn} == {record["weights"]}


def test_two_models_for_images_of_other_sizes_are_refused(tmp_path: Path) -> None:
    files = [write_checkpoint(tmp_path / f"{size}.safetensors", image_size=size) for size in (224, 256)]
    result = run(files[0], "--against", files[1], "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert not (tmp_path / "out").exists()


def test_by_itself_the_command_draws_what_lies_at_hand_and_names_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_checkpoint(tmp_path / "best.pt")
    monkeypatch.chdir(tmp_path)
    alone = run(checkpoint, "--drawn", 2, "--out", "alone", "--device", "cpu")
    assert alone.exit_code == 0, alone.output
    assert {file.name for file in Path("alone").iterdir()} == {
        "attention-drawn.png",
        "nearest-drawn.png",
        "figures.json",
    }
    said = " ".join(alone.output.split())
    assert "curves.png: left, there is no log.csv beside the checkpoint; --log FILE" in said
    assert f"accuracy-time.png: left, {trade.TIMES} isn't in this folder; --times FILE" in said

    (tmp_path / "log.csv").write_text(TRAINING)
    trade.RESULTS.mkdir(parents=True)
    for made, place in zip(write_comparison(tmp_path), (trade.TIMES, trade.ACCURACY), strict=True):
        made.rename(place)
    whole = run(checkpoint, "--drawn", 2, "--out", "whole", "--device", "cpu")
    assert whole.exit_code == 0, whole.output
    assert {"curves.png", "accuracy-time.png"} <= {file.name for file in Path("whole").iterdir()}
    assert "its accuracies are of the weights abc, not of this checkpoint" in " ".join(whole.output.split())
