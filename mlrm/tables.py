"""`python -m mlrm.tables`: the tables of accuracy in README, model card and guide, made of the committed JSON.

In a text a table stands between the lines `<!-- table NAME -->` and `<!-- end -->`; the names are those of `TABLES`.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mlrm.ablate import mean_over_seeds
from mlrm.ablation_cells import CELLS
from mlrm.cli import errors_shown, run, say
from mlrm.errors import ConfigError

EXAMPLE = "Example: python -m mlrm.tables (in the repository, after its JSON files changed)"
EVALUATION = Path("mlrm/data/evaluation.json")
ABLATIONS = Path("docs/ablations.json")
TEXTS = (Path("README.md"), Path("mlrm/data/MODEL_CARD.md"), Path("docs/training.md"))
NAMES = {
    "shoes": "QMUL-Shoe test",
    "chairs": "QMUL-Chair test",
    "shoes among shoev2_photos": "QMUL-Shoe test among 2,000 photos of ShoeV2",
}
"""What data sets are called in `EVALUATION`, and in the tables."""
BLOCK = re.compile(r"<!-- table (?P<name>.*?) -->\n(?P<body>.*?)<!-- end -->", re.DOTALL)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    lines.insert(1, "|---" * len(header) + "|")
    return "\n".join(lines) + "\n"


def _percent(result: dict[str, Any], *names: str) -> list[str]:
    return [f"{100 * result[name]:.1f}" for name in names]


def _results(root: Path) -> list[dict[str, Any]]:
    evaluation = json.loads((root / EVALUATION).read_text(encoding="utf-8"))
    return [result for part in evaluation.values() for result in part["results"]]


def accuracy_table(root: Path) -> str:
    """Accuracy on the test pairs, by category and among distractors."""
    header = ["data", "sketches", "photos", "acc@1 %", "acc@5 %", "acc@10 %", "median rank"]
    return _table(
        header,
        [
            [
                NAMES[result["data"]],
                f"{result['sketches']}",
                f"{result['photos']}",
                *_percent(result, "acc1", "acc5", "acc10"),
                f"{result['median_rank']:g}",
            ]
            for result in _results(root)
        ],
    )


def ink_table(root: Path) -> str:
    """Accuracy by how much ink the sketches have."""
    header = ["data", "third of the sketches", "ink %", "sketches", "acc@1 %", "acc@5 %", "acc@10 %"]
    thirds = ("least ink", "middle", "most ink")
    return _table(
        header,
        [
            [
                NAMES[result["data"]],
                which,
                f"{100 * part['ink'][0]:.1f} to {100 * part['ink'][1]:.1f}",
                f"{part['sketches']}",
                *_percent(part, "acc1", "acc5", "acc10"),
            ]
            for result in _results(root)
            if "by_ink" in result
            for which, part in zip(thirds, result["by_ink"], strict=True)
        ],
    )


def ablation_table(root: Path) -> str:
    """Accuracy on the validation parts for every cell of the study; empty where a cell was not run."""
    results: list[dict[str, Any]] = []
    if (root / ABLATIONS).exists():
        results = json.loads((root / ABLATIONS).read_text(encoding="utf-8"))["results"]
    sets = list(dict.fromkeys(name[:-5] for result in results for name in result if name.endswith("/acc1")))
    columns = [f"{name}/acc{k}" for name in sets for k in (1, 10)]
    header = ["question", "cell", *(f"{column.split('/acc')[0]} acc@{column.split('/acc')[1]} %" for column in columns)]
    rows = []
    for cell in CELLS:
        means = [mean_over_seeds(results, cell.name, column) for column in columns]
        runs = max((mean[1] for mean in means if mean), default=0)
        shares = [f"{100 * mean[0]:.1f}" if mean else "" for mean in means]
        rows.append([cell.group, cell.name, *shares, str(runs)])
    return _table([*header, "runs"], rows)


TABLES: dict[str, Callable[[Path], str]] = {
    "accuracy": accuracy_table,
    "ink": ink_table,
    "ablations": ablation_table,
}


def with_tables(text: str, root: Path) -> str:
    """The text with every table in it made anew; raises `ConfigError` for an unknown or unfinished one."""

    def made(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in TABLES:
            raise ConfigError(f"there is no table {name!r}; expected one of {', '.join(TABLES)}")
        return f"<!-- table {name} -->\n{TABLES[name](root)}<!-- end -->"

    if text.count("<!-- table ") != len(BLOCK.findall(text)):
        raise ConfigError("a line <!-- table NAME --> has no <!-- end --> after its table; add it")
    return BLOCK.sub(made, text)


@errors_shown
def main(
    root: Annotated[Path, typer.Option(help="The repository.", exists=True, file_okay=False)] = Path(),
) -> None:
    """Make the tables of accuracy anew from the committed JSON files."""
    for path in (root / text for text in TEXTS):
        if not path.is_file():
            raise ConfigError(f"{path} isn't there; run this in the repository, or give its folder as --root")
        before = path.read_text(encoding="utf-8")
        after = with_tables(before, root)
        path.write_text(after, encoding="utf-8")
        say(f"{path}: {len(BLOCK.findall(after))} tables, {'changed' if after != before else 'as they were'}")


if __name__ == "__main__":
    run(main, EXAMPLE)
