"""Search by short codes is the canonical ranking, whatever the data; and what it says of itself is true."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from benches.cases import Case, Rows, draw, draw_large
from kernels import blocks
from kernels.blocks import GalleryBlock
from kernels.cpu import short
from kernels.cpu.rescore import rescore_pairs
from kernels.reference import canonical_distance
from kernels.short import search
from kernels.short.search import CodedRun, nearest_screened
from kernels.short.sketches import Screened
from tests.kernels.short_cases import coded, fitted, run_of
from tests.kernels.short_spectra import spectral

PHOTOS, SKETCHES = 1200, 100
"""More photos than `FEW`: where nearly all survive, the exact scan answers."""
KINDS = ("centred", "unit", "duplicates", "ties", "huge", "denormal", "zero-weights", "dead-rows")
TOP_K = 10
SEEDS, SOAK_SEEDS = 3, 14


def check(query: Rows, gallery: Rows, found: list[Screened], k: int, power: int = 1) -> None:
    """Ids, order and float64 distances of brute force, ties with rank k included."""
    owner = torch.arange(len(query)).repeat_interleave(len(gallery))
    rows = torch.arange(len(gallery)).repeat(len(query))
    # As tests of `rescore_pairs` show, the bits of `canonical_distance`; in a hundredth of the time.
    distance = rescore_pairs(query, owner, [GalleryBlock.of(gallery)], rows, power).view(len(query), len(gallery))
    live = torch.arange(len(gallery)) if gallery.live is None else gallery.live.nonzero()[:, 0]
    for number, answer in enumerate(found):
        assert answer.certified
        expected, order = distance[number, live].sort(stable=True)
        kept = int((expected <= expected[min(k, len(expected)) - 1]).sum())
        assert torch.equal(answer.nearest.distance, expected[:kept])
        assert torch.equal(answer.nearest.rows, live[order[:kept]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power", [1, 2])
def test_it_is_the_canonical_ranking(kind: str, power: int, pytestconfig: pytest.Config) -> None:
    """4,800 sketches; 22,400 with --soak."""
    for seed in range(SOAK_SEEDS if pytestconfig.getoption("--soak") else SEEDS):
        query, gallery = draw(Case(SKETCHES, PHOTOS, TOP_K, "fp16", kind, power=power, seed=seed))
        run = run_of(gallery, fitted(gallery, 96), [200, 0, 1000])
        check(query, gallery, nearest_screened(query, [run], TOP_K, region_weight_power=power), TOP_K, power)


@pytest.mark.parametrize("gap", [0.0, 0.7])
@pytest.mark.parametrize("decay", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("power", [1, 2])
def test_pruning_and_falling_through(decay: float, gap: float, power: int) -> None:
    """1,200 sketches. A flat spectrum prunes nothing and ends in the scan; a steep one leaves few photos."""
    gallery = spectral(3000, torch.float16, decay, 0.0, seed=0)
    query = spectral(SKETCHES, torch.float32, decay, gap, seed=1)
    found = nearest_screened(query, [run_of(gallery, fitted(gallery, 192))], TOP_K, region_weight_power=power)
    check(query, gallery, found, TOP_K, power)
    through = sum(one.fell_through for one in found)
    survivors = float(np.mean([one.survivors for one in found]))
    if decay == 0:
        assert through > 0.25 * SKETCHES
    elif decay == 2:
        assert through == 0
        assert survivors < 0.05 * len(gallery)


@pytest.mark.parametrize("k", [1, 9, 10, 11, 200, 699, 700, 2000])
def test_any_k(k: int) -> None:
    query, gallery = draw(Case(5, 700, k))
    check(query, gallery, nearest_screened(query, [run_of(gallery, fitted(gallery, 96))], k), k)


@pytest.mark.parametrize("photos", [1, 2, 47, 48, 49, 97])
def test_any_number_of_photos(photos: int) -> None:
    query, gallery = draw(Case(5, photos, 3, "fp16", "centred"))
    check(query, gallery, nearest_screened(query, [run_of(gallery, fitted(gallery, 64))], 3), 3)


def two_clusters() -> Rows:
    _, gallery = draw(Case(1, 700, 1, "fp16", "unit"))
    towards = (torch.arange(700) % 2 * 2 - 1)[:, None, None]
    return replace(gallery, levels=tuple((level * 0.01 + towards * 0.5).half() for level in gallery.levels))


def all_identical() -> Rows:
    _, gallery = draw(Case(1, 700, 1, "fp16", "unit"))
    return gallery[torch.zeros(700, dtype=torch.int64)]


def one_far_outlier() -> Rows:
    _, gallery = draw(Case(1, 700, 1, "fp16", "unit"))
    for level in gallery.levels:
        level[13] = 60000
    return gallery


def zeros() -> Rows:
    _, gallery = draw(Case(1, 700, 1, "fp16", "unit"))
    return replace(
        gallery, levels=tuple(level * (torch.arange(700) % 3 > 0)[:, None, None] for level in gallery.levels)
    )


@pytest.mark.parametrize("make", [two_clusters, all_identical, one_far_outlier, zeros])
@pytest.mark.parametrize("coordinates", [0, 40, 120])
@pytest.mark.parametrize("power", [1, 2])
def test_adversarial_galleries(make: object, coordinates: int, power: int, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = make()  # type: ignore[operator]
    query, _ = draw(Case(12, 1, 1, "fp16", "unit"))
    for own, theirs in zip(query.levels, gallery.levels, strict=True):
        own[:3] = theirs[11:14].float()  # queries that are photos, the outlier too
        own[3] = 0
    run = run_of(gallery, fitted(gallery, coordinates))
    check(query, gallery, nearest_screened(query, [run], TOP_K, region_weight_power=power), TOP_K, power)
    monkeypatch.setattr(search, "FEW", 0)
    found = nearest_screened(query, [run], TOP_K, region_weight_power=power)
    check(query, gallery, found, TOP_K, power)
    if make is all_identical:
        assert all(one.fell_through and one.rescored == 700 for one in found)
        assert all(one.rows_read >= 700 + TOP_K for one in found)  # those that looked nearest twice


def mixed() -> tuple[Rows, Rows, list[CodedRun]]:
    """Three runs: of a basis, of another one, and without codes."""
    query, gallery = draw(Case(8, 700, TOP_K, "fp16", "dead-rows"))
    parts = [gallery[:300], gallery[300:450], gallery[450:]]
    runs = [run_of(parts[0], fitted(parts[0], 96)), run_of(parts[1], fitted(gallery, 48))]
    last = parts[2]
    return (
        query,
        gallery,
        [
            *runs,
            CodedRun((GalleryBlock(last.levels, last.region_weights, last.level_weights, last.live),), None),
        ],
    )


def test_old_and_new_codes_and_none_side_by_side() -> None:
    query, gallery, runs = mixed()
    check(query, gallery, nearest_screened(query, runs, TOP_K), TOP_K)


def test_the_answer_does_not_depend_on_groups_of_sketches(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery, runs = mixed()
    whole = nearest_screened(query, runs, TOP_K)
    monkeypatch.setattr(search, "MATRIX_VALUES", 1)
    parts = nearest_screened(query, runs, TOP_K)
    assert [one.nearest.rows.tolist() for one in parts] == [one.nearest.rows.tolist() for one in whole]
    check(query, gallery, parts, TOP_K)


def test_sketches_that_fall_through_are_scanned_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the others' answers are their own."""
    query, gallery, runs = mixed()
    alone = [nearest_screened(query[slice(number, number + 1)], runs, TOP_K)[0] for number in range(len(query))]
    monkeypatch.setattr(search, "FEW", int(np.median([one.survivors for one in alone])))
    monkeypatch.setattr(search, "SCAN_SHARE", len(gallery))
    scans, scan = list[int](), search.nearest
    monkeypatch.setattr(
        search, "nearest", lambda of, *rest, **more: scans.append(len(of.region_weights)) or scan(of, *rest, **more)
    )
    found = nearest_screened(query, runs, TOP_K)
    check(query, gallery, found, TOP_K)
    assert scans == [sum(one.fell_through for one in found)]
    assert 0 < scans[0] < len(query)


