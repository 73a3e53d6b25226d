"""`python -m mlrm.evaluate`: accuracy and time of a checkpoint on the test pairs of data sets."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mlrm.accuracy import Accuracy, accuracy, by_thirds, encode, ranks
from mlrm.checkpoint import SHIPPED, load
from mlrm.cli import data_option, errors_shown, progress_bar, run, say
from mlrm.datasets import PairDataset
from mlrm.decoding import decode, refuse_corrupt
from mlrm.devices import find_device
from mlrm.errors import ConfigError
from mlrm.evaluated_pairs import read_evaluated
from mlrm.features import Features
from mlrm.images import find_images
from mlrm.model import MLRM, Domain
from mlrm.transforms import image_to_tensor

EXAMPLE = "Example: python -m mlrm.evaluate runs/first/best.pt --data shoes --data chairs --json results.json"
BATCH = 16


@dataclass(frozen=True)
class Evaluation:
    """A checkpoint's result on one data set; times in seconds, decoding not counted."""

    name: str
    split: str
    accuracy: Accuracy
    rank_of_sketch: dict[str, int]
    by_ink: list[tuple[float, float, Accuracy]]
    """Of the third of the sketches with least ink, the middle one and that with most: lowest and highest ink (mean
    darkness of the drawing, 0 for white and 1 for black) and their accuracy."""
    feature_seconds: float
    retrieval_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single ranks."""
        times = {"feature_seconds": self.feature_seconds, "retrieval_seconds": self.retrieval_seconds}
        ink = [{"ink": [low, high]} | found.to_dict() for low, high, found in self.by_ink]
        return {"data": self.name, "split": self.split} | self.accuracy.to_dict() | {"by_ink": ink} | times


def evaluate(
    model: MLRM,
    dataset: PairDataset,
    device: torch.device,
    progress: Callable[[str, int, int], None],
    *,
    distractors: Sequence[Path] = (),
) -> Evaluation:
    """Search every sketch's photo among all photos of `dataset` and the `distractors`.

    model: in eval mode, on `device`. progress: called with (what, done, total).
    Raises `DatasetError` naming every file that can't be used, distractors too.
    """
    seconds = 0.0

    def features(images: Sequence[Tensor], domain: Domain) -> Features:
        nonlocal seconds
        begin = time.perf_counter()
        result = encode(
            lambda chunk: _run(model, chunk, domain, device),
            images,
            BATCH,
            lambda done: progress(f"{dataset.name}: {domain}s", done, len(images)),
        )
        seconds += time.perf_counter() - begin
        return result

    images, errors = decode(
        [*dataset.sketches, *dataset.photos, *distractors],
        lambda image: image_to_tensor(image, model.config.image_size),
        partial(progress, f"{dataset.name}: decode"),
    )
    refuse_corrupt(f"{dataset.name} with its distractors" if distractors else dataset.name, errors)
    drawn = len(dataset.sketches)
    sketch, photo = features(images[:drawn], "sketch"), features(images[drawn:], "photo")
    started = time.perf_counter()
    rank = ranks(sketch, photo, dataset.photo_of, model.config.region_weight_power)
    retrieval = time.perf_counter() - started
    by_sketch = dict(zip(dataset.relative(dataset.sketches), rank.tolist(), strict=True))
    ink = torch.stack([1 - image.double().mean() / 255 for image in images[:drawn]])
    return Evaluation(
        dataset.name,
        dataset.split,
        accuracy(rank, len(photo)),
        by_sketch,
        by_thirds(rank, ink, len(photo)),
        seconds,
        retrieval,
    )


def _run(model: MLRM, images: Tensor, domain: Domain, device: torch.device) -> Features:
    features: Features = model(images.to(device).contiguous(memory_format=torch.channels_last), domain)
    return features.to("cpu")


@errors_shown
def main(
    checkpoint: Annotated[Path | None, typer.Argument(help="Checkpoint; default: the one shipped.")] = None,
    data: Annotated[list[Path] | None, data_option("Folder of pairs; repeat for more.")] = None,
    split: Annotated[str, typer.Option(help="test, train, or validation: what training set aside.")] = "test",
    validation: Annotated[
        list[int] | None, typer.Option(help="Photos that training set aside, for each --data; default 20 %.")
    ] = None,
    split_seed: Annotated[int, typer.Option(help="The training's, which decided what was set aside.")] = 0,
    more_sketches: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FOLDER: more views of folder NAME's products; of those set aside, a gallery of its own."
        ),
    ] = None,
    distractors: Annotated[
        Path | None, typer.Option(help="Folder of further photos for every gallery.", exists=True, file_okay=False)
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers here too.")] = None,
    save_ranks: Annotated[Path | None, typer.Option(help="Write each sketch's rank here, as JSON.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Accuracy and time of a checkpoint: acc@1, @5, @10 and the median rank of each sketch's own photo."""
    if not data:
        raise ConfigError("no data: give at least one --data FOLDER")
    for option, file in (("--json", json_file), ("--save-ranks", save_ranks)):
        _require_place(option, file)
    datasets = read_evaluated(data, split, validation, split_seed, more_sketches or [])
    where = find_device(device)
    model = load(checkpoint or SHIPPED).to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if model.config.attention_over == "batch":
        say(
            "note: this model has attention_over='batch': an image's weights depend on the images it is batched with, "
            f"so these numbers hold for batches of {BATCH} in the order of the files, and no single search repeats them"
        )
    further = find_images(distractors) if distractors else []
    results = []
    with progress_bar() as progress:
        for dataset in datasets:
            say(dataset.summary())
            results.append(evaluate(model, dataset, where, progress, distractors=further))
    Console().print(_table(results))
    summary = {
        "model": model.fingerprint(),
        "config": json.loads(model.config.to_json()),
        "torch": torch.__version__,
        "device": str(where),
        "batch": BATCH,
        "results": [result.to_dict() for result in results],
    }
    if json_file:
        json_file.write_text(json.dumps(summary, indent=1) + "\n")
    if save_ranks:
        save_ranks.write_text(json.dumps({r.name: r.rank_of_sketch for r in results}, indent=1) + "\n")


def _require_place(option: str, file: Path | None) -> None:
    """Raise `ConfigError` unless `file` can be made: before the work, not after it."""
    if file is not None and not file.parent.is_dir():
        raise ConfigError(f"{option} {file}: there is no folder {file.parent}; make it, or give another path")
    if file is not None and file.is_dir():
        raise ConfigError(f"{option} {file} is a folder; give the path of a file to write")


def _table(results: list[Evaluation]) -> Table:
    table = Table(title="acc@k and median rank of each sketch's own photo")
    for column in ("data", "sketches", "photos", "@1 %", "@5 %", "@10 %", "median", "encode s", "search s"):
        table.add_column(column, justify="left" if column == "data" else "right")
    for result in results:
        found = result.accuracy
        shares = [f"{100 * share:.1f}" for share in (found.acc1, found.acc5, found.acc10)]
        times = [f"{result.feature_seconds:.1f}", f"{result.retrieval_seconds:.3f}"]
        table.add_row(result.name, str(found.sketches), str(found.photos), *shares, f"{found.median_rank:g}", *times)
    return table


if __name__ == "__main__":
    run(main, EXAMPLE)
