"""`python -m benches.certified_disk`: certified search through the engine, of a drawn gallery on the disk.

The gallery's photos are put together from the regions of a pool of drawn ones (`benches.drawn_like`): region by region
of another photo, so that a million differ and each region is drawn and coded once. Regions that don't vary together
make distances more alike than real ones do: more photos survive a screen. The gallery stays where it was put; run
again, it is searched again.
Searches are timed in a process of their own: first with the gallery's pages out of the system's cache, each sketch
once; then again, with the rows it reads in the cache.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from benches.cases import TRUNKS, Rows
from benches.certified import TOP_K, real_features
from benches.drawn_like import Statistics
from benches.providers.codes import fitted
from engine.certified import CertifiedSearch
from engine.exact import ExactSearch
from engine.features import Array, FeatureBlock, FeatureShapes
from engine.gallery import Gallery
from engine.plan import Measured, Plan, write_plan
from engine.short_codes import ShortCodeFiles
from kernels.short.codes import TILE_PHOTOS, ShortCodes, encode
from mlrm.cli import errors_shown, run, say
from mlrm.features import Features

POOL = 20_000
SEGMENT = 20_000
SKETCHES = 64
SCANS = 2
"""Searches of all features that are timed; each reads the whole gallery."""


def make(path: Path, pool: Rows, photos: int, coordinates: int) -> None:
    """Put a gallery together, its codes as `engine optimize` would make them; the pool's first photos come as they are.

    pool: float16 levels.
    """
    levels = tuple(level.numpy() for level in pool.levels)
    weights = pool.region_weights.numpy(), pool.level_weights.numpy()
    basis = fitted(pool, coordinates)
    parts = encode(basis, levels, *weights)
    shapes = FeatureShapes(weights[0].shape[1], basis.channels, (1, 1))
    gallery, files = Gallery.create(path, shapes=shapes, model_fingerprint="drawn"), ShortCodeFiles(path)
    files.write_basis(basis)
    rng = np.random.default_rng(0)
    for start in range(0, photos, SEGMENT):
        count = min(SEGMENT, photos - start)
        chosen = rng.integers(0, len(pool), (count, shapes.regions))
        if not start:
            chosen[:SKETCHES] = np.arange(SKETCHES)[:, None]
        mixed = tuple(by_region(level, chosen) for level in levels)
        region, level = (by_region(one, chosen) for one in weights)
        block = FeatureBlock(mixed, region, level, empty_maps(count, shapes))
        with gallery.writer() as writer:
            writer.add(block, [f"{start + number:09}" for number in range(count)])
        files.write(gallery.snapshot().segments[-1].name, mixed_codes(parts, chosen))
        say(f"{start + count} of {photos} photos")
    tried = Measured(tuple(len(term.axes) for term in basis.terms), basis.photo_bytes, 0, 0.0, 0.0, 0.0)
    write_plan(path, Plan(basis.name, photos, False, 0.0, (tried,)))


def by_region(values: Array, chosen: NDArray[np.int64]) -> Array:
    """Of values [P, R, ...] photos made of region r of photo chosen[n, r]: [N, R, ...]."""
    return np.stack([values[chosen[:, region], region] for region in range(chosen.shape[1])], 1)


def empty_maps(count: int, shapes: FeatureShapes) -> Array:
    """No maps."""
    return np.zeros((count, shapes.regions, 1, 1), np.uint8)


def mixed_codes(parts: ShortCodes, chosen: NDArray[np.int64]) -> ShortCodes:
    """The codes of `by_region`'s photos: each term's are those of the photo that its region comes from."""
    basis, (count, regions) = parts.basis, chosen.shape
    tiles = -(-count // TILE_PHOTOS)
    places = np.zeros((tiles * TILE_PHOTOS, regions), np.int64)
    places[:count] = chosen
    tile, lane = np.divmod(places, TILE_PHOTOS)
    codes = np.empty((tiles, TILE_PHOTOS, *parts.codes.shape[1::2]), np.uint8)
    sides = np.empty((tiles, TILE_PHOTOS, *parts.sides.shape[1:3]), np.float16)
    weights = np.empty((tiles, TILE_PHOTOS, parts.weights.shape[1]), np.float16)
    for region in range(regions):
        of = tile[:, region].reshape(tiles, -1), lane[:, region].reshape(tiles, -1)
        terms = slice(region * basis.levels, (region + 1) * basis.levels)
        groups = slice(*basis.groups[[terms.start, terms.stop]])
        codes[:, :, groups] = parts.codes[of[0], groups, of[1]]
        sides[:, :, terms] = parts.sides[of[0], terms, :, of[1]]
        weights[:, :, region] = parts.weights[of[0], region, of[1]]
        own = slice(regions + terms.start, regions + terms.stop)
        weights[:, :, own] = parts.weights[of[0], own, of[1]]
    ends = np.minimum(np.arange(1, tiles + 1) * TILE_PHOTOS, count)
    return ShortCodes(
        basis,
        ends,
        np.ascontiguousarray(codes.transpose(0, 2, 1, 3)),
        np.ascontiguousarray(sides.transpose(0, 2, 3, 1)),
        np.ascontiguousarray(weights.transpose(0, 2, 1)),
        parts.scales,
    )


def out_of_the_cache(path: Path) -> None:
    """Ask the system to forget the gallery's files, which no process maps."""
    for file in path.rglob("*.safetensors"):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def searched(path: Path, scans: int) -> dict[str, Any]:
    """Times, survivors and memory; of this process, which should have done nothing before."""
    gallery, sketches = Gallery.open(path), load_sketches(path)
    search, begin = CertifiedSearch(ExactSearch(torch.device("cpu")), "codes"), perf_counter()
    timed(search, gallery, sketches[:1])
    row: dict[str, Any] = {"photos": len(gallery.snapshot()), "opening_s": perf_counter() - begin}
    row["values"] = sum(gallery.meta.shapes.level_dims) * gallery.meta.shapes.regions
    rest = range(1, len(sketches))
    for name in ("cold", "warm"):
        found = [timed(search, gallery, sketches[i : i + 1]) for i in rest]
        row[f"{name}_ms"] = float(np.median([one[0] for one in found]))
        row[f"{name}_most_ms"] = max(one[0] for one in found)
    reports = [one[1].report for one in found]
    row["survivors"] = float(np.mean([one.survivors for one in reports]))
    row["most"] = max(one.survivors for one in reports)
    row["rescored"] = float(np.mean([one.rescored for one in reports]))
    row["mb_read"] = float(np.mean([one.bytes_read for one in reports])) / 1e6
    row["scanned"] = sum(one.read != "codes" for one in reports)
    row["own_memory_mb"] = own_memory()
    scan = CertifiedSearch(ExactSearch(torch.device("cpu")), "features")
    if scans:
        timed(scan, gallery, sketches[:1])
        compared = [timed(scan, gallery, sketches[i : i + 1]) for i in range(1, 1 + scans)]
        row["scan_ms"] = float(np.median([one[0] for one in compared]))
        row["same"] = all(one[1].hits == own[1].hits for one, own in zip(compared, found, strict=False))
    return row


