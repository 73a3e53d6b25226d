"""Every product compiles for a processor that has it, wherever the tests run; nothing of that is executed."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numba import typeof

from kernels.cpu import screen_amx, screen_lanes, screen_rounded, short
from kernels.cpu.amx import ROW_BYTES
from kernels.cpu.amx import TILE_QUERIES as AMX_QUERIES
from kernels.cpu.direct import Slack
from kernels.cpu.packed import Packed
from kernels.cpu.packed_queries import PackedQueries
from kernels.cpu.rounded import RoundedQueries
from kernels.cpu.rows import Rows
from kernels.cpu.tile import TILE_QUERIES, TILE_ROWS
from kernels.short.codes import TILE_PHOTOS
from kernels.short.operands import Operands

LANES = "+avx2,+fma,+f16c"
VNNI = f"{LANES},+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512vnni"
PROCESSORS = {
    "amx bfloat16": ("sapphirerapids", f"{VNNI},+amx-tile,+amx-int8,+amx-bf16", "tdpbf16ps"),
    "amx": ("sapphirerapids", f"{VNNI},+amx-tile,+amx-int8", "tdpbsud"),
    "vnni": ("icelake-server", VNNI, "vpdpbusd"),
    "avx2": ("znver3", LANES, "vpmaddwd"),
}
"""By product a processor, its features, both by LLVM's names, and the instruction."""


def packed(product: str) -> str:
    """Of the screen of 8-bit codes: its loops around the product."""
    tile, width = (AMX_QUERIES, ROW_BYTES) if product == "amx" else (TILE_QUERIES, 4)
    codes = np.zeros((1, 2, tile, width), np.int16 if product == "avx2" else np.int8)
    ends = np.zeros(2, np.int64)
    queries = PackedQueries(codes, np.zeros((1, tile), np.int32), np.zeros((1, 1, 6), np.float32), ends)
    sides, centre = np.zeros((1, 1, 6, TILE_ROWS), np.float32), np.zeros((1, 8), np.float32)
    rows = Packed(np.zeros((1, 2, TILE_ROWS, 4), np.uint8), sides, ends, centre)
    bounds = np.zeros((1, TILE_ROWS), np.float32)
    fill = screen_amx.fill if product == "amx" else screen_lanes.fill
    fill.compile(tuple(typeof(one) for one in (queries, rows, 1, Slack.of(0, 0), 0, 1, bounds)))
    return "\n".join(fill.inspect_asm().values())


def rounded(product: str) -> str:
    """Of the screen of rows without codes, in float16."""
    ends = np.zeros(2, np.int64)
    queries = RoundedQueries(
        np.zeros((1, 1, 16, AMX_QUERIES), np.uint32),
        np.zeros((1, 1, 6, AMX_QUERIES), np.float32),
        ends,
        np.zeros((1, 8), np.float32),
    )
    weights = np.zeros((1, 1), np.float32), np.zeros((1, 1, 1), np.float32)
    rows = Rows(np.zeros(0, np.uint16), *[ends[:1]] * 4, *weights)
    fill = screen_rounded._fill
    fill.compile(tuple(typeof(one) for one in (queries, rows, 1, Slack.of(0, 0), 0, 1, weights[0])))
    return "\n".join(fill.inspect_asm().values())


def short_codes(product: str) -> str:
    """Of the screen of short codes."""
    limbs = short._Limbs(
        np.zeros((1, 1, TILE_QUERIES, 4), np.int16 if product == "avx2" else np.int8),
        np.zeros((1, 1, TILE_QUERIES), np.int32),
    )
    ours = Operands(np.zeros((1, 1, 8), np.float32), np.zeros((1, 1), np.float32), np.ones(1, np.bool_), 1.0, 0.0)
    rows = short._Rows(
        np.zeros((1, 1, TILE_PHOTOS, 4), np.uint8),
        np.zeros((1, 1, 3, TILE_PHOTOS), np.uint16),
        np.zeros((1, 2, TILE_PHOTOS), np.uint16),
        *(np.zeros(count, np.int64) for count in (1, 2)),
        1,
    )
    result = short.Screened(*(np.zeros((1, TILE_PHOTOS), np.float32) for _ in range(2)))
    run = short._screen_by_product
    run.compile(tuple(typeof(one) for one in (limbs, ours, rows, 1, 0, 1, result)))
    return "\n".join(run.inspect_asm().values())


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="LLVM here compiles for no x86")
@pytest.mark.parametrize(
    ("screen", "product"),
    [
        (packed, "amx"),
        (packed, "vnni"),
        (packed, "avx2"),
        (rounded, "amx bfloat16"),
        (short_codes, "vnni"),
        (short_codes, "avx2"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)
def test_the_screen_compiles_to_the_products_instruction(
    screen: Callable[[str], str], product: str, tmp_path: Path
) -> None:
    """And to roots of whole registers: LLVM once took them one by one, for a sixth of the screen's time."""
    # In a process of its own: which processor numba compiles for is decided when it is imported.
    name, features, instruction = PROCESSORS[product]
    processor = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import {screen.__name__} as screen; print(screen({product!r}))"],
        env=os.environ | processor,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert instruction in ran.stdout
    assert "sqrtps" in ran.stdout
    assert ran.stdout.count("sqrtss") == (1 if screen is rounded else 0)  # of a row's norm, not a pair's
