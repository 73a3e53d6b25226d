"""Squared distances in whole registers: the sums of every form, and the instructions that they are made of."""

import numpy as np
import pytest
import torch

from kernels.cpu.differences import BLOCK, rest_of_squares, squares_of
from kernels.cpu.jit import any_order
from kernels.cpu.rows import Rows, held, held_in_float32
from kernels.cpu.tile import host_features
from tests.kernels.hard_cases import STORED, sides

FORMS = [(1, 1, 2, False), (1, 1, 2, True), (1, 4, 2, False), (2, 4, 1, False), (2, 4, 1, True)]
"""Those that `kernels.cpu.direct` is made of, and so any other: queries, rows, registers, fetching."""


def kernel(queries: int, rows: int, registers: int, fetching: bool):
    squares = squares_of(queries, rows, registers, fetching)

    @any_order
    def run(query: Rows, gallery: Rows, out: np.ndarray) -> None:
        width, to_query = gallery.stored.itemsize, query.row[0] * query.stored.itemsize
        channels, to_row = gallery.channels[0], gallery.row[0] * width
        found = squares(
            gallery.stored,
            query.base[0],
            to_query,
            gallery.base[0],
            to_row,
            channels // BLOCK * BLOCK,
            gallery.base[0] + to_row,
        )
        for i in range(queries * rows):
            q, g = i // rows, i % rows
            rest = rest_of_squares(
                query.stored, query.base[0] + q * to_query, gallery.stored, gallery.base[0] + g * to_row, channels
            )
            out[q, g] = found[i] + rest

    return run


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("stored", STORED)
def test_they_are_the_sums_whatever_the_channels(form: tuple[int, int, int, bool], stored: torch.dtype) -> None:
    run, (queries, rows, *_) = kernel(*form), form
    for channels in (1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 100, 3 * BLOCK + 5):
        query, gallery = sides(queries, rows, stored, channels=(channels,))
        ours, theirs = held_in_float32(query), held(gallery)
        out = np.empty((queries, rows), np.float32)
        run(ours.rows, theirs.rows, out)
        exact = (query.levels[0][:, None, 0].double() - gallery.levels[0][None, :, 0].double()).square().sum(-1)
        error = (torch.from_numpy(out).double() - exact).abs()
        assert (error <= (channels + 2) * 2.0**-24 * exact).all(), (channels, out, exact)


@pytest.mark.parametrize("fetching", [False, True])
def test_they_are_computed_in_whole_registers_and_only_fetching_asks_for_more(fetching: bool) -> None:
    run = kernel(1, 1, 2, fetching)
    query, gallery = sides(1, 1, torch.float16, channels=(2 * BLOCK,))
    run(held_in_float32(query).rows, held(gallery).rows, np.empty((1, 1), np.float32))
    (code,) = run.inspect_asm().values()
    assert ("prefetch" in code) == fetching
    if host_features().get("avx512f"):
        lines = [line for line in code.splitlines() if "vfmadd" in line and "zmm" in line]
        assert lines
