"""Finds the fastest tiles for a GPU by measuring: never at search time, only where `tune` is called."""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import triton
from torch import Tensor
from triton.runtime.errors import OutOfResources, PTXASError

from kernels.blocks import GalleryBlock
from kernels.gpu import direct, product
from kernels.gpu.centred import centred
from kernels.gpu.operands import Matrix, side_of
from kernels.gpu.tiles import Tile, Tuning, candidates, tuned_path

STORED = (torch.float16, torch.float32)
"""One type of each size of stored values."""

UNDERFLOW = 1e-17
"""Of no consequence for a time."""


@dataclass(frozen=True)
class _Drawn:
    """Features of no meaning."""

    levels: tuple[Tensor, ...]
    region_weights: Tensor
    level_weights: Tensor


def tune(
    device: torch.device | None = None,
    *,
    channels: Sequence[int] = (512, 1280, 1664),
    regions: int = 3,
    rows: int = 40_000,
    path: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Measure every candidate tile on drawn features and write the fastest, for `tiles.tuning_for` of the next process.

    device: default the current CUDA device. rows: of the drawn gallery; 830 MB in float16 at 10,368 values.
    path: default `tiles.tuned_path` of the device. say: gets a line for each tile. Returns the path, which is written
    after each type of stored values, float16 first. Takes some minutes, most of them compiling.
    Raises `RuntimeError` where a form has no candidate that fits the device.
    """
    device = device or torch.device("cuda", torch.cuda.current_device())
    name, found = torch.cuda.get_device_name(device), {}
    path = path or tuned_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    for dtype in STORED:
        found[dtype.itemsize] = asdict(_fastest(device, tuple(channels), regions, rows, dtype, say))
        content = {"device": name, "triton": triton.__version__, "tuning": found}
        path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def _fastest(
    device: torch.device,
    channels: tuple[int, ...],
    regions: int,
    rows: int,
    dtype: torch.dtype,
    say: Callable[[str], None],
) -> Tuning:
    """The fastest tile for each number of queries, and the most queries for which direct is faster than products."""
    block = GalleryBlock.of(_drawn(rows, regions, channels, dtype, device))
    chosen: dict[str, tuple[Tile, ...]] = {}
    milliseconds: dict[Tile, float] = {}
    capability, _ = torch.cuda.get_device_capability(device)
    for form in ("direct", "product"):
        tiles = candidates(form, dtype.itemsize, capability)
        best = []
        for queries in sorted({tile.queries for tile in tiles}):
            query = _drawn(queries, regions, channels, torch.float32, device)
            times = {
                tile: time
                for tile in tiles
                if tile.queries == queries and (time := _time(form, query, block, tile, say)) is not None
            }
            if times:
                best.append(min(times, key=times.__getitem__))
                milliseconds[best[-1]] = times[best[-1]]
        if not best:
            name = torch.cuda.get_device_name(device)
            raise RuntimeError(f"no {form} tile for {dtype} fits {name}; add a smaller one to the candidates")
        chosen[form] = tuple(best)
    smallest = chosen["product"][0]
    # Products need their queries centred first, which takes longer than a few queries' differences save.
    cheapest = _time(
        "product", _drawn(smallest.queries, regions, channels, torch.float32, device), block, smallest, say, whole=True
    )
    few = [tile.queries for tile in chosen["direct"] if cheapest is None or milliseconds[tile] <= cheapest]
    return Tuning(chosen["direct"], chosen["product"], max(few, default=1))


def _time(
    form: str, query: _Drawn, block: GalleryBlock, tile: Tile, say: Callable[[str], None], whole: bool = False
) -> float | None:
    """Median milliseconds for all rows, or None where the tile doesn't fit the device or its compiler.

    whole: with what prepares the queries.
    """
    queries, rows = len(query.region_weights), range(len(block))
    gallery, sink = side_of(block), Matrix(torch.empty((queries, len(block)), device=block.device))
    launch: Callable[[], None]
    if form == "direct":
        side = side_of(query)

        def launch() -> None:
            direct.launch(side, gallery, sink, rows, 1, UNDERFLOW, tile)
    else:
        prepared, squares = centred(query, block, tile.queries), block.square_from_centre

        def launch() -> None:
            operand = centred(query, block, tile.queries) if whole else prepared
            product.launch(operand, gallery, squares, queries, sink, rows, 1, UNDERFLOW, tile)

    try:
        milliseconds = float(triton.testing.do_bench(launch, return_mode="median"))
    except (OutOfResources, PTXASError) as error:
        say(f"{block.levels[0].dtype} {form} {tile}: {error}")
        return None
    say(f"{block.levels[0].dtype} {form} {tile}{', queries prepared' * whole}: {milliseconds:.3f} ms")
    return milliseconds


def _drawn(images: int, regions: int, channels: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> _Drawn:
    generator = torch.Generator(device).manual_seed(0)
    return _Drawn(
        tuple(torch.randn((images, regions, c), generator=generator, device=device, dtype=dtype) for c in channels),
        torch.rand((images, regions), generator=generator, device=device),
        torch.rand((images, regions, len(channels)), generator=generator, device=device),
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.stdout.write(f"{tune(say=logging.info)}\n")
