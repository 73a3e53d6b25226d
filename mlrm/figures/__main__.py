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
        list[Path] | None, typer.Option(help="log.csv of a training, or a pretraining's .csv; repeat for more.")
    ] = None,
    times: Annotated[
        Path | None, typer.Option(help="The retrieval comparison's times; draws accuracy against time.", exists=True)
    ] = None,
    accuracy: Annotated[Path, typer.Option(help="Its accuracies, for --times.")] = Path(
        "benches/results/table2-accuracy.json"
    ),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Draw where the regions look, what some sketches find, training curves, and accuracy against time.

    Keep pictures of research data out of repositories; without --data everything shown is drawn by this project.
    """
    if split not in ("test", "train"):
        raise ConfigError(f"split is {split!r}; expected test or train")
    require_matplotlib()
    runs = [curves.read(file) for file in log or ()]
    comparison = None if times is None else trade.read(times, accuracy)
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
    if comparison is not None:
        save(trade.draw(comparison), _said(out / "accuracy-time.png"), comparison.weights)
    _said(out / "figures.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


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
