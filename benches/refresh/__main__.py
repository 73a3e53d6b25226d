"""The command."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from benches.refresh.registry import BY_HAND, ROOT, STEPS, Step
from benches.refresh.stage import Progress, Stage, missing
from benches.refresh.stamps import PLACES, shipped, stamp_picture, stamp_text, stored
from benches.table2.accuracy import read_accuracy
from benches.table2.page import table2_page
from benches.table2.rows import read_table2
from mlrm.cli import errors_shown, progress_bar, run, say
from mlrm.errors import ConfigError
from mlrm.tables.__main__ import main as make_tables

EXAMPLE = "Example: python -m benches.refresh --data DATA, after new weights; --list shows what is of older ones"


def state(file: str) -> str:
    """What weights a file of the repository is of."""
    found = stored(ROOT / file)
    if found == {shipped()}:
        return "current"
    if not (ROOT / file).is_file():
        return "missing"
    return f"of {', '.join(sorted(one[:8] for one in found))}" if found else "unstamped"


def make(step: Step, data: Path | None, progress: Progress) -> list[str]:
    """Make a step's files and put them in place, all of them or none; the names of those that changed."""
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder), data, progress)
        step.make(stage)
        made = {file: stage.out / Path(file).name for file in step.files}
        for new in made.values():
            if new.suffix == ".png" and not stored(new):
                stamp_picture(new, shipped())
            if stored(new) != {shipped()}:
                raise ConfigError(f"step {step.name} wrote {new.name} of other weights than the shipped: {stored(new)}")
        changed = [file for file, new in made.items() if not _same(ROOT / file, new)]
        for file in changed:
            (ROOT / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made[file], ROOT / file)
    return changed


def _same(old: Path, new: Path) -> bool:
    return old.is_file() and old.read_bytes() == new.read_bytes()


@errors_shown
def main(
    data: Annotated[
        Path | None, typer.Option(help="Folder of the research data sets, for the steps that measure on them.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="This step, current or not; repeat for more.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Steps whose files are current, too.")] = False,
    listing: Annotated[
        bool, typer.Option("--list", help="Show all steps and what weights their files are of.")
    ] = False,
    stamp: Annotated[
        list[Path] | None, typer.Option(help="A text that was read and holds for the shipped weights.", exists=True)
    ] = None,
) -> None:
    """Make every committed result, table and picture that depends on the shipped weights anew.

    Steps whose files carry the shipped weights' fingerprint are left out, so a stopped run goes on where it was. A step
    whose data or programs aren't at hand is named and left. Times are not made here. On one machine all files come out
    the same again; on another processor, last digits and single survivors of codes may differ.
    """
    steps = _chosen(only)
    if listing:
        Console(soft_wrap=True, highlight=False).print(_list(steps), markup=False)
        return
    for text in stamp or ():
        stamp_text(text, shipped())
        say(f"{text}: stamped with {shipped()[:8]}")
    if stamp:
        return
    left = []
    with progress_bar() as progress:
        for step in steps:
            if not (only or everything) and all(state(file) == "current" for file in step.files):
                say(f"{step.name}: current")
            elif lacks := missing(step.needs, data):
                left.append(step.name)
                say(f"{step.name}: left, without {', '.join(lacks)}")
            else:
                changed = make(step, data, progress)
                say(f"{step.name}: {', '.join(changed) if changed else 'as it was'}")
    make_tables(ROOT)
    for measured in sorted((ROOT / "benches" / "results").glob("*-table2.json")):
        plot = measured.with_suffix(".png").name
        page = table2_page(read_table2(measured), read_accuracy(), shipped(), plot)  # its accuracies are of step table2
        measured.with_suffix(".md").write_text(page, encoding="utf-8")
    unread = [text for text in BY_HAND if state(text) != "current"]
    if unread:
        say(f"to be read by a person, then --stamp: {', '.join(unread)}")
    if left:
        say(f"left: {', '.join(left)}")


def _chosen(only: list[str] | None) -> list[Step]:
    names = [step.name for step in STEPS]
    if unknown := sorted(set(only or ()) - set(names)):
        raise ConfigError(f"--only {unknown[0]!r} is no step; expected one of {', '.join(names)}")
    return [step for step in STEPS if not only or step.name in only]


def _list(steps: list[Step]) -> str:
    """Every file and what weights it is of, in the order it is made."""
    lines = [f"shipped weights: {shipped()}", f"fingerprints: {'; '.join(PLACES.values())}", ""]
    for step in steps:
        needs = f" (needs {', '.join(step.needs)})" if step.needs else ""
        lines += [f"{step.name}{needs}: {step.command}", *(f"  {state(file):12} {file}" for file in step.files)]
    lines += [
        "by a person, then --stamp FILE:",
        *(f"  {state(file):12} {file}: {what}" for file, what in BY_HAND.items()),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run(main, EXAMPLE)
