"""`python -m benches.certified`: survivors, bytes and time of certified search, on real features and drawn ones.

Writes two plots for `docs/certified-search.md`, certified.json of the real galleries, and certified-drawn.json of the
drawn ones. Runs of several sizes add to these.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import torch
import typer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from benches.cases import TRUNKS, Rows
from benches.drawn_like import Statistics
from benches.kept_rows import keep
from benches.providers.codes import Codes
from benches.providers.ours import Kernels
from engine.encoders.opening import open_encoder
from engine.encoding import encode
from mlrm.checkpoint import load_shipped
from mlrm.cli import errors_shown, run, say
from mlrm.datasets import read_pairs
from mlrm.errors import ConfigError
from mlrm.figures.style import save
from mlrm.images import find_images, load_image

COORDINATES = (96, 192, 384, 576, 960)
USUAL = 384
DIGITS = 1
"""Decimals of a mean that are kept: another processor's features differ in their last bits, and a photo may survive."""
TIMED = 32
"""Sketches, one by one."""
SCANS = 5
TOP_K = 10
KEY = ("photos", "values", "coordinates")
"""Of a row; a later one takes its place."""


def real_features(data: Path, cache: Path) -> tuple[Rows, Rows, Rows, torch.Tensor]:
    """Photos, test sketches, training sketches, and the photo of each of these; encoded once, by the shipped model."""
    encoder = open_encoder(None, torch.device("cpu"), "torch").encoder
    if not cache.is_file():
        sets = [data / "qmul_v1" / name for name in ("shoes", "chairs")]
        test, train = ([read_pairs(one, split) for one in sets] for split in ("test", "train"))
        photos = [*find_images(data / "shoev2_photos"), *(path for one in (*test, *train) for path in one.photos)]
        pairs = [
            (sketch, one.photos[own]) for one in train for sketch, own in zip(one.sketches, one.photo_of, strict=True)
        ]
        tensors = {"own": torch.tensor([photos.index(photo) for _, photo in pairs])}
        for name, paths in (
            ("photos", photos),
            ("test", [path for one in test for path in one.sketches]),
            ("train", [sketch for sketch, _ in pairs]),
        ):
            found = encode(encoder, (load_image(path) for path in paths), "photo" if name == "photos" else "sketch")
            tensors |= {f"{name}.{number}": level.contiguous() for number, level in enumerate(found.levels)}
            tensors |= {f"{name}.region": found.region_weights, f"{name}.level": found.level_weights}
        save_file(tensors, cache, {"weights": encoder.fingerprint})
    with safe_open(cache, "pt") as file:
        if (file.metadata() or {}).get("weights") != encoder.fingerprint:
            raise ConfigError(f"{cache} holds features of other weights than the shipped; remove it, or give another")
    held = load_file(cache)

    def rows(name: str) -> Rows:
        levels = tuple(held[f"{name}.{number}"] for number in range(3))
        if name == "photos":
            levels = tuple(level.half() for level in levels)
        return Rows(levels, held[f"{name}.region"], held[f"{name}.level"])

    return rows("photos"), rows("test"), rows("train"), held["own"]


def survivors(kind: str, gallery: Rows, sketches: Rows, coordinates: int, timed: bool = False) -> dict[str, Any]:
    """One row of the results."""
    codes = Codes(gallery, coordinates)
    codes.search(sketches, TOP_K)
    counts = [one.survivors for one in codes.found]
    assert codes.run.codes is not None
    row: dict[str, Any] = {
        "kind": kind,
        "photos": len(gallery),
        "values": sum(level[0].numel() for level in gallery.levels),
        "coordinates": coordinates,
        "code_bytes": codes.run.codes.basis.photo_bytes,
        "survivors": round(float(np.mean(counts)), DIGITS),
        "most": max(counts),
        "scanned": sum(one.fell_through for one in codes.found),
        "sketches": len(counts),
    }
    if timed:
        scan = Kernels(gallery, "cpu")
        scan.search(sketches[:1], TOP_K)
        row["ms"] = float(np.median([_ms(codes, sketches[i : i + 1]) for i in range(TIMED)]))
        row["scan_ms"] = float(np.median([_ms(scan, sketches[i : i + 1]) for i in range(SCANS)]))
        row["same"] = all(
            torch.equal(codes.search(one, TOP_K), scan.search(one, TOP_K))
            for one in (sketches[i : i + 1] for i in range(4))
        )
    return row


def _ms(searcher: Codes | Kernels, sketch: Rows) -> float:
    begin = perf_counter()
    searcher.search(sketch, TOP_K)
    return 1e3 * (perf_counter() - begin)


