"""`python -m benches.table2.accuracy`: how many sketches find their photo by each way of the comparison.

Writes benches/results/table2-accuracy.json, which the result page reads. No times: the file depends on weights and
pairs alone.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from torch import Tensor

from benches.table2.inputs import Side
from benches.table2.published import Method
from benches.table2.real import Progress, shipped, sides
from benches.table2.ways import ways
from mlrm.cli import data_option, errors_shown, progress_bar, run, say
from mlrm.datasets import PairDataset
from mlrm.errors import ConfigError
from mlrm.evaluated_pairs import read_evaluated

EXAMPLE = "Example: python -m benches.table2.accuracy --data shoes --data chairs"
FILE = Path(__file__).parent.parent / "results" / "table2-accuracy.json"
TOP_K = 10


@dataclass(frozen=True)
class AccuracyRow:
    """Shares (0..1) of a data set's sketches whose photo is among the 1, 5, 10 nearest by a way."""

    data: str
    sketches: int
    photos: int
    method: Method
    way: str
    acc1: float
    acc5: float
    acc10: float


@dataclass(frozen=True)
class AccuracyFile:
    """What the file holds. model: the weights' fingerprint; runs: those of all weights whose test pairs were run."""

    model: str
    split: str
    runs: tuple[str, ...]
    rows: tuple[AccuracyRow, ...]

    def row(self, data: str, method: Method, way: str) -> AccuracyRow | None:
        """One row, if there is one."""
        return next((one for one in self.rows if (one.data, one.method, one.way) == (data, method, way)), None)

    def to_json(self) -> str:
        """What `read_accuracy` reads back."""
        return json.dumps(asdict(self), indent=1) + "\n"


def read_accuracy(file: Path = FILE) -> AccuracyFile:
    """The committed accuracy, or another file's; raises `ConfigError` for a file of another content."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        rows = tuple(AccuracyRow(**one | {"method": Method(one["method"])}) for one in found["rows"])
        return AccuracyFile(found["model"], found["split"], tuple(found["runs"]), rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{file} can't be read as accuracy of table 2 ({type(error).__name__}: {error}); make it with "
            "python -m benches.table2.accuracy --data FOLDER"
        ) from error


def measure(data: str, gallery: Side, sketches: Side, own: Tensor) -> list[AccuracyRow]:
    """The rows of a data set. own: the photo of each sketch, int64 [Q]."""
    rows = []
    for way in ways("cpu"):
        ready = way.prepare(gallery)
        hit = ready.search(sketches, min(TOP_K, len(gallery.rows))) == own[:, None]
        ready.close()
        shares = [float(hit[:, :k].any(1).double().mean()) for k in (1, 5, 10)]
        rows.append(AccuracyRow(data, len(sketches.rows), len(gallery.rows), way.method, way.name, *shares))
    return rows


def measure_all(datasets: Sequence[PairDataset], split: str, runs: tuple[str, ...], progress: Progress) -> AccuracyFile:
    """The shipped model's rows on some data sets; `runs` as in the file, without this one."""
    model, rows = shipped(), []
    for dataset in datasets:
        rows += measure(dataset.name, *sides(model, dataset, progress), torch.tensor(dataset.photo_of))
    name = model.fingerprint()
    return AccuracyFile(name, split, runs if split != "test" or name in runs else (*runs, name), tuple(rows))


@errors_shown
def main(
    data: Annotated[list[Path] | None, data_option("Folder of pairs; repeat for more.")] = None,
    split: Annotated[
        Literal["test", "validation"],
        typer.Option(help="validation: what training set aside, as mlrm.evaluate reads it."),
    ] = "test",
    validation: Annotated[
        list[int] | None, typer.Option(help="Photos that training set aside, for each --data; default 20 %.")
    ] = None,
    split_seed: Annotated[int, typer.Option(help="The training's, which decided what was set aside.")] = 0,
    out: Annotated[Path, typer.Option(help="Where to write the numbers.", dir_okay=False)] = FILE,
) -> None:
    """Accuracy of TC-Net's, LA's, DLA's and MLRM's way to search, on the shipped model's maps of real pairs."""
    if not data:
        raise ConfigError("no data: give at least one --data FOLDER")
    if split != "test" and out == FILE:
        raise ConfigError(f"{FILE.name} is of the test pairs; give another file by --out")
    datasets = read_evaluated(data, split, validation, split_seed, [])
    for one in datasets:
        say(one.summary())
    runs = read_accuracy(out).runs if out.exists() else ()
    with progress_bar() as progress:
        found = measure_all(datasets, split, runs, progress)
    out.write_text(found.to_json(), encoding="utf-8")
    for row in found.rows:
        shares = " / ".join(f"{100 * share:.1f}" for share in (row.acc1, row.acc5, row.acc10))
        say(f"{row.data} {row.method} {row.way}: {shares} % acc@1/5/10")
    say(f"wrote {out}")


if __name__ == "__main__":
    run(main, EXAMPLE)
