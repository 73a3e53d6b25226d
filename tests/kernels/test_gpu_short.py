"""The Triton screen of short codes: bounds, lists and the search by them; on a GPU, or under Triton's interpreter.

`test_gpu_interpreter.py` runs this file in a process with TRITON_INTERPRET=1.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benches.cases import Case, Rows, draw
from kernels import gpu
from kernels.blocks import GalleryBlock
from kernels.cpu.short import screen
from kernels.reference import canonical_distance
from kernels.short import codes as encoding
from kernels.short import operands
from kernels.short.basis import Basis, Term
from kernels.short.bounds import bounds
from kernels.short.codes import ShortCodes, join, rounded_down, rounded_up
from kernels.short.search import CodedRun, nearest_screened
from kernels.short.sketches import Screened
from tests.kernels import short_tight as tight
from tests.kernels.short_cases import coded, fitted, one_basis, one_term, prepared

pytest.importorskip("triton")

from kernels.gpu import short_screen
from kernels.gpu.short_codes import ResidentCodes
from tests.kernels.test_gpu import device as device  # a fixture

TOP_K = 10
EVERYTHING = np.finfo(np.float32).max
SMALL = [
    Case(queries, photos, 1, "fp16", kind, power=power)
    for queries, photos, kind, power in (
        (1, 300, "centred", 1),
        (1, 129, "unit", 2),
        (3, 127, "unit", 1),
        (17, 140, "centred", 2),
        (5, 60, "huge", 1),
        (3, 60, "denormal", 1),
        (3, 100, "zero-weights", 2),
        (2, 1, "unit", 1),
    )
]


def screened(query: Rows, codes: ShortCodes, device: torch.device, power: int = 1) -> NDArray[np.float32]:
    """Lower bounds and estimates of all pairs, float32 [2, Q, N], as the pass with limits appends them."""
    ours = prepared(codes.basis, query)
    found = gpu.screen_codes(ours, gpu.hold_codes(codes, device), None, power)
    every = found.possible(np.full(len(query), EVERYTHING, np.float32))
    for one in every:
        assert np.array_equal(one.rows, np.arange(len(codes)))
    return np.array([[one.lower for one in every], [one.estimate for one in every]])


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_bounds_hold_and_are_the_processors(case: Case, device: torch.device) -> None:
    query, gallery = draw(case)
    codes = coded(fitted(gallery, 96), gallery)
    lower, estimate = screened(query, codes, device, case.power)
    assert (lower.astype(np.float64) <= canonical_distance(query, gallery, case.power).numpy()).all()
    ours = prepared(codes.basis, query)
    compiled, proven = screen(ours, codes, case.power), bounds(ours, codes, case.power)
    scale = proven.upper.clip(1e-30)
    assert (np.abs(lower - compiled.lower) <= 1e-3 * scale).all()
    assert (np.abs(estimate - compiled.estimate) <= 1e-3 * scale).all()
    if case.kind in ("centred", "unit"):
        assert (lower >= (1 - 1e-3) * proven.lower).all()
        assert (lower > 0).mean() > 0.9


def test_terms_of_any_width_and_tiles_that_are_not_full(device: torch.device) -> None:
    """No coordinates, one, a step of the tensor cores, one more, several; photos of two runs, tile after tile."""
    query, gallery = draw(Case(2, 130, 1, channels=(5, 40, 70)))
    whole = fitted(gallery, 400)
    widths = (0, 1, 32, 4, 33, 64, 5, 16, 17)
    terms = [
        replace(term, axes=term.axes[:n], steps=term.steps[:n]) for term, n in zip(whole.terms, widths, strict=True)
    ]
    basis = replace(whole, terms=tuple(terms))
    codes = join([coded(basis, gallery[:77]), coded(basis, gallery[77:])])
    lower, _ = screened(query, codes, device)
    assert (lower <= canonical_distance(query, gallery, 1).numpy()).all()
    assert np.allclose(lower, screen(prepared(basis, query), codes).lower, rtol=1e-4)


def test_what_is_unknown_bounds_nothing_and_spoils_nothing(device: torch.device) -> None:
    """A photo beyond float16, and a sketch beyond float32."""
    query, gallery = draw(Case(3, 60, 1, "fp16", "unit"))
    basis = fitted(gallery, 96)
    for level in gallery.levels:
        level[7] = 6e4
    query.levels[1][2] *= 1e30
    lower, estimate = screened(query, coded(basis, gallery), device)
    assert np.isfinite(estimate).all()
    assert (lower[:, 7] == 0).all()
    assert (lower[2] == 0).all()
    assert (np.delete(lower, 7, 1)[:2] > 0).all()


def test_dead_rows_are_in_no_list(device: torch.device) -> None:
    query, gallery = draw(Case(3, 200, 1, "fp16", "dead-rows"))
    assert gallery.live is not None
    held = gpu.hold_codes(coded(fitted(gallery, 96), gallery), device)
    found = gpu.screen_codes(prepared(held.basis, query), held, gallery.live, 1)
    living = gallery.live.nonzero()[:, 0].numpy()
    for one in found.possible(np.full(3, EVERYTHING, np.float32)):
        assert np.array_equal(one.rows, living)
    assert np.isin(found.likely(20).rows, living).all()


# Each slack alone, where its term is tight: with it the bound holds, without it not.


def too_high(query: Rows, gallery: Rows, codes: ShortCodes, device: torch.device) -> bool:
    return bool((screened(query, codes, device)[0] > canonical_distance(query, gallery, 1).numpy()).any())


@pytest.mark.parametrize("make", tight.HOLDING)
def test_tight_bounds_hold(make: Callable[[], tuple[Rows, Rows, Basis]], device: torch.device) -> None:
    query, gallery, basis = make()
    codes = coded(basis, gallery)
    assert not too_high(query, gallery, codes, device)
    if make in (tight.at_the_centre, tight.axis_too_long):
        assert (screened(query, codes, device)[0] >= (1 - 5e-6) * canonical_distance(query, gallery, 1).numpy()).all()


@pytest.mark.parametrize("factor", [0.0, 0.98])
def test_photo_error_is_needed_whole(factor: float, device: torch.device) -> None:
    query, gallery, basis = tight.collinear()
    assert too_high(query, gallery, tight.with_errors(coded(basis, gallery), factor), device)


@pytest.mark.parametrize("factor", [0.0, 0.98])
def test_what_the_integers_lose_is_needed_whole(factor: float, device: torch.device) -> None:
    query, gallery, basis = tight.integers_lost()
    codes = coded(basis, gallery)
    codes = replace(codes, scales=codes.scales._replace(reach=factor * codes.scales.reach))
    assert too_high(query, gallery, codes, device)


@pytest.mark.parametrize(("part", "side"), tight.ROUGH)
def test_errors_of_coordinates_and_cuts_are_needed(
    part: str, side: str, monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    for stated, found in ((0.011, False), (0.0, True)):
        with monkeypatch.context() as patched:
            query, gallery, basis = tight.rough(part, side, stated, patched)
            assert too_high(query, gallery, coded(basis, gallery), device) == found


@pytest.mark.parametrize("make", [tight.square_below_normal, tight.cut_below_normal])
def test_what_float16_loses_below_its_range_is_needed(
    make: Callable[[], tuple[Rows, Rows, Basis]], monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    query, gallery, basis = make()
    monkeypatch.setattr(operands, "FLOAT16_LOST", 0.0)
    assert too_high(query, gallery, coded(basis, gallery), device)


def test_rotation_error_is_needed_whole(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    departure = tight.axis_too_long()[2].terms[0].departure
    monkeypatch.setattr(Term, "departure", 0.98 * departure)
    query, gallery, basis = tight.axis_too_long()
    assert too_high(query, gallery, coded(basis, gallery), device)


def test_errors_must_be_rounded_outward(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    query, gallery, basis = tight.error_between_floats()
    assert not too_high(query, gallery, coded(basis, gallery), device)
    monkeypatch.setattr(encoding, "rounded_up", rounded_down)
    assert too_high(query, gallery, coded(basis, gallery), device)


def test_weights_must_be_rounded_down(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    query, gallery = one_term([[100.0]], torch.float32), one_term([[1.0]], torch.float16, 1 / 3)
    basis = one_basis([[1.0]], 1.0, 1)
    assert not too_high(query, gallery, coded(basis, gallery), device)
    monkeypatch.setattr(encoding, "rounded_down", rounded_up)
    assert too_high(query, gallery, coded(basis, gallery), device)


# The search.


def found_by_codes(query: Rows, gallery: Rows, device: torch.device, power: int = 1, **options: int) -> list[Screened]:
    held = gpu.hold_codes(coded(fitted(gallery, 96), gallery), device)
    there = gallery.to(device)
    block = GalleryBlock(there.levels, there.region_weights, there.level_weights, there.live)
    run = CodedRun((block,), held)
    return nearest_screened(query.to(device), [run], TOP_K, region_weight_power=power, impl="triton", **options)


def check(query: Rows, gallery: Rows, found: list[Screened], power: int = 1) -> None:
    distance = canonical_distance(query, gallery, power)
    live = torch.arange(len(gallery)) if gallery.live is None else gallery.live.nonzero()[:, 0]
    for number, answer in enumerate(found):
        expected, order = distance[number, live].sort(stable=True)
        kept = int((expected <= expected[min(TOP_K, len(expected)) - 1]).sum())
        assert answer.certified
        assert torch.equal(answer.nearest.distance, expected[:kept])
        assert torch.equal(answer.nearest.rows, live[order[:kept]])


@pytest.fixture(params=[False, True], ids=["all", "sampled"])
def sampled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether limits come from one tile in a few, as they do of a large gallery."""
    if request.param:
        monkeypatch.setattr(short_screen, "SAMPLED", 128)
        monkeypatch.setattr(short_screen, "SAMPLED_PER_WANTED", 1)
    return bool(request.param)


