"""The choice of short codes: by measuring, kept in the catalogue, made anew when it is due."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from benches.cases import Rows
from engine import drift, planning
from engine import optimize as module
from engine.cli import app
from engine.drift import Drift, looseness
from engine.gallery import Gallery
from engine.optimize import keep_up, optimize
from engine.plan import (
    FURTHER_FIXED,
    RANDOM_COST,
    Measured,
    Plan,
    Second,
    cheapest_second,
    choose,
    expected_survivors,
    read_drift,
    read_plan,
    read_sketches,
    screen_cost,
    write_plan,
)
from engine.planning import TOP_K, TRIED_BY
from engine.short_codes import CODES, ShortCodeFiles
from engine.tried_sketches import from_text
from kernels.short.basis import Basis, Term
from kernels.short.codes import LARGEST_CODE
from kernels.short.fit import DEVIATIONS
from kernels.short.search import SEEDS
from tests.engine.coded_gallery import SHAPES, add, gallery_of, joined, photos_drawn, sketches_drawn
from tests.kernels.short_cases import coded


@pytest.fixture(autouse=True)
def _few_allocations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "ALLOCATIONS", (96, 192))
    monkeypatch.setattr(planning, "SAMPLE", 400)
    monkeypatch.setattr(drift, "JUDGED", 400)
    monkeypatch.setattr("engine.plan.FIXED_COST", 0.0)
    monkeypatch.setattr("engine.plan.MUST_SAVE", 6.0)  # of so few photos, codes would not pay


def measured(photo_bytes: int, cost: float) -> Measured:
    return Measured((4,), photo_bytes, 100, 10.0, 10.0, cost)


def test_the_cheapest_is_chosen_if_it_saves_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = [measured(100, 900.0), measured(200, 400.0), measured(300, 500.0)]
    monkeypatch.undo()
    assert choose(evidence, photos=10, row_bytes=151) == evidence[1]
    assert choose(evidence, photos=10, row_bytes=149) is None
    assert choose([], photos=10, row_bytes=100) is None


@pytest.mark.parametrize(
    ("photos", "survivors", "values", "photo_bytes", "pays"),
    [
        (2_716, 60, 6_144, 462, False),  # measured: as fast as a scan of float16, a third as fast as one of its codes
        (20_000, 100, 6_144, 462, True),
        (100_000, 2_524, 6_144, 462, True),
        (100_000, 349, 10_368, 878, True),
    ],
)
def test_the_model_of_costs_decides_as_times_do(
    photos: int, survivors: int, values: int, photo_bytes: int, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    cost = screen_cost(photos, photo_bytes, survivors, 2 * values)
    assert (choose([measured(photo_bytes, cost)], photos, 2 * values) is not None) == pays


def test_a_second_screen_is_weighed_behind_the_first_that_suits_it() -> None:
    """Short in itself it pays behind fewer coordinates, which leave it more; long it doesn't."""
    evidence = [Measured((4,), 100, 100, 10.0, expected, 0.0) for expected in (800.0, 100.0)]
    evidence[1] = replace(evidence[1], kept=(8,), photo_bytes=600)
    found = cheapest_second(evidence, 1000, 50, [(50, 20.0), (100, 30.0)], 1000)
    left = expected_survivors([(50, 20.0), (100, 30.0)], 1000)
    assert found == Second((4,), 50, 30.0, left, 1000 * 100 + RANDOM_COST * (800 * 50 + left * 1000))
    assert cheapest_second(evidence, 1000, 900, [(50, 20.0), (100, 30.0)], 1000).kept == (8,)


def test_the_plan_tells_what_a_second_screen_would_do(tmp_path: Path) -> None:
    gallery = gallery_of(tmp_path / "g", photos_drawn(700))
    plan = optimize(gallery)
    assert plan.second is not None
    assert plan.second.photo_bytes > SHAPES.regions * sum(SHAPES.level_dims)
    assert TOP_K + SEEDS <= plan.second.survivors < min(one.survivors for one in plan.evidence)
    assert read_plan(gallery.path) == plan


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
    write_plan(gallery.path, plan, Drift())
    assert read_plan(gallery.path) == plan
    assert "200 bytes a photo" in str(plan)
    assert "don't pay" in str(Plan(None, 5, False, 0.0, ()))


def test_several_sketches_are_searched_for_by_codes_as_long_as_that_costs_less() -> None:
    """A further sketch costs some of its own bytes by codes, and a scan what its products take."""
    plan = Plan("abc", 90_000, True, 0.25, (measured(400, 1e8),))
    further = FURTHER_FIXED + 90_000 * 400 / 3 + 10 * 12_000
    scan = 90_000 * 12_000 / 3
    assert plan.pays_for(1, 12_000, 0.0)
    last = int((scan - 1e8) / further) + 1
    assert plan.pays_for(last, 12_000, 0.0)
    assert not plan.pays_for(last + 1, 12_000, 0.0)
    assert plan.pays_for(1000, 12_000, 1.01 * further / scan)
    assert not Plan(None, 5, False, 0.0, ()).pays_for(1, 12_000, 1.0)


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


def reversed_channels(photos: Rows) -> Rows:
    return replace(photos, levels=tuple(level.flip(2) for level in photos.levels))


def turned(photos: Rows, _: Basis) -> Rows:
    """Along other axes than those kept."""
    return reversed_channels(photos)


