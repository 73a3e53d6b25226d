"""`python -m benches.certified_disk`: certified search through the engine, of a drawn gallery on the disk.

The gallery's photos are put together from the regions of a pool of drawn ones (`benches.drawn_like`): region by region
of another photo, so that a million differ and each region is drawn and coded once. Regions that don't vary together
make distances more alike than real ones do: more photos survive a screen. The gallery stays where it was put; run
again, it is searched again.
Searches are timed in a process of their own: first with the gallery's pages out of the system's cache, each sketch
once; then again, with the rows it reads in the cache.

With less memory than the gallery takes, the system's cache included: where systemd runs the machine,

    systemd-run --user --scope -p MemoryMax=3G -p MemorySwapMax=0 \\
        python -m benches.certified_disk DATA --place runs/drawn.gallery --memory "3 GiB"

or, as root, by a control group of version 1:

    mkdir /sys/fs/cgroup/memory/small
    echo 3G > /sys/fs/cgroup/memory/small/memory.limit_in_bytes
    sh -c 'echo $$ > /sys/fs/cgroup/memory/small/cgroup.procs;
        exec python -m benches.certified_disk DATA --place runs/drawn.gallery --memory "3 GiB"'
"""

import json
import os
import sys
from collections.abc import Iterator
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
from benches.kept_rows import keep, measured_on
from benches.providers.codes import fitted
from engine.certified import Answer, CertifiedSearch
from engine.drift import Drift
from engine.errors import ConfigError
from engine.exact import ExactSearch
from engine.features import Array, FeatureBlock, FeatureShapes
from engine.gallery import Gallery
from engine.plan import Measured, Plan, read_plan, write_plan
from engine.planning import planned
from engine.short_codes import ShortCodeFiles
from kernels.short.codes import TILE_PHOTOS, ShortCodes, encode
from mlrm.checkpoint import load_shipped
from mlrm.cli import errors_shown, run, say
from mlrm.features import Features

POOL = 20_000
SEGMENT = 20_000
SKETCHES = 64
SCANS = 2
"""Searches of all features that are timed; each reads the whole gallery."""
DRAWN_LIKE = "drawn like "
"""Before the fingerprint of the weights, in the gallery's name of its model: no model makes such photos."""


def make(path: Path, pool: Rows, photos: int, statistics_of: str) -> None:
    """Put a gallery together; the pool's first photos come as they are.

    pool: float16 levels. statistics_of: fingerprint of the weights that it was drawn like the features of.
    """
    levels = tuple(level.numpy() for level in pool.levels)
    weights = pool.region_weights.numpy(), pool.level_weights.numpy()
    shapes = FeatureShapes(weights[0].shape[1], tuple(level.shape[2] for level in levels), (1, 1))
    gallery = Gallery.create(path, shapes=shapes, model_fingerprint=DRAWN_LIKE + statistics_of)
    for number, chosen in enumerate(choices(len(pool), photos, shapes.regions)):
        mixed = tuple(by_region(level, chosen) for level in levels)
        region, level = (by_region(one, chosen) for one in weights)
        block = FeatureBlock(mixed, region, level, empty_maps(len(chosen), shapes))
        with gallery.writer() as writer:
            writer.add(block, [f"{number * SEGMENT + row:09}" for row in range(len(chosen))])
        say(f"{number * SEGMENT + len(chosen)} of {photos} photos")


def choices(pool: int, photos: int, regions: int) -> Iterator[NDArray[np.int64]]:
    """For each segment the photos of the pool that its photos' regions come from: [N, R]."""
    rng = np.random.default_rng(0)
    for start in range(0, photos, SEGMENT):
        chosen = rng.integers(0, pool, (min(SEGMENT, photos - start), regions))
        if not start:
            chosen[:SKETCHES] = np.arange(SKETCHES)[:, None]
        yield chosen


