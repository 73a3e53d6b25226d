"""`python -m benches.certified_times`: what a sketch takes by codes of several lengths, beside a scan of all features.

One drawn gallery (`benches.drawn_like`) in memory, sketches one by one, and all of them together. A scan is timed
twice: of the float16 rows, as the first sketches find them, and once they have 8-bit codes of their own. Tuned PyTorch
is beside them, in float32. Writes certified-times.json and the plot certified-times.png; later runs and other machines
add to the file.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benches.cases import TRUNKS, Rows
from benches.certified import TOP_K, real_features
from benches.drawn_like import Statistics
from benches.kept_rows import keep, measured_on
from benches.providers.codes import Codes
from benches.providers.ours import Kernels, Packed
from benches.providers.tuned_torch import TunedTorch
from mlrm.checkpoint import load_shipped
from mlrm.cli import errors_shown, run, say
from mlrm.figures.style import new_figure, save
from mlrm.freed_memory import keep_freed_memory

COORDINATES = (192, 288, 384, 512, 704, 960)
TIMED = 32
"""Sketches, one by one."""
SCANS = 5
TOGETHER = 64


def timed(search: Callable[[Rows], object], sketches: Rows, count: int) -> float:
    """The median of some sketches one by one, in ms; one more goes before."""
    found = []
    search(sketches[:1])
    for number in range(count):
        begin = perf_counter()
        search(sketches[number : number + 1])
        found.append(1e3 * (perf_counter() - begin))
    return float(np.median(found))


def each_of_all(search: Callable[[Rows], object], sketches: Rows) -> float:
    """The median of some searches for all sketches at once, in ms a sketch; one more goes before."""
    return timed(lambda one: search(sketches), sketches, SCANS) / len(sketches)


def alone_and_together(
    way: Callable[[Rows], Packed | TunedTorch], gallery: Rows, sketches: Rows
) -> tuple[float, float]:
    """`timed` and `each_of_all` of a way whose copy of the gallery is gone afterwards."""
    search = partial(way(gallery).search, top_k=TOP_K)
    return timed(search, sketches, SCANS), each_of_all(search, sketches)


def measure(gallery: Rows, sketches: Rows, coordinates: tuple[int, ...]) -> list[dict[str, Any]]:
    """A row for each number of coordinates, with the same scans in each."""
    scan = Kernels(gallery, "cpu")
    first = timed(partial(scan.search, top_k=TOP_K), sketches, SCANS)
    later, later_each = alone_and_together(Packed, gallery, sketches)
    tuned, tuned_each = alone_and_together(partial(TunedTorch, dtype=torch.float32), gallery, sketches)
    rows = []
    for count in coordinates:
        codes = Codes(gallery, count)
        ms = timed(lambda one, codes=codes: codes.search(one, TOP_K), sketches, TIMED)  # type: ignore[misc]
        same = all(
            torch.equal(codes.search(one, TOP_K), scan.search(one, TOP_K)) for one in (sketches[:1], sketches[1:2])
        )
        each = each_of_all(lambda all_of_them, codes=codes: codes.search(all_of_them, TOP_K), sketches)  # type: ignore[misc]
        assert codes.run.codes is not None
        rows.append(
            {
                "photos": len(gallery),
                "values": sum(level[0].numel() for level in gallery.levels),
                "coordinates": count,
                "code_bytes": codes.run.codes.basis.photo_bytes,
                "survivors": float(np.mean([one.survivors for one in codes.found])),
                "scanned": sum(one.fell_through for one in codes.found),
                "ms": ms,
                "scan_ms": first,
                "later_scan_ms": later,
                "tuned_ms": tuned,
                "together": len(sketches),
                "each_ms": each,
                "later_scan_each_ms": later_each,
                "tuned_each_ms": tuned_each,
                "same": same,
            }
        )
        say(str(rows[-1]))
    return rows


def plot(rows: list[dict[str, Any]], out: Path, weights: str) -> None:
    """Milliseconds against bytes of code: a panel for each machine, a line for each gallery, its scans as levels."""
    machines = sorted({row["machine"] for row in rows})
    figure = new_figure(1.2 + 4.6 * len(machines), 4.4)
    panels = figure.subplots(1, len(machines), sharey=True, squeeze=False)
    for machine, axes in zip(machines, panels[0], strict=True):
        here = [row for row in rows if row["machine"] == machine]
        for number, (photos, values) in enumerate(sorted({(row["photos"], row["values"]) for row in here})):
            own = [row for row in here if (row["photos"], row["values"]) == (photos, values)]
            colour, name = f"C{number}", f"{photos:,} photos of {values:,} values"
            axes.plot([row["code_bytes"] for row in own], [row["ms"] for row in own], "o-", color=colour, label=name)
            for of, style in (("scan_ms", "--"), ("later_scan_ms", ":")):
                axes.axhline(own[0][of], color=colour, linestyle=style)
        axes.set(xlabel="bytes of code a photo", yscale="log", title=machine)
        for written in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            written("{x:g}")  # 20, not 2 x 10^1
        axes.plot([], [], "k--", label="scan, the first sketches")
        axes.plot([], [], "k:", label="scan, later ones")
    panels[0][0].set_ylabel(f"ms a sketch, k = {TOP_K}")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    save(figure, out, weights)


@errors_shown
def main(
    data: Annotated[Path, typer.Argument(help="The folder of the research data sets.")],
    photos: Annotated[int, typer.Option(help="Size of the drawn gallery.")] = 100_000,
    paper: Annotated[bool, typer.Option("--paper", help="The published 10,368 values a photo, not 6,144.")] = False,
    out: Annotated[Path, typer.Option(help="Where the JSON file and the plot go.")] = Path("docs"),
    cache: Annotated[Path, typer.Option(help="Encoded features of the real photos; made if it isn't there.")] = Path(
        "features.safetensors"
    ),
) -> None:
    """Time certified search against the length of its codes."""
    keep_freed_memory()
    weights = load_shipped().fingerprint()
    known, _, train, own = real_features(data, cache)
    gallery, sketches = Statistics.of(known, train, own).draw(
        photos, TOGETHER, TRUNKS["densenet169"] if paper else None
    )
    said = {"statistics_of": weights} | measured_on()
    rows = [row | said for row in measure(gallery, sketches, COORDINATES)]
    kept = keep(out / "certified-times.json", rows, ("machine", "photos", "values", "coordinates"))
    plot(kept, out / "certified-times.png", weights)


if __name__ == "__main__":
    run(main, "python -m benches.certified_times DATA --photos 100000")