@pytest.mark.parametrize("kind", ["centred", "ties", "duplicates", "dead-rows"])
@pytest.mark.parametrize("queries", [1, 3])
def test_it_is_the_canonical_ranking(kind: str, queries: int, sampled: bool, device: torch.device) -> None:
    query, gallery = draw(Case(queries, 700, TOP_K, "fp16", kind, power=2))
    found = found_by_codes(query, gallery, device, 2)
    check(query, gallery, found, 2)
    if kind == "centred":
        assert not any(one.fell_through for one in found)


def test_a_list_that_overflows_ends_in_a_scan(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    """And where no scan is allowed, in an answer that says it is not proven."""
    query, gallery = draw(Case(2, 300, TOP_K, "fp16", "ties"))
    monkeypatch.setattr(short_screen, "SHORTEST_LIST", 16)
    monkeypatch.setattr(short_screen, "LIST_SHARE", 100)
    found = found_by_codes(query, gallery, device)
    check(query, gallery, found)
    assert all(one.fell_through and one.survivors > 16 for one in found)
    bounded = found_by_codes(query, gallery, device, most=20)
    assert not any(one.certified or one.fell_through for one in bounded)
    assert all(one.rescored <= 20 for one in bounded)


def test_codes_on_the_device_and_features_elsewhere(device: torch.device) -> None:
    """memory="codes": the processor rescores."""
    query, gallery = draw(Case(2, 300, TOP_K, "fp16", "centred"))
    held = gpu.hold_codes(coded(fitted(gallery, 96), gallery), device)
    found = nearest_screened(query, [CodedRun((GalleryBlock.of(gallery),), held)], TOP_K)
    check(query, gallery, found)


def test_the_codes_are_those_that_were_made(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied in chunks of a tile, too."""
    _, gallery = draw(Case(1, 130, 1))
    codes = coded(fitted(gallery, 96), gallery)
    whole = ResidentCodes.of(codes, device)
    monkeypatch.setattr("kernels.gpu.short_codes.CHUNK_TILES", 1)
    parts = ResidentCodes.of(codes, device)
    assert all(torch.equal(one, other) for one, other in zip(whole.photos, parts.photos, strict=True))
    assert len(whole) == 130
    assert whole.nbytes >= codes.nbytes * 130 / 144