def test_rows_are_asked_for_once_for_all_sketches_and_not_too_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery, run, _ = large()
    whole = nearest_screened(query, [run], TOP_K)
    monkeypatch.setattr(search, "ASKED_ROWS", 100)
    told = list[Tensor]()
    found = nearest_screened(query, [run], TOP_K, ahead=lambda rows: told.append(torch.from_numpy(rows)))
    seeds, *others = told
    assert len(seeds) == len(query) * (TOP_K + TOP_K // 4 + search.SEEDS)
    assert all(0 < len(rows) <= 100 and (rows.diff() > 0).all() for rows in others)
    read = sum(one.rows_read for one in found)
    assert len(others) == -(-(read - len(seeds)) // 100)
    assert sum(map(len, others)) < read - len(seeds)  # sketches share rows
    check(query, gallery, found, TOP_K)
    assert [one.rescored for one in found] == [one.rescored for one in whole]


def large() -> tuple[Rows, Rows, CodedRun, Tensor]:
    channels = (16, 32, 96)
    gallery = draw_large(3000, channels, torch.float16, seed=0)
    query = draw_large(20, channels, torch.float32, seed=1)
    return query, gallery, run_of(gallery, fitted(gallery, 256)), canonical_distance(query, gallery)


def test_few_photos_survive_and_the_counts_say_so() -> None:
    query, gallery, run, distance = large()
    found = nearest_screened(query, [run], TOP_K)
    check(query, gallery, found, TOP_K)
    for number, one in enumerate(found):
        assert not one.fell_through
        assert (distance[number] <= one.nearest.distance[-1]).sum() <= one.survivors < 1500
        assert one.rescored <= one.rows_read <= one.survivors + TOP_K + search.SEEDS
    assert np.mean([one.rows_read for one in found]) < 600
    assert np.mean([one.rescored for one in found]) < 60


def test_the_weights_of_all_photos_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may lie on a disk, and the codes know the largest of them."""
    query, gallery, run, _ = large()
    asked, heaviest = list[int](), blocks._heaviest
    monkeypatch.setattr(blocks, "_heaviest", lambda of: asked.append(len(of.region_weights)) or heaviest(of))
    check(query, gallery, nearest_screened(query, [run], TOP_K), TOP_K)
    assert asked == [len(query.region_weights)]


def test_bounded_work_says_whether_it_is_proven() -> None:
    query, _, run, distance = large()
    truth = distance.sort(dim=1).indices[:, :TOP_K]
    counts = {}
    for most in (TOP_K, 40, 3000):
        found = nearest_screened(query, [run], TOP_K, most=most)
        assert all(one.rescored <= one.rows_read <= most for one in found)
        for number, one in enumerate(found):
            if one.certified:
                assert torch.equal(one.nearest.rows, truth[number])
        counts[most] = sum(one.certified for one in found)
    assert counts[TOP_K] < counts[3000] == len(distance)


def test_without_bounds_photos_would_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation that shows `check` to be sharp: bounds a tenth too high."""
    query, gallery, run, _ = large()
    exact = short.screen

    def too_high(*arguments: object) -> object:
        found = exact(*arguments)  # type: ignore[arg-type]
        return found._replace(lower=found.lower * 1.3, estimate=found.estimate[:, ::-1].copy())

    monkeypatch.setattr(short, "screen", too_high)
    found = nearest_screened(query, [run], TOP_K)
    with pytest.raises(AssertionError):
        check(query, gallery, found, TOP_K)


def test_bad_arguments_are_refused() -> None:
    query, gallery = draw(Case(2, 30, 1))
    run = run_of(gallery, fitted(gallery, 32))
    with pytest.raises(ValueError, match="at least 1"):
        nearest_screened(query, [run], 0)
    with pytest.raises(ValueError, match="at least 1"):
        nearest_screened(query, [run], 1, most=0)
    with pytest.raises(ValueError, match="30 photos for 29 rows"):
        CodedRun((GalleryBlock.of(gallery[:29]),), coded(fitted(gallery, 32), gallery))


def test_no_photos_and_no_sketches() -> None:
    query, gallery = draw(Case(2, 30, 1))
    basis = fitted(gallery, 32)
    dead = replace(gallery, live=torch.zeros(30, dtype=torch.bool))
    assert [len(one.nearest.rows) for one in nearest_screened(query, [run_of(dead, basis)], 5)] == [0, 0]
    assert [len(one.nearest.rows) for one in nearest_screened(query, [], 5)] == [0, 0]
    assert nearest_screened(query[:0], [run_of(gallery, basis)], 5) == []
