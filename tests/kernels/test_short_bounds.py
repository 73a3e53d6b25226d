"""The intervals of short codes hold the canonical distance, where they are tight too; without a slack they don't."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benches.cases import Case, Rows, draw
from kernels.cpu import vnni
from kernels.cpu.short import screen
from kernels.short import bounds as twin
from kernels.short import codes as encoding
from kernels.short import operands, queries
from kernels.short.basis import Basis, Term
from kernels.short.bounds import bounds
from kernels.short.codes import join, rounded_down, rounded_up
from tests.kernels.short_cases import coded, ends, fitted, holds, one_basis, one_term, prepared
from tests.kernels.short_tight import collinear, error_between_floats, integers_lost, with_errors

CHANNELS = (6, 9, 21)


def random_basis(channels: tuple[int, ...], regions: int, seed: int, departure: float) -> Basis:
    """Any centre, any axes off orthonormal by about `departure`, any steps, any unit."""
    rng = np.random.default_rng(seed)
    terms = []
    for _ in range(regions):
        for width in channels:
            kept = int(rng.integers(0, width + 1))
            axes = np.linalg.qr(rng.standard_normal((width, width)))[0][:kept]
            axes = axes + departure * rng.uniform(-1, 1, axes.shape) / (2 * width)
            steps = np.exp(rng.uniform(-8, 0, kept)).astype(np.float32)
            centre = rng.standard_normal(width).astype(np.float32)
            terms.append(Term(centre, axes, steps, 2.0 ** int(rng.integers(-4, 4))))
    return Basis(regions, tuple(terms))


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    regions=st.integers(1, 3),
    power=st.sampled_from((1, 2)),
    departure=st.sampled_from((0.0, 1e-7, 2e-3)),
    scale=st.sampled_from((1e-6, 1e-2, 1.0, 300.0)),
    kind=st.sampled_from(("centred", "unit", "duplicates", "ties", "huge", "zero-weights")),
)
def test_the_interval_holds_the_distance(
    seed: int, regions: int, power: int, departure: float, scale: float, kind: str
) -> None:
    query, gallery = draw(Case(4, 60, 1, "fp16", kind, CHANNELS, regions, power, seed))
    if kind != "huge":
        query = replace(query, levels=tuple(level * scale for level in query.levels))
        gallery = replace(gallery, levels=tuple((level.float() * scale).half() for level in gallery.levels))
    assert holds(ends(query, gallery, coded(random_basis(CHANNELS, regions, seed, departure), gallery), power))


@pytest.mark.parametrize("power", [1, 2])
def test_the_compiled_screen_is_as_tight_as_the_twin(power: int) -> None:
    query, gallery = draw(Case(5, 333, 1, channels=(40, 64, 96), power=power))
    codes = coded(fitted(gallery, 200), gallery)
    ours = prepared(codes.basis, query)
    proven, found = bounds(ours, codes, power), screen(ours, codes, power)
    assert np.abs(found.lower / proven.lower - 1).max() < 1e-3
    assert np.abs(found.estimate / proven.estimate - 1).max() < 1e-3
    assert (proven.lower > 0.4 * proven.upper).mean() > 0.9  # tight enough to mean something


def test_bounds_do_not_depend_on_instructions_groups_or_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = draw(Case(6, 200, 1))
    basis = fitted(gallery, 96)
    codes = coded(basis, gallery)
    whole = screen(prepared(basis, query), codes)
    for number in range(6):
        assert np.array_equal(screen(prepared(basis, query[number : number + 1]), codes).lower[0], whole.lower[number])
    parts = join([coded(basis, gallery[:77]), coded(basis, gallery[77:])])
    assert np.array_equal(bounds(prepared(basis, query), parts).lower, bounds(prepared(basis, query), codes).lower)
    monkeypatch.setattr(vnni, "available", lambda: False)
    plain = screen(prepared(basis, query), codes)
    assert np.abs(plain.lower - whole.lower).max() <= 1e-6 * whole.lower.max()


def test_a_photo_beyond_float16_bounds_nothing_and_spoils_nothing() -> None:
    query, gallery = draw(Case(3, 60, 1, "fp16", "unit"))
    basis = fitted(gallery, 96)
    for level in gallery.levels:
        level[7] = 6e4
    found = ends(query, gallery, coded(basis, gallery))
    assert holds(found)
    others = np.arange(60) != 7
    assert (found["lower"][:, 7] == 0).all()
    assert (found["compiled"][:, others] > 0).all()


def test_a_sketch_beyond_float32_bounds_nothing() -> None:
    query, gallery = draw(Case(3, 60, 1, "fp16", "unit"))
    codes = coded(fitted(gallery, 96), gallery)
    query.levels[1][2] *= 1e30
    found = screen(prepared(codes.basis, query), codes)
    assert (found.lower[2] == 0).all()
    assert (found.lower[:2] > 0).all()


# Each slack alone, where its term of the interval is tight: with it the interval holds, without it not.


@pytest.mark.parametrize("factor", [0.0, 0.98])
def test_photo_error_is_needed_whole(factor: float) -> None:
    query, gallery, basis = collinear()
    codes = coded(basis, gallery)
    assert holds(ends(query, gallery, codes))
    assert np.allclose(ends(query, gallery, codes)["lower"][0], 2.5, rtol=1e-3)
    found = ends(query, gallery, with_errors(codes, factor))
    assert found["lower"][0, 0] > found["exact"][0, 0] < found["compiled"][0, 0]
    assert found["upper"][1, 0] < found["exact"][1, 0]


def test_sketch_error_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery, basis = integers_lost()
    codes = coded(basis, gallery)
    assert holds(ends(query, gallery, codes))
    exact_prepare = queries.prepare
    monkeypatch.setattr(
        "tests.kernels.short_cases.prepare",
        lambda *sides: (found := exact_prepare(*sides))._replace(rest=np.zeros_like(found.rest)),
    )
    found = ends(query, gallery, codes)
    assert found["lower"] > found["exact"] < found["compiled"]


def test_rotation_error_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = one_term([[3.0], [-2.0]], torch.float32), one_term([[0.5]], torch.float16)
    axes = [[1.004]]
    assert holds(ends(query, gallery, coded(one_basis(axes, 1e-3, 1), gallery)))
    monkeypatch.setattr(Term, "departure", 0.0)
    found = ends(query, gallery, coded(one_basis(axes, 1e-3, 1), gallery))
    assert found["lower"][0, 0] > found["exact"][0, 0] < found["compiled"][0, 0]


def cuts(factor: float) -> tuple[Rows, Rows, Basis]:
    """Nothing kept; sketch and photo parallel or antiparallel, the photo's norm not a float16 but just above one."""
    photo = torch.tensor([0.625, 0.125], dtype=torch.float16)
    norm = float(photo.double().norm())
    assert float(np.float16(norm)) < norm * (1 - 1e-4)
    vector = photo.tolist()
    return (
        one_term([[factor * value for value in vector]], torch.float32),
        one_term([vector], torch.float16),
        one_basis([], 1.0, 2),
    )


