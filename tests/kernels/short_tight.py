"""Constructions where one slack of the short codes' bounds is all that holds them: for tests that leave it out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benches.cases import Rows
from kernels.short.basis import Basis, Coordinates, Term
from kernels.short.codes import ERROR, ShortCodes
from kernels.short.queries import LARGEST_INTEGER
from tests.kernels.short_cases import one_basis, one_term


def with_errors(codes: ShortCodes, factor: float) -> ShortCodes:
    sides = codes.sides.copy()
    sides[:, :, ERROR] = (sides[:, :, ERROR].astype(np.float64) * factor).astype(np.float16)
    return replace(codes, sides=sides)


def collinear() -> tuple[Rows, Rows, Basis]:
    """One channel; the code loses half a step of the photo, towards the first sketch and away from the second."""
    return one_term([[3.0], [-2.0]], torch.float32), one_term([[0.5]], torch.float16), one_basis([[1.0]], 1.0, 1)


def integers_lost() -> tuple[Rows, Rows, Basis]:
    """A sketch whose first coordinate takes all 16 bits, by its step, and 63 others just below half an integer.

    All codes of the photo but the first are 1, so that what the integers lose points along them.
    """
    steps = np.array([LARGEST_INTEGER, *[1] * 63], "f4")
    return (
        one_term([[1.0, *[0.4999] * 63]], torch.float32),
        one_term([[0.0, *[1.0] * 63]], torch.float16),
        Basis(1, (Term(np.zeros(64, "f4"), np.eye(64), steps, 1.0),)),
    )


def error_between_floats() -> tuple[Rows, Rows, Basis]:
    """Codes 0, so that all of the photo is error, its norm no float16; the sketch lies further out on its line."""
    vector = torch.tensor([0.3125, 0.125], dtype=torch.float16).tolist()
    return (
        one_term([[8 * value for value in vector]], torch.float32),
        one_term([vector], torch.float16),
        one_basis([[1.0, 0.0], [0.0, 1.0]], 1.0, 2),
    )


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


def at_the_centre() -> tuple[Rows, Rows, Basis]:
    """A photo without codes, errors or cuts, 300 sketches all kept: only float32's roundings are left, up or down."""
    sketches = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    return (
        one_term(sketches.tolist(), torch.float32),
        one_term([[0.0] * 8], torch.float16),
        one_basis(np.eye(8).tolist(), 1.0, 8, 2.0**-10),
    )


def axis_too_long() -> tuple[Rows, Rows, Basis]:
    """One channel, and a photo at the centre: what the axis counts too much, kept and cut, is all that there is."""
    return one_term([[3.0]], torch.float32), one_term([[0.0]], torch.float16), one_basis([[1.004]], 1.0, 1, 2.0**-10)


def axis_too_short() -> tuple[Rows, Rows, Basis]:
    """The other way."""
    return one_term([[3.0]], torch.float32), one_term([[0.0]], torch.float16), one_basis([[0.996]], 1.0, 1, 2.0**-10)


def square_rounded_up() -> tuple[Rows, Rows, Basis]:
    """A photo of code 1, its square stored as much too large as float16 may make it; a sketch at the centre."""
    values = np.arange(1, 1.4, 2.0**-10)
    squares = np.square(values)
    value = float(values[np.argmax(squares.astype("f2") / squares)])
    return one_term([[0.0]], torch.float32), one_term([[value]], torch.float16), one_basis([[1.0]], value, 1)


def square_below_normal() -> tuple[Rows, Rows, Basis]:
    """A photo whose square, in units, is just above half of float16's smallest number, and is stored as all of it."""
    value = (math.ceil(2**10.5) + 1) * 2.0**-23
    return one_term([[0.0]], torch.float32), one_term([[value]], torch.float16), one_basis([[1.0]], value, 1)


def cut_below_normal() -> tuple[Rows, Rows, Basis]:
    """The same of a norm of what is cut off."""
    value = 2.0**-15 + 2.0**-24
    return one_term([[0.0]], torch.float32), one_term([[value]], torch.float16), one_basis([], 1.0, 1, 2.0**10)


HOLDING = [collinear, integers_lost, error_between_floats, lambda: cuts(2.0), lambda: cuts(-2.0)]
HOLDING += [at_the_centre, axis_too_long, axis_too_short, square_rounded_up, square_below_normal, cut_below_normal]
"""Without any one slack in the sources, the bound of one of them misses the distance."""
ROUGH = [(part, side) for part in ("kept", "cut") for side in ("sketch", "photo")]
"""What `rough` makes, and whose it is; the other side is at the centre."""


def rough(part: str, side: str, stated: float, monkeypatch: pytest.MonkeyPatch) -> tuple[Rows, Rows, Basis]:
    """Coordinates, or cuts, computed 1 % too large: `Term` is made to do so, and to state so much as its error.

    In float64 these errors are real but far below what float32 and float16 are given.
    """
    exact = Term.coordinates

    def coordinates(term: Term, vectors: NDArray[np.floating]) -> Coordinates:
        found = exact(term, vectors)
        return replace(found, **{part: getattr(found, part) * 1.01})

    monkeypatch.setattr(Term, "coordinates", coordinates)
    monkeypatch.setattr(Term, f"{part}_error", stated)
    vectors = [[3.0]], [[0.0]]
    sketch, photo = vectors if side == "sketch" else vectors[::-1]
    axes = [[1.0]] if part == "kept" else []
    return one_term(sketch, torch.float32), one_term(photo, torch.float16), one_basis(axes, 2.0**-5, 1)