def measure(
    data: Path, cache: Path, real: bool, sizes: Sequence[int], paper: bool, coordinates: int
) -> list[dict[str, Any]]:
    """Rows for real galleries of several sizes and codes, and for drawn ones."""
    photos, test, train, own = real_features(data, cache)
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(0))
    found = []
    if real:
        found += [survivors("real", photos[order[: len(photos) // part]], test, USUAL) for part in (8, 4, 2)]
        found += [survivors("real", photos, test, count) for count in COORDINATES]
    if sizes:
        statistics = Statistics.of(photos, train, own)
        channels = TRUNKS["densenet169"] if paper else None
        for size in sizes:
            gallery, sketches = statistics.draw(size, 64, channels)
            found.append(survivors("drawn", gallery, sketches, coordinates, timed=True))
            say(json.dumps(found[-1]))
    return found


def plot(rows: list[dict[str, Any]], out: Path, weights: str) -> None:
    """Survivors against photos, and bytes read against bytes of code; the pictures name the weights."""
    from matplotlib import pyplot

    figure, (axes, times) = pyplot.subplots(1, 2, figsize=(9.6, 3.8))
    for kind, mark in (("drawn", "o-"), ("real", "s-")):
        points = sorted((r["photos"], r["survivors"]) for r in rows if (r["kind"], r["coordinates"]) == (kind, USUAL))
        axes.loglog(*zip(*points, strict=True), mark, label=kind)
    axes.set(xlabel="photos", ylabel="survivors (mean)", title=f"{USUAL} coordinates, k = {TOP_K}")
    axes.legend()
    timed = sorted((r for r in rows if "ms" in r and r["coordinates"] == USUAL), key=lambda r: r["photos"])
    for name, mark, label in (("ms", "o-", "by codes"), ("scan_ms", "^--", "scan of all features")):
        times.loglog([r["photos"] for r in timed], [r[name] for r in timed], mark, label=label)
    times.set(xlabel="photos (drawn)", ylabel="ms a sketch", title="where it starts to pay")
    times.legend()
    figure.tight_layout()
    save(figure, out / "certified-survivors.png", weights)
    whole = max(r["photos"] for r in rows if r["kind"] == "real")
    some = sorted((r for r in rows if (r["kind"], r["photos"]) == ("real", whole)), key=lambda r: r["code_bytes"])
    figure, axes = pyplot.subplots(figsize=(6.4, 3.8))
    sizes, codes = [r["code_bytes"] for r in some], np.array([r["code_bytes"] * whole / 1e6 for r in some])
    left = np.array([2 * r["values"] * r["survivors"] / 1e6 for r in some])
    axes.semilogy(sizes, codes, "--", label="codes")
    axes.semilogy(sizes, left, ":", label="features of survivors")
    axes.semilogy(sizes, codes + left, "o-", label="both")
    axes.axhline(2 * some[0]["values"] * whole / 1e6, color="red", label="all features")
    axes.set(xlabel="bytes of code a photo", ylabel="MB a search reads", title=f"{whole} real photos, k = {TOP_K}")
    axes.legend(loc=(0.02, 0.57), fontsize=8)
    figure.tight_layout()
    save(figure, out / "certified-bytes.png", weights)


@errors_shown
def main(
    data: Annotated[Path, typer.Argument(help="The folder of the research data sets.")],
    out: Annotated[Path, typer.Option(help="Where the JSON files are, and plots go.")] = Path("docs"),
    cache: Annotated[Path, typer.Option(help="Encoded features; made if it isn't there.")] = Path(
        "features.safetensors"
    ),
    real: Annotated[bool, typer.Option(help="Measure the real galleries.")] = True,
    photos: Annotated[
        list[int] | None, typer.Option(help="Size of a drawn gallery; may be given several times.")
    ] = None,
    paper: Annotated[bool, typer.Option("--paper", help="Drawn galleries of the published 10,368 values.")] = False,
    coordinates: Annotated[int, typer.Option(help="Of drawn galleries.")] = USUAL,
) -> None:
    """Measure certified search and draw the plots of its page."""
    weights = load_shipped().fingerprint()
    new = measure(data, cache, real, photos or [], paper, coordinates)
    rows = keep(out / "certified.json", [row | {"weights": weights} for row in new if row["kind"] == "real"], KEY)
    # Drawn galleries stay when the weights change, and say whose statistics they were drawn from.
    drawn = [row | {"statistics_of": weights} for row in new if row["kind"] == "drawn"]
    rows += keep(out / "certified-drawn.json", drawn, KEY)
    plot(rows, out, weights)


if __name__ == "__main__":
    run(main, "python -m benches.certified DATA --photos 20000")
