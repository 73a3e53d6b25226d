"""Tables of models that were trained to answer a question: a row for each cell of a study."""

from collections.abc import Sequence
from pathlib import Path

from mlrm.ablation_cells import BASE, BY_PRODUCTS, CELLS, Cell
from mlrm.intervals import Estimate
from mlrm.learning_cells import ALL, KINDS, SKETCHED
from mlrm.learning_cells import CELLS as PARTS
from mlrm.learning_results import LearningCurve
from mlrm.studies import mean_over_seeds
from mlrm.tables.markdown import read, table

ABLATIONS = Path("docs/ablations.json")
PRODUCTS = Path("docs/products.json")
LEARNING = Path("docs/learning-curve.json")


def ablation_table(root: Path) -> str:
    """Accuracy on the validation parts for every cell of the study; empty where a cell was not run."""
    return _cells(root / ABLATIONS, CELLS)


def products_table(root: Path) -> str:
    """Accuracy on the validation parts by how many products there were to train on."""
    return _cells(root / PRODUCTS, (*BY_PRODUCTS, BASE))


def learning_table(root: Path) -> str:
    """What is read after training on less, and after fewer steps, with intervals; cells that were not run are empty."""
    curve = LearningCurve(read(root / LEARNING)) if (root / LEARNING).exists() else None
    categories = curve.categories if curve else []
    header = ["trained on", "sketched products", "photos nobody sketched"]
    for category in categories:
        header += [f"{category} acc@1 %", f"{category} MRR %", f"{category} MRR, all reads more by"]
    early = curve.steps(ALL.name)[:-1] if curve else []
    rows: list[tuple[str, str, int | None]] = [(f"{ALL.name}, after {step} steps", ALL.name, step) for step in early]
    rows += [(cell.name, cell.name, None) for cell in PARTS]
    cells = []
    for title, name, step in rows:
        row = [title]
        if curve and curve.seeds(name):
            row += [_products(curve, name, kind) for kind in reversed(KINDS)]
            for category in categories:
                row += [_interval(curve.estimate(name, category, measure, step)) for measure in ("acc1", "mrr")]
                row.append("" if step else _interval(curve.lead_of_all(name, category, "mrr"), sign="+"))
        runs = str(len(curve.seeds(name))) if curve else "0"
        cells.append([*row, *[""] * (len(header) - len(row)), runs])
    return table([*header, "runs"], cells)


def _products(curve: LearningCurve, cell: str, kind: str) -> str:
    if kind != SKETCHED:
        return f"{curve.products(cell, kind):,}"
    return " + ".join(f"{curve.products(cell, kind, category)} {category}" for category in curve.categories)


def _interval(found: Estimate | None, sign: str = "") -> str:
    if found is None:
        return ""
    value, low, high = (100 * number for number in found)
    return f"{value:{sign}.1f} [{low:.1f}, {high:.1f}]"


def _cells(study: Path, cells: Sequence[Cell]) -> str:
    results = read(study)["results"] if study.exists() else []
    sets = list(dict.fromkeys(name[:-5] for result in results for name in result if name.endswith("/acc1")))
    columns = [f"{name}/acc{k}" for name in sets for k in (1, 10)]
    header = ["question", "cell", *(f"{column.split('/acc')[0]} acc@{column.split('/acc')[1]} %" for column in columns)]
    rows = []
    for cell in cells:
        means = [mean_over_seeds(results, cell.name, column) for column in columns]
        runs = max((mean[1] for mean in means if mean), default=0)
        shares = [f"{100 * mean[0]:.1f}" if mean else "" for mean in means]
        rows.append([cell.group, cell.name, *shares, str(runs)])
    return table([*header, "runs"], rows)
