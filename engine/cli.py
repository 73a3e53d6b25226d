"""The commands of `python -m engine`."""

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.cli_benchmark import benchmarking
from engine.cli_options import BackendOption, DeviceOption, GalleryOption, MetadataOption, ModelOption
from engine.cli_serve import serving
from engine.cli_upkeep import upkeep
from engine.errors import EngineError
from engine.types import AddReport, SearchResult, Skipped
from mlrm.cli import errors_shown, progress_bar, say

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Search photos by sketch.",
    epilog="Start with: python -m engine demo",
)
app.add_typer(serving)
app.add_typer(benchmarking)
app.add_typer(upkeep)
SKIPPED_SHOWN = 20


@app.command(epilog="Example: python -m engine index photos/ --gallery my.gallery")
@errors_shown
def index(
    photos: Annotated[list[Path], typer.Argument(help="Folders (with all below them) or image files.")],
    gallery: GalleryOption = Path("my.gallery"),
    metadata: MetadataOption = None,
    index_key: Annotated[
        list[str] | None, typer.Option(help="A metadata key that filters will often use; may be given several times.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take changed photos, and new metadata, in place of what is there.")
    ] = False,
    skipped: Annotated[Path | None, typer.Option(help="Write every photo left out, and why, into this file.")] = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
) -> None:
    """Add photos to a gallery, made if need be. Interrupted, the same command goes on where it stopped."""
    from engine.retriever import Retriever

    if skipped:
        _write_skipped((), skipped)  # now: after hours of work is too late to find that it can't be written
    retriever = Retriever(model, gallery, device, backend)
    started = time.perf_counter()
    report = retriever.add(photos, metadata=metadata, replace=replace, index_keys=index_key or [])
    seconds = time.perf_counter() - started
    say(report.summary())
    _show_skipped(report)
    if skipped:
        _write_skipped(report.skipped, skipped)
    say(f"backend: {retriever.backend}")
    say(f"{gallery}: {len(retriever)} photos, {seconds:.1f} s, {len(report.added) / seconds:.1f} added a second")
    if len(retriever):
        options = f"--gallery {shlex.quote(str(gallery))}" + (f" --model {shlex.quote(str(model))}" if model else "")
        say(f"next: python -m engine search SKETCH {options} --out result.png")


@app.command(epilog="Example: python -m engine sync photos/ --gallery my.gallery")
@errors_shown
def sync(
    photos: Annotated[Path, typer.Argument(help="The folder that the gallery is to follow.")],
    gallery: GalleryOption = Path("my.gallery"),
    metadata: MetadataOption = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
) -> None:
    """Add what is new in a folder, read again what changed, remove what is gone, report near-duplicates."""
    from engine.retriever import Retriever
    from engine.sync import sync as bring_up_to_date

    retriever = Retriever(model, gallery, device, backend)
    report = bring_up_to_date(retriever, photos, metadata=metadata)
    say(report.summary())
    _show_skipped(report.photos)
    say(f"{gallery}: {len(retriever)} photos")


