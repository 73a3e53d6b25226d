"""A block's rows as 8-bit codes, in the order the integer product reads them; built once and kept with the block.

Costs one byte a value, half of float16 storage again, and 24 bytes for each row, region and level; building takes 10
us a row of 10,368 values on two cores, and 30 where the system has yet to find the memory.
"""

import os
import threading
import weakref
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.blocks import GalleryBlock
from kernels.cpu import aligned
from kernels.cpu.amx import STEPS
from kernels.cpu.codes import encode
from kernels.cpu.jit import any_order
from kernels.cpu.rows import CACHE_LINE, Rows, fetch, held
from kernels.cpu.threads import over
from kernels.cpu.tile import LANES, TILE_ROWS

SCALE, SQUARE, NORM, ERROR, REGION_WEIGHT, LEVEL_WEIGHT = range(6)
"""What is kept of a vector beside its codes: see `encode`, and the two weights of its region and level."""
LARGEST_SHARE = 0.25
"""Of the machine's memory, for all codes together."""
WIDEST = 65_000
"""Channels whose products, up to 255 * 127 each, add up to less than 2^31."""
OFFSET = np.uint32(0x80808080)
"""Turns four codes into code + 128."""
SAMPLE = 1024
"""Rows whose mean is the codes' centre: any centre is right, and one near the mean makes errors small."""


class Packed(NamedTuple):
    """N rows in tiles of TILE_ROWS, the last one filled up with zeros. Terms are (region, level), level innermost.

    codes: uint8 [tiles, steps of all terms, TILE_ROWS, 4]: code + 128 of 4 channels of a row. A term's channels are
    filled up to a multiple of 4 with code 0. STEPS more steps, of any value, lie behind the last.
    sides: float32 [tiles, terms, 6, TILE_ROWS].
    steps: int64 [terms + 1], where each term's steps begin.
    centre: float32 [terms, largest C_l], what the vectors are measured from.
    """

    codes: NDArray[np.uint8]
    sides: NDArray[np.float32]
    steps: NDArray[np.int64]
    centre: NDArray[np.float32]


def packed(block: GalleryBlock, centre: NDArray[np.float32] | None = None) -> Packed:
    """The block's codes, built at the first call and found in its cache later.

    centre: what they are measured from if they must be built; default the mean of the block's own rows. Queries are
    packed once for each centre, so blocks of one gallery share one.
    """
    if not is_packed(block):
        built = _pack(block, centre)
        _in_use.add(built.codes.nbytes)
        weakref.finalize(built.codes, _in_use.add, -built.codes.nbytes)
        block.cache["cpu.packed"] = built
    return block.cache["cpu.packed"]  # type: ignore[no-any-return]


def is_packed(block: GalleryBlock) -> bool:
    """Whether the block's codes were built."""
    return "cpu.packed" in block.cache


def packable(block: GalleryBlock) -> bool:
    """Whether the rows can have codes: there are some, and none so wide that a sum would exceed 32 bits."""
    return len(block) > 0 and max(level.shape[2] for level in block.levels) <= WIDEST


def affordable(block: GalleryBlock) -> bool:
    """Whether all codes, this block's too, would take at most `LARGEST_SHARE` of this machine's memory.

    Rows may be memory-mapped files of any size; codes may not.
    """
    needed = sum(level.numel() for level in block.levels)
    return _in_use.bytes + needed <= LARGEST_SHARE * physical_memory()


@cache
def physical_memory() -> int:
    """Bytes of memory of this machine; 4 GiB where the system doesn't say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 4 << 30


class _InUse:
    """Bytes of all codes there are, counted by any thread."""

    def __init__(self) -> None:
        self.bytes, self._lock = 0, threading.Lock()

    def add(self, count: int) -> None:
        """Count more, or fewer."""
        with self._lock:
            self.bytes += count


_in_use = _InUse()


def mean_of_sample(block: GalleryBlock, rows: int = SAMPLE) -> NDArray[np.float32]:
    """The mean of `rows` rows, or twice as many, float32 [terms, largest C_l], 0 beyond a term's channels."""
    levels, stride = len(block.levels), max(1, len(block) // rows)
    widths = [level.shape[2] for level in block.levels]
    centre = np.zeros((block.region_weights.shape[1] * levels, max(widths)), np.float32)
    for number, level in enumerate(block.levels):
        centre[number::levels, : widths[number]] = level[::stride].float().mean(0).numpy()
    return centre


def _pack(block: GalleryBlock, centre: NDArray[np.float32] | None) -> Packed:
    channels = [level.shape[2] for level in block.levels] * block.region_weights.shape[1]
    steps = np.concatenate(([0], np.cumsum([-(-width // 4) for width in channels]))).astype(np.int64)
    tiles = -(-len(block) // TILE_ROWS)
    result = Packed(
        aligned.empty((tiles, int(steps[-1]), TILE_ROWS, 4), np.uint8, beyond=STEPS * TILE_ROWS * 4),
        aligned.zeros((tiles, len(channels), 6, TILE_ROWS), np.float32),
        steps,
        mean_of_sample(block) if centre is None else centre,
    )
    theirs = held(block)
    over(tiles, 1, lambda first, last: _pack_tiles(theirs.rows, first, last, result))
    return result


@any_order
def _pack_tiles(gallery: Rows, first: int, last: int, packed: Packed) -> None:
    """Fill tiles first to last."""
    rows, regions = gallery.region_weights.shape
    levels, value = len(gallery.base), gallery.stored.itemsize
    values = np.empty(packed.centre.shape[1], np.float32)
    # A cache line more than a row needs keeps rows of 2^n channels out of each other's place in the first cache.
    codes = np.zeros((LANES, -(-packed.centre.shape[1] // 4) * 4 + CACHE_LINE), np.int8)
    source, words = codes.view(np.uint32), packed.codes.view(np.uint32)
    for tile in range(first, last):
        for r in range(regions):
            for level in range(levels):
                term = r * levels + level
                channels = gallery.channels[level]
                side = packed.sides[tile, term]
                for begin in range(0, TILE_ROWS, LANES):
                    codes[:] = 0
                    for i in range(begin, min(begin + LANES, rows - tile * TILE_ROWS)):
                        g = tile * TILE_ROWS + i
                        o_row = gallery.base[level] + (g * gallery.row[level] + r * gallery.region[level]) * value
                        for line in range(0, channels * value, CACHE_LINE):
                            fetch(o_row + gallery.row[level] * value + line)
                        side[SCALE, i], side[SQUARE, i], side[NORM, i], side[ERROR, i] = encode(
                            gallery.stored, o_row, packed.centre[term], values[:channels], codes[i - begin, :channels]
                        )
                        side[REGION_WEIGHT, i] = gallery.region_weights[g, r]
                        side[LEVEL_WEIGHT, i] = gallery.level_weights[g, r, level]
                    for step in range(packed.steps[term + 1] - packed.steps[term]):
                        for i in range(LANES):
                            words[tile, packed.steps[term] + step, begin + i, 0] = source[i, step] ^ OFFSET