def code(path: Path, pool: Rows, coordinates: int | None) -> None:
    """Give a gallery that `make` made of this pool the codes that `engine optimize` would; None: as many as it chooses.

    Each region is coded once, however many photos it is in.
    """
    gallery, files, begin = Gallery.open(path), ShortCodeFiles(path), perf_counter()
    snapshot = gallery.snapshot()
    if coordinates is None:
        plan, basis = planned(snapshot, gallery.meta.region_weight_power, load_sketches(path))
        if basis is None:
            raise ConfigError(f"{plan}: give some --coordinates")
        say(f"{plan}; {perf_counter() - begin:.0f} s")
    else:
        basis = fitted(pool, coordinates)
        tried = Measured(tuple(len(term.axes) for term in basis.terms), basis.photo_bytes, 0, 0.0, 0.0, 0.0)
        plan = Plan(basis.name, len(snapshot), False, 0.0, (tried,))
    files.write_basis(basis)
    begin = perf_counter()
    levels = tuple(level.numpy() for level in pool.levels)
    parts = encode(basis, levels, pool.region_weights.numpy(), pool.level_weights.numpy())
    say(f"codes of {len(pool)} photos: {perf_counter() - begin:.0f} s")
    for segment, chosen in zip(snapshot.segments, choices(len(pool), len(snapshot), basis.regions), strict=True):
        files.write(segment.name, mixed_codes(parts, chosen))
    write_plan(path, plan, Drift())
    files.keep({segment.name for segment in snapshot.segments}, basis.name)


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
    row: dict[str, Any] = {"imported_memory_mb": own_memory()}
    begin = perf_counter()
    gallery, sketches, plan = Gallery.open(path), load_sketches(path), read_plan(path)
    search = CertifiedSearch(ExactSearch(torch.device("cpu")), "codes")
    timed(search, gallery, sketches[:1])
    row |= {"photos": len(gallery.snapshot()), "opening_s": perf_counter() - begin}
    row["values"] = sum(gallery.meta.shapes.level_dims) * gallery.meta.shapes.regions
    row["statistics_of"] = gallery.meta.model_fingerprint.removeprefix(DRAWN_LIKE)
    assert plan is not None
    assert plan.chosen is not None
    row |= {"coordinates": sum(plan.chosen.kept), "code_bytes": plan.chosen.photo_bytes}
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
        gallery = Gallery.open(path)  # the maps of the other are set for single rows
        timed(scan, gallery, sketches[:1])
        compared = [timed(scan, gallery, sketches[i : i + 1]) for i in range(1, 1 + scans)]
        row["scan_ms"] = float(np.median([one[0] for one in compared]))
        row["same"] = all(ranking(one[1]) == ranking(own[1]) for one, own in zip(compared, found, strict=False))
    return row


def timed(search: CertifiedSearch, gallery: Gallery, sketch: Features) -> tuple[float, Answer]:
    """Milliseconds, and the answer."""
    begin = perf_counter()
    [answer] = search(gallery, gallery.select(None), sketch, TOP_K)
    return 1e3 * (perf_counter() - begin), answer


def ranking(answer: Answer) -> list[tuple[str, float]]:
    """Ids and distances."""
    return [(hit.id, hit.distance) for hit in answer.hits]


def load_sketches(path: Path) -> Features:
    """Those that `make` drew."""
    with torch.serialization.safe_globals([Rows]):
        rows: Rows = torch.load(path.with_suffix(".sketches"))
    return Features(rows.levels, rows.region_weights, rows.level_weights)


def own_memory() -> float:
    """MB of this process that no file backs."""
    status = Path("/proc/self/status").read_text()
    [kib] = [int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")]
    return kib * 1024 / 1e6


@errors_shown
def main(
    data: Annotated[Path, typer.Argument(help="The folder of the research data sets.")],
    place: Annotated[Path, typer.Option(help="Directory of the drawn gallery; made where it isn't there.")],
    photos: Annotated[int, typer.Option(help="Size of the gallery to draw.")] = 1_000_000,
    cache: Annotated[Path, typer.Option(help="Encoded features of the real photos; made if it isn't there.")] = Path(
        "features.safetensors"
    ),
    paper: Annotated[bool, typer.Option("--paper", help="The published 10,368 values a photo, not 6,144.")] = False,
    coordinates: Annotated[
        int | None, typer.Option(help="Kept of a photo; without it, as many as `engine optimize` chooses.")
    ] = None,
    scans: Annotated[int, typer.Option(help="Searches of all features to compare with.")] = SCANS,
    memory: Annotated[
        str, typer.Option(help="What the row says of the memory: how a control group limits it.")
    ] = "all",
    out: Annotated[Path, typer.Option(help="The row goes into this JSON file, in the place of one like it.")] = Path(
        "docs/certified-disk.json"
    ),
    here: Annotated[bool, typer.Option("--here", help="Search in this process, with what is in the cache.")] = False,
) -> None:
    """Time certified search of a gallery on the disk, and keep a row of JSON.

    Once with all memory and once for each limit: the rows gather in one file, from which `python -m mlrm.tables` makes
    the tables of the page.
    """
    if here:
        row = searched(place, scans) | {"memory": memory} | measured_on()
        say(json.dumps(row))
        keep(out, [row], ("machine", "photos", "values", "coordinates", "memory"))
        return
    if not Gallery.exists(place):
        known, _, train, own = real_features(data, cache)
        channels = TRUNKS["densenet169" if paper else "lite0"]
        pool, sketches = Statistics.of(known, train, own).draw(min(POOL, photos), SKETCHES, channels)
        torch.save(sketches, place.with_suffix(".sketches"))
        make(place, pool, photos, load_shipped().fingerprint())
        code(place, pool, coordinates)
    out_of_the_cache(place)
    command = [sys.executable, "-m", "benches.certified_disk", str(data), "--place", str(place), "--here"]
    os.execv(sys.executable, [*command, "--scans", str(scans), "--memory", memory, "--out", str(out)])


if __name__ == "__main__":
    run(main, "python -m benches.certified_disk DATA --place runs/drawn.gallery")