@pytest.mark.parametrize("factor", [2.0, -2.0])
def test_norm_rounding_is_needed(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery, basis = cuts(factor)
    if factor < 0:  # weights just below a float16: the next one above, which upper ends take, is theirs
        region, level = gallery.region_weights - 2.0**-24, gallery.level_weights - 2.0**-24
        gallery = replace(gallery, region_weights=region, level_weights=level)
    codes = coded(basis, gallery)
    assert holds(ends(query, gallery, codes))
    monkeypatch.setattr(twin, "FLOAT16_ERROR", 0.0)
    monkeypatch.setattr(twin, "FLOAT16_LOST", 0.0)
    monkeypatch.setattr(operands, "FLOAT16_LOST", 0.0)
    found = ends(query, gallery, codes)
    if factor > 0:
        assert found["lower"] > found["exact"]
    else:
        assert found["upper"] < found["exact"]


def test_errors_must_be_rounded_outward(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery, basis = error_between_floats()
    assert holds(ends(query, gallery, coded(basis, gallery)))
    monkeypatch.setattr(encoding, "rounded_up", rounded_down)
    found = ends(query, gallery, coded(basis, gallery))
    assert found["lower"] > found["exact"] < found["compiled"]


def test_weights_must_be_rounded_down(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = one_term([[100.0]], torch.float32), one_term([[1.0]], torch.float16, 1 / 3)
    basis = one_basis([[1.0]], 1.0, 1)
    assert holds(ends(query, gallery, coded(basis, gallery)))
    monkeypatch.setattr(encoding, "rounded_down", rounded_up)
    found = ends(query, gallery, coded(basis, gallery))
    assert found["lower"] > found["exact"] < found["compiled"]


@pytest.mark.parametrize("values", [np.array([0.1, 1 / 3, 0.0, 1.0, 65504.0, 1e-9]), np.array([7e4, 1e9])])
def test_rounding_is_outward(values: NDArray[np.float64]) -> None:
    assert (rounded_down(values) <= values).all()
    with np.errstate(over="ignore"):
        assert (rounded_up(values) >= values).all()
    assert np.isfinite(rounded_down(values)).all()


def test_what_does_not_fit_is_refused() -> None:
    query, gallery = draw(Case(2, 30, 1))
    basis, other = fitted(gallery, 64), fitted(gallery, 32)
    with pytest.raises(ValueError, match="prepare them anew"):
        bounds(prepared(other, query), coded(basis, gallery))
    with pytest.raises(ValueError, match="expected float16"):
        coded(basis, replace(gallery, levels=tuple(level.float() for level in gallery.levels)))
    with pytest.raises(ValueError, match="depart from orthonormal"):
        one_basis([[1.1]], 1.0, 1)
    with pytest.raises(ValueError, match="power of two"):
        one_basis([[1.0]], 1.0, 1, unit=3.0)
