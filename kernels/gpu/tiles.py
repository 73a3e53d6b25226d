"""How large the kernels' tiles are: candidates, defaults by arithmetic, and what `tune` measured on a device.

A product tile of BG rows and BQ queries reads BG + BQ vectors for BG BQ pairs, so large ones need fewer bytes from the
cache: 128 x 128 in float16 does 64 floating-point operations a byte. What bounds them is registers: two float32 numbers
a pair, 128 of a thread's 255 at 128 x 128 with 8 warps. 128 bytes of a vector at a time fill a cache line.
A direct tile reads BG rows 256 bytes at a time and keeps BG BQ BC sums: 32 to 64 registers a thread.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from kernels.blocks import GalleryBlock

TUNED = Path(__file__).parent / "tuned"
"""What was measured: <device>.json."""


@dataclass(frozen=True)
class Tile:
    """What one program of a distance kernel computes, and with what."""

    queries: int
    rows: int
    channels: int
    warps: int
    stages: int


@dataclass(frozen=True)
class PoolTile:
    """What one program of the region pool computes at a time."""

    channels: int
    cells: int
    warps: int


@dataclass(frozen=True)
class Tuning:
    """The tiles for one device and one size of stored values, ascending in queries; and up to where direct is used."""

    direct: tuple[Tile, ...]
    product: tuple[Tile, ...]
    direct_queries: int

    def direct_tile(self, queries: int) -> Tile:
        """The smallest tile that holds all queries, or the largest."""
        return _fitting(self.direct, queries)

    def product_tile(self, queries: int) -> Tile:
        """The smallest tile that holds all queries, or the largest."""
        return _fitting(self.product, queries)


POOL_TILE = PoolTile(channels=32, cells=64, warps=4)
"""8 KB of a float32 level at a time, 16 products a thread and region."""

DIRECT_CANDIDATES = {
    2: tuple(
        Tile(queries, rows, channels, warps, 1)
        for queries, rows, channels, warps in (
            (1, 8, 256, 4),
            (1, 16, 128, 8),
            (1, 16, 256, 4),
            (1, 16, 256, 8),
            (1, 32, 128, 4),
            (1, 32, 256, 8),
            (1, 64, 128, 8),
            (2, 8, 128, 8),
            (2, 8, 256, 8),
            (2, 16, 128, 4),
            (2, 16, 256, 8),
            (4, 8, 128, 8),
        )
    ),
    4: tuple(
        Tile(queries, rows, 128, warps, 1)
        for queries, rows, warps in ((1, 8, 4), (1, 16, 8), (2, 8, 4), (2, 16, 8), (4, 8, 8))
    ),
}
"""Per bytes of a stored value. None spills a register with either trunk's channels, here and below: a test compiles
them all. Sizes between these do: the compiler spills a few bytes where one more program then fits a multiprocessor."""

PRODUCT_CANDIDATES = {
    2: tuple(
        Tile(queries, rows, channels, warps, stages)
        for queries, rows, warps, depths in (
            (16, 128, 4, ((64, 3), (64, 4), (128, 3))),
            (16, 256, 8, ((64, 3), (64, 4))),
            (32, 128, 4, ((64, 3), (64, 4))),
            (64, 64, 4, ((64, 3), (64, 4))),
            (64, 128, 8, ((64, 3), (64, 4))),
        )
        for channels, stages in depths
    ),
    4: tuple(
        Tile(queries, 128, 32, warps, stages)
        for queries, warps, stages in ((16, 4, 2), (16, 4, 3), (32, 8, 2), (32, 8, 3))
    ),
}
"""Per bytes of a stored value."""

LARGEST_PRODUCTS = {
    (2, 8): (Tile(128, 128, 64, 8, 3),),
    (2, 9): (Tile(128, 128, 128, 8, 2), Tile(128, 128, 64, 8, 2)),
    (4, 9): (Tile(64, 128, 32, 8, 3),),
    (4, 10): (Tile(64, 128, 32, 8, 3),),
}
"""More candidates, per bytes of a stored value and major compute capability; the first is the default. They take all of
a thread's registers, and only what is compiled for these generations gets by with them."""

NEWEST = 10
"""The major capability whose tiles later ones get too."""

INTERPRETED = Tuning(
    (Tile(1, 64, 64, 4, 1), Tile(4, 64, 64, 4, 1)), (Tile(16, 64, 64, 4, 1), Tile(32, 64, 64, 4, 1)), 4
)
"""For Triton's interpreter, which takes its time a program and not a value."""


def defaults(item_size: int, capability: int) -> Tuning:
    """The tiles for a device that hasn't been measured, by its major compute capability."""
    largest = _largest(item_size, capability)[:1]
    if item_size == 4:
        product = (Tile(16, 128, 32, 4, 3), Tile(32, 128, 32, 8, 3), *largest)
        return Tuning((Tile(1, 16, 128, 8, 1), Tile(4, 8, 128, 8, 1)), product, 4)
    product = (Tile(16, 128, 64, 4, 3), Tile(32, 128, 64, 4, 3), Tile(64, 128, 64, 8, 3), *largest)
    return Tuning((Tile(1, 32, 128, 4, 1), Tile(4, 8, 128, 8, 1)), product, 4)


def candidates(form: str, item_size: int, capability: int) -> tuple[Tile, ...]:
    """What `tune` measures for "direct" or "product", by the bytes of a stored value and the major capability."""
    if form == "direct":
        return DIRECT_CANDIDATES[item_size]
    return PRODUCT_CANDIDATES[item_size] + _largest(item_size, capability)


def _largest(item_size: int, capability: int) -> tuple[Tile, ...]:
    return LARGEST_PRODUCTS.get((item_size, min(capability, NEWEST)), ())


def tuning_for(block: GalleryBlock) -> Tuning:
    """The tiles for the rows of a block where they are."""
    item_size = max(level.element_size() for level in block.levels)
    if block.device.type != "cuda":
        return INTERPRETED
    name, capability = torch.cuda.get_device_name(block.device), torch.cuda.get_device_capability(block.device)
    return _of_device(name, capability[0], item_size)


def tuned_path(device_name: str) -> Path:
    """Where the tiles of a device are kept."""
    return TUNED / f"{re.sub(r'[^a-z0-9]+', '-', device_name.lower()).strip('-')}.json"


def read_tuned(path: Path) -> dict[int, Tuning]:
    """The tiles in a file, per bytes of a stored value; `ValueError` for a file that isn't what `tune` writes."""
    try:
        content = json.loads(path.read_text())
        return {
            int(size): Tuning(
                tuple(Tile(**tile) for tile in one["direct"]),
                tuple(Tile(**tile) for tile in one["product"]),
                int(one["direct_queries"]),
            )
            for size, one in content["tuning"].items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no tuned tiles ({error!r}); delete it, or write it anew with `tune`") from error


@cache
def _of_device(name: str, capability: int, item_size: int) -> Tuning:
    path = tuned_path(name)
    tuned = read_tuned(path) if path.exists() else {}
    return tuned.get(item_size) or defaults(item_size, capability)


def _fitting(tiles: tuple[Tile, ...], queries: int) -> Tile:
    return next((tile for tile in tiles if tile.queries >= queries), tiles[-1])
