"""`python -m benches.report`: a run of the benches as a page, a plot and a small JSON; what got slower."""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from benches.compare import compare, read_times
from benches.encoder_page import encoder_page, goals_reached
from benches.encoder_rows import EncoderRun, read_encoder_run
from benches.goals import outcomes
from benches.page import page
from benches.roofline import draw_roofline
from benches.rows import Run, read_run
from benches.table2.accuracy import read_accuracy
from benches.table2.page import goals_reached as table2_goals
from benches.table2.page import table2_page
from benches.table2.plot import draw_table2
from benches.table2.real import shipped
from benches.table2.rows import Table2Run, read_table2
from mlrm.cli import errors_shown, run, say
from mlrm.errors import ConfigError

EXAMPLE = (
    "Example: pytest benches/ --benchmark-only --benchmark-json=run.json && python -m benches.report run.json "
    "--against benches/results/DEVICE.json"
)
RESULTS = Path(__file__).parent / "results"


def write_results(found: Run, folder: Path) -> list[Path]:
    """Write <device>.json, .md and .png into `folder`, made if need be; returns them in this order.

    Raises `ConfigError` for a run without a single row.
    """
    if not found.rows:
        raise ConfigError(
            "the run has no measured row, so there is nothing to report; pytest says why rows were skipped"
        )
    folder.mkdir(parents=True, exist_ok=True)
    name = device_name(found.machine.device)
    table, text, plot = (folder / f"{name}.{ending}" for ending in ("json", "md", "png"))
    table.write_text(found.to_json(), encoding="utf-8")
    text.write_text(page(found, plot.name), encoding="utf-8")
    draw_roofline(found, plot)
    return [table, text, plot]


def write_encoders(found: EncoderRun, folder: Path) -> list[Path]:
    """Write <device>-encoders.json and .md into `folder`, made if need be; returns them in this order."""
    folder.mkdir(parents=True, exist_ok=True)
    name = device_name(found.machine.device)
    data, text = (folder / f"{name}-encoders.{ending}" for ending in ("json", "md"))
    data.write_text(found.to_json(), encoding="utf-8")
    text.write_text(encoder_page(found), encoding="utf-8")
    return [data, text]


def write_table2(found: Table2Run, folder: Path) -> list[Path]:
    """Write <device>-table2.json, .md and .png into `folder`, made if need be; returns them in this order."""
    folder.mkdir(parents=True, exist_ok=True)
    name = device_name(found.machine.device)
    data, text, plot = (folder / f"{name}-table2.{ending}" for ending in ("json", "md", "png"))
    data.write_text(found.to_json(), encoding="utf-8")
    page_text = table2_page(found, read_accuracy(), shipped().fingerprint(), plot.name)
    text.write_text(page_text, encoding="utf-8")
    draw_table2(found, plot)
    return [data, text, plot]


def device_name(device: str) -> str:
    """A device's name as a file's: "NVIDIA H100 80GB HBM3" -> "nvidia-h100-80gb-hbm3"."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


@errors_shown
def main(
    measured: Annotated[Path, typer.Argument(metavar="JSON", help="The JSON of a run, or of a results folder.")],
    out: Annotated[Path, typer.Option(help="Folder for <device>.json, .md and .png.", file_okay=False)] = RESULTS,
    against: Annotated[
        Path | None, typer.Option(help="An earlier run: exit with 1, and write nothing, if ours got slower.")
    ] = None,
    threshold: Annotated[float, typer.Option(help="How much slower is allowed: 0.1 is 10 %.", min=0)] = 0.1,
) -> None:
    """Turn a run of the benches into a page with a table, a roofline plot, and the goals met and missed."""
    found, encoders, table2 = read_run(measured), read_encoder_run(measured), read_table2(measured)
    if against is not None and _got_slower(against, measured, threshold):
        sys.exit(1)
    reached: list[bool] = []
    # A run may be of any alone; one of none is refused.
    if found.rows or not (encoders.rows or table2.rows):
        for file in write_results(found, out):
            say(f"wrote {file}")
        reached += [one.met for one in outcomes(found)]
    if encoders.rows:
        for file in write_encoders(encoders, out):
            say(f"wrote {file}")
        reached += [one.met for one in goals_reached(encoders)]
    if table2.rows:
        for file in write_table2(table2, out):
            say(f"wrote {file}")
        reached += [one.met for one in table2_goals(table2)]
    say(f"goals: {sum(reached)} of {len(reached)} met")


def _got_slower(earlier: Path, now: Path, threshold: float) -> bool:
    """Say what got slower, and by how much the rows that are not ours differ."""
    result = compare(read_times(earlier), read_times(now), threshold)
    for old, new in result.slower:
        say(
            f"slower: {new.name}: {new.seconds * 1e3:.2f} ms, was {old.seconds * 1e3:.2f} ms "
            f"({new.seconds / old.seconds - 1:+.0%})"
        )
    drift = "" if result.drift is None else f"; the other providers' rows differ by {result.drift - 1:+.0%}"
    alone = f"; {result.alone} are in one of the runs alone" if result.alone else ""
    say(f"{len(result.slower)} of {result.compared} rows slower by more than {threshold:.0%}{alone}{drift}")
    return bool(result.slower)


if __name__ == "__main__":
    run(main, EXAMPLE)