def shifted(photos: Rows, basis: Basis) -> Rows:
    """Along the axes that are kept, ten standard deviations: nothing more is cut off, but codes clip."""
    for number, term in enumerate(basis.terms):
        if len(term.axes):
            far = 10 * term.axes[0] * (term.steps[0] * LARGEST_CODE / DEVIATIONS)
            photos.levels[number % basis.levels][:, number // basis.levels] += torch.from_numpy(far)
    return photos


def far_off(photos: Rows, _: Basis) -> Rows:
    """One photo in ten beyond what the codes' units hold: nothing is known of it."""
    there = (torch.arange(len(photos)) % 10 == 0)[:, None, None]
    return replace(photos, levels=tuple(level * (1 + 999 * there) for level in photos.levels))


@pytest.mark.parametrize("drifted", [turned, shifted, far_off])
def test_drift_makes_a_new_plan(drifted: Callable[[Rows, Basis], Rows], tmp_path: Path) -> None:
    """However few photos come at a time; and photos like the first ones don't."""
    gallery = gallery_of(tmp_path / "g", photos_drawn(700))
    plan = optimize(gallery)
    add(gallery, photos_drawn(600, seed=3), first=700)
    assert keep_up(gallery) == plan
    basis = ShortCodeFiles(gallery.path).read_basis(plan.basis or "")
    assert basis is not None
    came = drifted(photos_drawn(400, seed=4), basis)
    for start in range(0, 400, 100):
        assert keep_up(gallery) == plan
        add(gallery, came[start : start + 100], first=1300 + start)
    again = keep_up(gallery)
    assert again is not None
    assert again != plan
    assert again.photos == 1700
    assert read_drift(gallery.path) == Drift()
    assert keep_up(gallery) == again


def test_photos_that_a_compaction_moves_are_not_new(tmp_path: Path) -> None:
    gallery = gallery_of(tmp_path / "g", photos_drawn(700))
    plan = optimize(gallery)
    add(gallery, reversed_channels(photos_drawn(200, seed=4)), first=700)
    assert keep_up(gallery) == plan
    before = read_drift(gallery.path)
    assert before.photos == 200
    with gallery.writer() as writer:
        writer.compact()
    assert keep_up(gallery, added=False) == plan
    assert read_drift(gallery.path) == before


def test_a_new_plan_that_was_due_comes_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = gallery_of(tmp_path / "g", photos_drawn(700))
    plan = optimize(gallery)
    add(gallery, reversed_channels(photos_drawn(400, seed=4)), first=700)
    with monkeypatch.context() as patched:
        patched.setattr(module, "optimize", lambda *_: plan)  # as if nothing came of it
        assert keep_up(gallery) == plan
    again = keep_up(gallery)
    assert again is not None
    assert again.photos == 1100


def test_what_is_unknown_counts_and_no_more_than_it_costs() -> None:
    loose = np.array([0.5, 1.0, np.inf, 0.0])
    assert Drift(3, 4.0).after(loose, 0.5) == Drift(7, 4.0 + 1 + 2 + drift.LOOSEST)
    assert Drift().after(loose, 0.0) == Drift(4, 3 * drift.LOOSEST)
    assert not Drift(399, 1e9).enough(700)
    assert not Drift(400, 400 * drift.LOOSE).due
    assert Drift(400, 401 * drift.LOOSE).due
    assert not Drift(400, 0.0).enough(401 * drift.JUDGED_SHARE)


def test_looseness_is_what_codes_leave_unknown() -> None:
    """Two terms: cut and error, weighted; a side that is unknown, and one without a weight."""
    photos = Rows(
        (torch.tensor([[[3.0, 4.0]], [[0.5, 0.0]], [[6e4, 0.0]]]).half(), torch.full((3, 1, 1), 6e4).half()),
        torch.full((3, 1), 0.5),
        torch.tensor([[[0.5, 0.0]], [[1.0, 0.0]], [[1.0, 0.0]]]),
    )
    term = Term(np.zeros(2, "f4"), np.eye(2)[:1], np.ones(1, "f4"), 0.5)
    other = Term(np.zeros(1, "f4"), np.eye(1)[:0], np.ones(0, "f4"), 1.0)
    found = looseness(coded(Basis(1, (term, other)), photos))
    assert found == pytest.approx([0.25 * 4, 0.5 * 0.5, np.inf], rel=1e-3)


def test_a_later_plan_is_tried_by_the_same_sketches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a copy too; and no more of them are kept than try it."""
    gallery = gallery_of(tmp_path / "g", photos_drawn(700))
    sketches = sketches_drawn(TRIED_BY + 3)
    plan = optimize(gallery, sketches)
    assert optimize(gallery) == plan
    gallery.copy(tmp_path / "copy")
    assert keep_up(Gallery.open(tmp_path / "copy")) == plan
    kept = from_text(read_sketches(gallery.path) or "")
    assert kept is not None
    assert all(map(torch.equal, kept.levels, (level[:TRIED_BY] for level in sketches.levels)))
    assert torch.equal(kept.level_weights, sketches.level_weights[:TRIED_BY])
    add(gallery, reversed_channels(photos_drawn(400, seed=4)), first=700)
    again = keep_up(gallery)
    assert again is not None
    assert again.sketches
    assert again.photos == 1100


@pytest.mark.parametrize("text", ["", "no base64!", "bm8gdGVuc29ycw=="])
def test_sketches_that_cannot_be_read_are_none(text: str) -> None:
    assert from_text(text) is None


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
