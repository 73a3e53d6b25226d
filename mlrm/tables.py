"""`python -m mlrm.tables`: the tables of accuracy and parity in the texts, made of the committed JSON.

In a text a table stands between the lines `<!-- table NAME -->` and `<!-- end -->`; the names are those of `TABLES`.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mlrm.ablate import mean_over_seeds
from mlrm.ablation_cells import BASE, BY_PRODUCTS, CELLS, Cell
from mlrm.cli import errors_shown, run, say
from mlrm.errors import ConfigError

EXAMPLE = "Example: python -m mlrm.tables (in the repository, after its JSON files changed)"
EVALUATION = Path("mlrm/data/evaluation.json")
ABLATIONS = Path("docs/ablations.json")
PRODUCTS = Path("docs/products.json")
UNFINISHED = Path("docs/unfinished.json")
PARITY = Path("docs/parity.json")
FIGURES = (Path("docs/figures/figures.json"), Path("docs/figures/lama-cama.json"))
TEXTS = (
    Path("README.md"),
    Path("mlrm/data/MODEL_CARD.md"),
    Path("docs/training.md"),
    Path("docs/service.md"),
    Path("docs/figures.md"),
    Path("docs/export.md"),
)
FRAMINGS = ("as drawn", "fitted")
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


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _results(root: Path) -> list[dict[str, Any]]:
    return [result for part in _read(root / EVALUATION).values() for result in part["results"]]


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
    return _cells_table(root / ABLATIONS, CELLS)


def products_table(root: Path) -> str:
    """Accuracy on the validation parts by how many products there were to train on."""
    return _cells_table(root / PRODUCTS, (*BY_PRODUCTS, BASE))


def _cells_table(study: Path, cells: Sequence[Cell]) -> str:
    results = _read(study)["results"] if study.exists() else []
    sets = list(dict.fromkeys(name[:-5] for result in results for name in result if name.endswith("/acc1")))
    columns = [f"{name}/acc{k}" for name in sets for k in (1, 10)]
    header = ["question", "cell", *(f"{column.split('/acc')[0]} acc@{column.split('/acc')[1]} %" for column in columns)]
    rows = []
    for cell in cells:
        means = [mean_over_seeds(results, cell.name, column) for column in columns]
        runs = max((mean[1] for mean in means if mean), default=0)
        shares = [f"{100 * mean[0]:.1f}" if mean else "" for mean in means]
        rows.append([cell.group, cell.name, *shares, str(runs)])
    return _table([*header, "runs"], rows)


def unfinished_table(root: Path) -> str:
    """acc@10 of the test sketches by the share of their ink that is drawn, as drawn and fitted."""
    results = _read(root / UNFINISHED)["results"]
    found = {(one["data"], one["framing"], one["ink"]): one.get("acc10") for one in results}
    sets = list(dict.fromkeys(data for (data, _, _), share in found.items() if share is not None))
    inks = sorted({ink for _, _, ink in found})
    rows = [
        [f"{data}, acc@10 %", *(" / ".join(f"{100 * found[data, how, ink]:.1f}" for how in FRAMINGS) for ink in inks)]
        for data in sets
    ]
    return _table([f"ink ({' / '.join(FRAMINGS)})", *(f"{100 * ink:.0f} %" for ink in inks)], rows)


def parity_table(root: Path) -> str:
    """What each type of exported file keeps of the original's features and rankings, by backend."""
    rows = [
        [
            f"{row['dtype']}, {row['bytes'] / 2**20:.1f} MiB",
            row["backend"],
            f"{row['worst_rms']:.1e}",
            f"{row['lowest_cosine']:.6f}",
            f"{row['top1']:.3f}",
            f"{row['top10']:.3f}",
            f"{row['correlation']:.4f}",
            *_percent(row, "acc1"),
        ]
        for row in _read(root / PARITY)["rows"]
    ]
    header = ["file", "backend", "worst RMS", "lowest cosine", "top-1 same", "top-10 overlap", "rank correlation"]
    original = {f"{100 * row['original_acc1']:.1f}" for row in _read(root / PARITY)["rows"]}
    return _table([*header, f"acc@1 % (PyTorch {', '.join(sorted(original))})"], rows)


def attention_table(root: Path) -> str:
    """How far the regions of the models in the attention figure overlap and reach."""
    rows = [
        [
            f"{model['regions'].upper()}, {model['name']}",
            side,
            f"{found['overlap']:.2f}",
            *_percent(found, "cells", "object"),
        ]
        for file in FIGURES
        if (root / file).exists()
        for models in _read(root / file)["data"].values()
        for model in models
        for side, found in ((side, model[side]) for side in ("sketches", "photos"))
    ]
    return _table(["model", "of", "overlap of two regions", "cells taken %", "object in them %"], rows)


TABLES: dict[str, Callable[[Path], str]] = {
    "accuracy": accuracy_table,
    "ink": ink_table,
    "ablations": ablation_table,
    "products": products_table,
    "unfinished": unfinished_table,
    "parity": parity_table,
    "attention": attention_table,
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
    """Make the tables in the texts anew from the committed JSON files."""
    for path in (root / text for text in TEXTS):
        if not path.is_file():
            raise ConfigError(f"{path} isn't there; run this in the repository, or give its folder as --root")
        before = path.read_text(encoding="utf-8")
        after = with_tables(before, root)
        path.write_text(after, encoding="utf-8")
        say(f"{path}: {len(BLOCK.findall(after))} tables, {'changed' if after != before else 'as they were'}")


if __name__ == "__main__":
    run(main, EXAMPLE)