def timed(search: CertifiedSearch, gallery: Gallery, sketch: Features) -> tuple[float, Any]:
    """Milliseconds, and the answer."""
    begin = perf_counter()
    [answer] = search(gallery, gallery.select(None), sketch, TOP_K)
    return 1e3 * (perf_counter() - begin), answer


def load_sketches(path: Path) -> Features:
    """Those that `make` drew."""
    with torch.serialization.safe_globals([Rows]):
        rows: Rows = torch.load(path.with_suffix(".sketches"))
    return Features(rows.levels, rows.region_weights, rows.level_weights)


def own_memory() -> float:
    """MB of this process that no file backs."""
    status = Path("/proc/self/status").read_text()
    return float(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) / 1e3


@errors_shown
def main(
    data: Annotated[Path, typer.Argument(help="The folder of the research data sets.")],
    place: Annotated[Path, typer.Option(help="Directory of the drawn gallery; made where it isn't there.")],
    photos: Annotated[int, typer.Option(help="Size of the gallery to draw.")] = 1_000_000,
    cache: Annotated[Path, typer.Option(help="Encoded features of the real photos; made if it isn't there.")] = Path(
        "features.safetensors"
    ),
    paper: Annotated[bool, typer.Option("--paper", help="The published 10,368 values a photo, not 6,144.")] = False,
    coordinates: Annotated[int, typer.Option(help="Kept of a photo.")] = 704,
    scans: Annotated[int, typer.Option(help="Searches of all features to compare with.")] = SCANS,
    here: Annotated[bool, typer.Option("--here", help="Search in this process, with what is in the cache.")] = False,
) -> None:
    """Time certified search of a gallery on the disk, and print a row of JSON."""
    if here:
        say(json.dumps(searched(place, scans)))
        return
    if not Gallery.exists(place):
        known, _, train, own = real_features(data, cache)
        channels = TRUNKS["densenet169" if paper else "lite0"]
        pool, sketches = Statistics.of(known, train, own).draw(POOL, SKETCHES, channels)
        torch.save(sketches, place.with_suffix(".sketches"))
        make(place, pool, photos, coordinates)
    out_of_the_cache(place)
    command = [sys.executable, "-m", "benches.certified_disk", str(data), "--place", str(place), "--here"]
    sys.exit(subprocess.run([*command, "--scans", str(scans)], check=False).returncode)


if __name__ == "__main__":
    run(main, "python -m benches.certified_disk DATA --place runs/drawn.gallery")
