"""Every product compiles for a processor that has it, wherever the tests run; nothing of that is executed."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import typeof

from kernels.cpu import screen_amx, screen_lanes
from kernels.cpu.amx import ROW_BYTES
from kernels.cpu.amx import TILE_QUERIES as AMX_QUERIES
from kernels.cpu.direct import Slack
from kernels.cpu.packed import Packed
from kernels.cpu.packed_queries import PackedQueries
from kernels.cpu.tile import TILE_QUERIES, TILE_ROWS

LANES = "+avx2,+fma,+f16c"
VNNI = f"{LANES},+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512vnni"
PROCESSORS = {
    "amx": ("sapphirerapids", f"{VNNI},+amx-tile,+amx-int8", "tdpbsud"),
    "vnni": ("icelake-server", VNNI, "vpdpbusd"),
    "avx2": ("znver3", LANES, "vpmaddwd"),
}
"""By product a processor, its features, both by LLVM's names, and the instruction."""


def assembly(product: str) -> str:
    """Of the screen's loops around the product."""
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


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="LLVM here compiles for no x86")
@pytest.mark.parametrize("product", PROCESSORS)
def test_the_screen_compiles_to_the_products_instruction(product: str, tmp_path: Path) -> None:
    # In a process of its own: which processor numba compiles for is decided when it is imported.
    name, features, instruction = PROCESSORS[product]
    processor = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import assembly; print(assembly({product!r}))"],
        env=os.environ | processor,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert instruction in ran.stdout
