"""The command: all figures of a checkpoint, and their numbers, into one folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mlrm.checkpoint import SHIPPED, load
from mlrm.cli import data_option, errors_shown, progress_bar, run, say
from mlrm.devices import find_device
from mlrm.errors import ConfigError
from mlrm.figures import attention, curves, nearest, trade
from mlrm.figures.pairs import read, see, spread
from mlrm.figures.style import require_matplotlib, save

EXAMPLE = (
    "Example: python -m mlrm.figures runs/first/best.pt --data shoes --against runs/cama/best.pt "
    "--log runs/first/log.csv --out runs/figures"
)
ATTENTION_PAIRS = 4


@errors_shown
def main(
    out: Annotated[Path, typer.Option(help="Folder for the pictures and figures.json; made if it isn't there.")],
    checkpoint: Annotated[Path | None, typer.Argument(help="Checkpoint; default: the one shipped.")] = None,
    data: Annotated[list[Path] | None, data_option("Folder of pairs; repeat for more; default: drawn pairs.")] = None,
    split: Annotated[str, typer.Option(help="Of --data: test or train.")] = "test",
    drawn: Annotated[int, typer.Option(help="How many products to draw where there is no --data.", min=2)] = 140,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            help="A checkpoint to show beside the first one's attention, as CAMA beside LAMA; repeat for more."
        ),
    ] = None,
    show: Annotated[int, typer.Option(help="Sketches in the figure of the nearest photos.", min=1)] = 6,
    log: Annotated[
        list[Path] | None,
        typer.Option(
            help="log.csv of a training, or a pretraining's .csv; repeat for more; default: that beside CHECKPOINT."
        ),
    ] = None,
    times: Annotated[
        Path | None,
        typer.Option(
            help="Times of the retrieval comparison; default: those of the repository, run in it.", exists=True
        ),
    ] = None,
    accuracy: Annotated[Path, typer.Option(help="Its accuracies, for --times.")] = trade.ACCURACY,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Draw where the regions look, what some sketches find, training curves, and accuracy against time.

    A figure that nothing is at hand for is named. Keep pictures of research data out of repositories; without --data
    everything shown is drawn by this project.
    """
    if split not in ("test", "train"):
        raise ConfigError(f"split is {split!r}; expected test or train")
    require_matplotlib()
    runs = [curves.read(file) for file in (_log_beside(checkpoint) if log is None else log)]
    comparison = _comparison(times, accuracy)
    where = find_device(device)
    files = [checkpoint or SHIPPED, *(against or ())]
    models = [load(file).to(where) for file in files]
    if len(sizes := {model.config.image_size for model in models}) > 1:
        raise ConfigError(f"the checkpoints take images of {sorted(sizes)} pixels; expected one size")
    out.mkdir(parents=True, exist_ok=True)
    weights = models[0].fingerprint()
    record: dict[str, Any] = {"weights": weights, "data": {}}
    with progress_bar() as progress:
        folders: list[Path | None] = [*data] if data else [None]
        for folder in folders:
            pictures = read(
                folder, "test" if split == "test" else "train", drawn, models[0].config.image_size, progress
            )
            named = zip(map(_name, files), models, strict=True)
            seen = [see(name, model, pictures, where, progress) for name, model in named]
            shown = spread(show, len(pictures.sketches))
            figure = attention.draw(pictures, seen, spread(ATTENTION_PAIRS, len(pictures.sketches)))
            save(figure, _said(out / f"attention-{pictures.name}.png"), weights)
            save(nearest.draw(pictures, seen[0], shown), _said(out / f"nearest-{pictures.name}.png"), weights)
            record["data"][pictures.name] = [
                {"name": one.name, "regions": one.model.config.region_maps, "fingerprint": one.model.fingerprint()}
                | attention.numbers(pictures, one)
                for one in seen
            ]
    if runs:
        save(curves.draw(runs), _said(out / "curves.png"), None)
    else:
        say("curves.png: left, there is no log.csv beside the checkpoint; --log FILE names one")
    if comparison is None:
        say(
            f"accuracy-time.png: left, {trade.TIMES} isn't in this folder; --times FILE names what "
            "pytest benches/test_table2.py --benchmark-only --benchmark-json=FILE --data PAIRS measured"
        )
    else:
        save(trade.draw(comparison), _said(out / "accuracy-time.png"), comparison.weights)
        if comparison.weights != weights:
            say(f"its accuracies are of the weights {comparison.weights[:8]}, not of this checkpoint, {weights[:8]}")
    _said(out / "figures.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _log_beside(checkpoint: Path | None) -> list[Path]:
    """The log of the training that left a checkpoint, where it is still beside it."""
    beside = [] if checkpoint is None else [checkpoint.parent / "log.csv"]
    return [file for file in beside if file.is_file()]


def _comparison(times: Path | None, accuracy: Path) -> trade.Comparison | None:
    """The retrieval comparison from the files asked for, or from the repository's if this runs in it."""
    if times is None and not (trade.TIMES.is_file() and accuracy.is_file()):
        return None
    return trade.read(times or trade.TIMES, accuracy)


def _name(file: Path) -> str:
    """A checkpoint in a figure: its file, or its folder where training named the file; and that it ships."""
    if file == SHIPPED:
        return "as shipped"
    return file.resolve().parent.name if file.stem in ("best", "last") else file.stem


def _said(file: Path) -> Path:
    say(str(file))
    return file


if __name__ == "__main__":
    run(main, EXAMPLE)
