"""The choice of short codes: by measuring, kept in the catalogue, made anew when it is due."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine import optimize as module
from engine.cli import app
from engine.gallery import Gallery
from engine.optimize import keep_up, optimize
from engine.plan import Measured, Plan, choose, expected_survivors, read_plan, write_plan
from engine.short_codes import CODES
from tests.engine.coded_gallery import add, gallery_of, joined, photos_drawn, sketches_drawn


@pytest.fixture(autouse=True)
def _few_allocations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALLOCATIONS", (96, 192))
    monkeypatch.setattr(module, "SAMPLE", 400)
    monkeypatch.setattr("engine.plan.MUST_SAVE", 2.0)  # of so few photos, codes would not pay


def measured(photo_bytes: int, cost: float) -> Measured:
    return Measured((4,), photo_bytes, 100, 10.0, 10.0, cost)


def test_the_cheapest_is_chosen_if_it_saves_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = [measured(100, 900.0), measured(200, 400.0), measured(300, 500.0)]
    monkeypatch.undo()
    assert choose(evidence, photos=10, row_bytes=100) == evidence[1]
    assert choose(evidence, photos=10, row_bytes=79) is None
    assert choose([], photos=10, row_bytes=100) is None


@pytest.mark.parametrize(
    ("counts", "photos", "expected"),
    [
        (((1000, 30.0), (4000, 60.0)), 16_000, 120.0),  # as the square root
        (((1000, 30.0), (4000, 120.0)), 16_000, 480.0),  # in proportion
        (((1000, 30.0), (4000, 30.0)), 4000 * 2**5, 120.0),  # not less than a power of 0.4
        (((1000, 0.0), (4000, 0.0)), 16_000, 0.0),
        (((1, 1.0), (1, 1.0)), 1, 1.0),
    ],
)
def test_survivors_are_carried_over(counts: tuple[tuple[int, float], ...], photos: int, expected: float) -> None:
    assert expected_survivors(counts, photos) == pytest.approx(expected)


def test_a_plan_survives_the_catalogue(tmp_path: Path) -> None:
    gallery = gallery_of(tmp_path / "g", photos_drawn(5))
    assert read_plan(gallery.path) is None
    plan = Plan("abc", 5, True, 0.25, (measured(100, 900.0), measured(200, 400.0)))
    write_plan(gallery.path, plan)
    assert read_plan(gallery.path) == plan
    assert "200 bytes a photo" in str(plan)
    assert "don't pay" in str(Plan(None, 5, False, 0.0, ()))


def test_info_tells_the_plan_and_counts_the_codes_bytes(tmp_path: Path) -> None:
    gallery = gallery_of(tmp_path / "g", photos_drawn(1200))
    before = gallery.info().bytes_on_disk
    plan = optimize(gallery)
    codes = sum(file.stat().st_size for file in (gallery.path / CODES).iterdir())
    assert gallery.info().bytes_on_disk >= before + codes > before
    shown = CliRunner().invoke(app, ["info", "--gallery", str(gallery.path)]).stdout
    assert f"{plan.chosen.photo_bytes if plan.chosen else 'no'} bytes a photo" in " ".join(shown.split())


def test_few_photos_need_no_codes(tmp_path: Path) -> None:
    gallery = gallery_of(tmp_path / "g", photos_drawn(50))
    assert optimize(gallery).basis is None
    assert not (gallery.path / CODES).exists()


def test_codes_that_do_not_pay_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = gallery_of(tmp_path / "g", photos_drawn(700))
    assert optimize(gallery, sketches_drawn(8)).basis is not None
    assert list((gallery.path / CODES).iterdir())
    monkeypatch.setattr("engine.plan.MUST_SAVE", 0.0)
    assert optimize(gallery, sketches_drawn(8)).basis is None
    assert not list((gallery.path / CODES).iterdir())


def test_the_choice_is_the_same_again(tmp_path: Path) -> None:
    gallery = gallery_of(tmp_path / "g", photos_drawn(700))
    first = optimize(gallery)
    assert not first.sketches
    assert optimize(gallery) == first
    assert optimize(gallery, sketches_drawn(8)).sketches


def test_large_galleries_get_codes_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = gallery_of(tmp_path / "g", photos_drawn(700))
    assert keep_up(gallery) is None
    monkeypatch.setattr(module, "AUTOMATIC", 600)
    plan = keep_up(gallery)
    assert plan is not None
    assert plan.photos == 700
    assert keep_up(gallery) == plan
    monkeypatch.setattr(module, "GROWN", 1.5)
    add(gallery, photos_drawn(700, seed=3), first=700)
    again = keep_up(gallery)
    assert again is not None
    assert again.photos == 1400


def test_drift_makes_a_new_plan(tmp_path: Path) -> None:
    gallery = gallery_of(tmp_path / "g", photos_drawn(700))
    plan = optimize(gallery)
    add(gallery, photos_drawn(600, seed=3), first=700)
    assert keep_up(gallery) == plan
    drifted = photos_drawn(600, seed=4)
    for level in drifted.levels:
        level[:] = level[:, :, list(range(level.shape[2] - 1, -1, -1))].clone()
    add(gallery, drifted, first=1300)
    again = keep_up(gallery)
    assert again is not None
    assert again != plan
    assert again.photos == 1900


def test_the_command_says_what_it_tried(tmp_path: Path) -> None:
    gallery = gallery_of(tmp_path / "g", joined(photos_drawn(400), photos_drawn(300, seed=2)))
    result = CliRunner().invoke(app, ["optimize", "--gallery", str(gallery.path)])
    assert result.exit_code == 0
    assert "coordinates" in result.output
    plan = read_plan(gallery.path)
    assert plan is not None
    assert plan.basis is not None
    spoilt = next((gallery.path / CODES).glob("basis-*"))
    spoilt.write_bytes(spoilt.read_bytes()[:-1])
    result = CliRunner().invoke(app, ["verify", "--gallery", str(gallery.path)])
    assert "the basis of all short codes: not what was written, and deleted" in result.output
    assert not spoilt.exists()
    assert keep_up(Gallery.open(gallery.path)) is not None
    assert CliRunner().invoke(app, ["optimize", "--gallery", str(tmp_path / "none")]).exit_code == 1