@app.command(epilog="Example: python -m engine search sketch.png --gallery my.gallery --top-k 5 --out result.png")
@errors_shown
def search(
    sketch: Annotated[Path, typer.Argument(help="The sketch's image file.")],
    gallery: GalleryOption = Path("my.gallery"),
    top_k: Annotated[int, typer.Option(help="How many photos.")] = 10,
    where: Annotated[
        str | None, typer.Option(help='Conditions on the metadata, as JSON: {"category": "shoe", "price": {"lt": 100}}')
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Draw the photos in order, with heat maps, into this file.")] = None,
    explain: Annotated[Path | None, typer.Option(help="Draw why the nearest photo is near into this file.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the matches, and how they were found, as JSON.")
    ] = False,
    memory: Annotated[
        str, typer.Option(help="codes: search by short codes; features: read all features; auto: what costs less.")
    ] = "auto",
    max_candidates: Annotated[
        int | None,
        typer.Option(
            help="Read the features of no more photos than this; the answer may then not be proven, and says so."
        ),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
) -> None:
    """Find the photos that a sketch shows, nearest first."""
    from engine.filters import parse_where
    from engine.gallery import Gallery
    from engine.retriever import Retriever

    conditions = None if where is None else parse_where(where)
    Gallery.open(gallery)  # searching doesn't make a gallery: a mistyped path is an error here
    retriever = Retriever(model, gallery, device, backend, memory)
    exact = max_candidates is None
    result = retriever.search(sketch, top_k, where=conditions, exact=exact, max_candidates=max_candidates)
    if as_json:
        typer.echo(json.dumps({"matches": result.to_list(), "report": result.report.to_dict()}, indent=1))
    else:
        Console().print(_table(result))
    if out:
        result.save(out)
        say(f"picture: {out}")
    if explain and not len(result):
        say(f"no explanation written: {gallery} holds no photos")
    elif explain:
        result[0].explain().save(explain)
        say(f"explanation of {result[0].id}: {explain}")
    say(str(result.report))


@app.command(epilog="Example: python -m engine info --gallery my.gallery")
@errors_shown
def info(gallery: GalleryOption = Path("my.gallery")) -> None:
    """What a gallery holds."""
    from engine.gallery import Gallery
    from engine.plan import read_plan

    found = Gallery.open(gallery).info()
    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    rows = {
        "photos": found.photos,
        "rows of removed photos": found.dead_rows,
        "photos in damaged segments": found.quarantined_photos,
        "segments": found.segments,
        "on disk": f"{found.bytes_on_disk / 1e6:.1f} MB",
        "read by a search": f"{found.bytes_resident / 1e6:.1f} MB, which stay in memory while there is room",
        "short codes": read_plan(found.path) or "none; searches read all features",
        "indexed metadata keys": ", ".join(found.index_keys) or "none",
        "features": found.meta.shapes,
        "model": found.meta.model_name or "of another program",
        "fingerprint of the model": found.meta.model_fingerprint,
        "features made by": "\n".join(f"{made} ({count} photos added)" for made, count in found.artefacts.items())
        or "not noted: added by an earlier release, or as features",
        "power of region weights": found.meta.region_weight_power,
        "format": found.meta.format_version,
        "commits": found.generation,
    }
    for name, value in rows.items():
        table.add_row(name, Text(str(value)))
    Console().print(table)


@app.command(epilog="Example: python -m engine doctor")
@errors_shown
def doctor() -> None:
    """What works on this machine: versions, devices, backends, names that clash."""
    from engine.doctor import examine

    table = Table()
    for column in ("", "what", "found"):
        table.add_column(column)
    findings = examine()
    for finding in findings:
        mark = {True: "[green]ok[/]", False: "[red]no[/]", None: "-"}[finding.works]
        table.add_row(mark, finding.name, Text(finding.text))
    Console().print(table)
    if any(finding.works is False for finding in findings):
        raise typer.Exit(1)


@app.command(epilog="Example: python -m engine demo --out demo --photos 300")
@errors_shown
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the drawn photos, the gallery and the picture.")] = Path("demo"),
    photos: Annotated[int, typer.Option(help="How many products to draw.", min=10)] = 300,
    sketches: Annotated[int, typer.Option(help="How many of them to search by sketch.", min=1)] = 100,
    seed: Annotated[int, typer.Option(help="Another seed, other products.")] = 1,
    device: DeviceOption = "auto",
) -> None:
    """Draw product photos and sketches, index the photos, search by the sketches. Needs no data."""
    from engine.demo import run_demo

    with progress_bar() as progress:
        report = run_demo(out, photos, sketches, seed, device, progress)
    say(report.text())


def _show_skipped(report: AddReport) -> None:
    for skip in report.skipped[:SKIPPED_SHOWN]:
        say(f"  skipped {skip.source}: {skip.reason}")
    if len(report.skipped) > SKIPPED_SHOWN:
        say(f"  ... and {len(report.skipped) - SKIPPED_SHOWN} more")


def _write_skipped(all_skipped: Sequence[Skipped], file: Path) -> None:
    try:
        file.write_text("".join(f"{skip.source}: {skip.reason}\n" for skip in all_skipped), encoding="utf-8")
    except OSError as error:
        raise EngineError(f"can't write the skipped photos to {file}: {error}; give another --skipped") from error


def _table(result: SearchResult) -> Table:
    table = Table()
    table.add_column("rank", justify="right")
    table.add_column("distance", justify="right")
    table.add_column("photo", overflow="fold")
    for match in result:
        # As Text: an id in brackets is no markup.
        table.add_row(str(match.rank), f"{match.distance:.6f}", Text(match.id))
    return table
