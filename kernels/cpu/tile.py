"""The tile of integer sums that every product fills, and what this processor has to fill it with."""

from functools import cache

import llvmlite.binding as llvm  # type: ignore[import-untyped]

LANES = 16
"""Rows that 64 bytes hold: 16 sums of 32 bits, or four channels of 16 rows."""
REGISTERS = 3
"""So many times as many are a tile's."""
TILE_ROWS = LANES * REGISTERS
TILE_QUERIES = 8
"""Together 24 sums in AVX-512's registers, fed by 3 loads of rows and 8 broadcasts of queries for each 4 channels."""


@cache
def host_features() -> dict[str, bool]:
    """What this processor has, by LLVM's names."""
    return dict(llvm.get_host_cpu_features())
