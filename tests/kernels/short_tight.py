"""Constructions where one slack of the short codes' bounds is all that holds them: for tests that leave it out."""

from dataclasses import replace

import numpy as np
import torch

from benches.cases import Rows
from kernels.short.basis import Basis
from kernels.short.codes import ERROR, ShortCodes
from tests.kernels.short_cases import one_basis, one_term


def with_errors(codes: ShortCodes, factor: float) -> ShortCodes:
    sides = codes.sides.copy()
    sides[:, :, ERROR] = (sides[:, :, ERROR].astype(np.float64) * factor).astype(np.float16)
    return replace(codes, sides=sides)


def collinear() -> tuple[Rows, Rows, Basis]:
    """One channel; the code loses half a step of the photo, towards the first sketch and away from the second."""
    return one_term([[3.0], [-2.0]], torch.float32), one_term([[0.5]], torch.float16), one_basis([[1.0]], 1.0, 1)


def integers_lost() -> tuple[Rows, Rows, Basis]:
    """A sketch whose first coordinate takes all 16 bits, and 63 others just below half an integer; all codes 127."""
    sketch = [32512.0, *[0.4999] * 63]
    return (
        one_term([sketch], torch.float32),
        one_term([[0.0, *[127.0] * 63]], torch.float16),
        one_basis(np.eye(64).tolist(), 1.0, 64, 128.0),
    )


def error_between_floats() -> tuple[Rows, Rows, Basis]:
    """Codes 0, so that all of the photo is error, its norm no float16; the sketch lies further out on its line."""
    vector = torch.tensor([0.3125, 0.125], dtype=torch.float16).tolist()
    return (
        one_term([[8 * value for value in vector]], torch.float32),
        one_term([vector], torch.float16),
        one_basis([[1.0, 0.0], [0.0, 1.0]], 1.0, 2),
    )
