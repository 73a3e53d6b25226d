"""Drawings as strokes: where they lie, how much of them there is, what they look like."""

import numpy as np
import pytest

from mlrm.strokes import FRAME, LARGEST_SCALE, SMALL, Stroke, first_share, fitted, frame, ink, render


def stroke(*points: tuple[float, ...], width: float = 0.01) -> Stroke:
    return Stroke(np.array([(*point, *(1.0,) * (3 - len(point))) for point in points]), width)


CROSS = [stroke((0.2, 0.5), (0.8, 0.5)), stroke((0.5, 0.3), (0.5, 0.7))]


def dark(strokes: list[Stroke], side: int = 256) -> np.ndarray:
    return np.argwhere(np.asarray(render(strokes, side).convert("L")) < 128)


def test_ink_is_the_length_of_all_lines() -> None:
    assert ink(CROSS) == pytest.approx(1.0)
    assert ink([stroke((0.3, 0.3))]) == 0
    assert ink([]) == 0


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.6, 0.75, 1.0])
def test_a_share_of_the_ink_is_the_beginning_of_the_drawing(share: float) -> None:
    fine = [
        stroke(*((0.2 + 0.006 * n, 0.5) for n in range(101))),
        stroke(*((0.5, 0.3 + 0.004 * n) for n in range(101))),
    ]
    part = first_share(fine, share)
    assert ink(part) == pytest.approx(share, abs=0.006)
    whole = np.concatenate([one.points for one in fine])
    assert (np.concatenate([one.points for one in part]) == whole[: sum(len(one.points) for one in part)]).all()


LITTLE = [Stroke(one.points * (0.75, 0.75, 1) + (0.1, -0.05, 0), one.width) for one in CROSS]
"""The same, its longer side 0.45."""


@pytest.mark.parametrize(("longer", "fits"), [(SMALL - 0.01, True), (SMALL + 0.01, False)])
def test_only_what_is_small_is_fitted(longer: float, fits: bool) -> None:
    drawing = [stroke((0.1, 0.2), (0.1 + longer, 0.3))]
    assert (frame(drawing) != (0, 0, 1)) == fits
    assert (fitted(drawing)[0].points != drawing[0].points).any() == fits


def test_a_fitted_drawing_fills_the_frame_from_its_middle() -> None:
    points = np.concatenate([one.points[:, :2] for one in fitted(LITTLE)])
    assert points.max(0) - points.min(0) == pytest.approx([FRAME, FRAME * 2 / 3])
    assert (points.max(0) + points.min(0)) / 2 == pytest.approx([0.5, 0.5])


def test_fitting_does_not_depend_on_where_and_how_large_it_was_drawn() -> None:
    small = [Stroke(one.points * (0.98, 0.98, 1) + (-0.1, 0.3, 0), one.width) for one in LITTLE]
    for a, b in zip(fitted(LITTLE), fitted(small), strict=True):
        assert a.points == pytest.approx(b.points)
        assert a.width == b.width


def test_the_first_short_line_is_enlarged_no_more_than_may_be() -> None:
    (short,) = fitted([stroke((0.1, 0.1), (0.2, 0.1))])
    assert short.length == pytest.approx(0.1 * LARGEST_SCALE)
    assert frame([stroke((0.3, 0.3))])[2] == 1 / LARGEST_SCALE


def test_the_frame_is_the_square_that_fitting_makes_the_canvas() -> None:
    left, top, side = frame(LITTLE)
    for before, after in zip(LITTLE, fitted(LITTLE), strict=True):
        assert (before.points[:, :2] - (left, top)) / side == pytest.approx(after.points[:, :2])


def test_an_empty_drawing_is_a_white_picture() -> None:
    assert fitted([]) == []
    assert np.asarray(render([], 64)).min() == 255


def test_a_line_is_as_wide_as_its_pen() -> None:
    rows = dark([stroke((0.1, 0.5), (0.9, 0.5), width=8 / 256)])[:, 0]
    assert rows.max() - rows.min() + 1 == pytest.approx(8, abs=1)


def test_less_pressure_makes_a_thinner_line() -> None:
    widths = []
    for pressure in (0.0, 0.5, 1.0):
        pixels = dark([stroke((0.1, 0.5, pressure), (0.9, 0.5, pressure), width=16 / 256)])
        widths.append(np.ptp(pixels[pixels[:, 1] == 128][:, 0]) + 1)
    assert widths[0] < widths[1] < widths[2]


def test_a_dot_is_drawn() -> None:
    assert len(dark([stroke((0.5, 0.5), width=6 / 256)])) == pytest.approx(28, abs=8)


def test_lines_far_outside_are_cut_off() -> None:
    assert len(dark([stroke((25.0, 25.0), (-25.0, 25.0))])) == 0
