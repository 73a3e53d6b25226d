"""Tables of models that were trained to answer a question: a row for each cell of `mlrm.ablate`."""

from collections.abc import Sequence
from pathlib import Path

from mlrm.ablate import mean_over_seeds
from mlrm.ablation_cells import BASE, BY_PRODUCTS, CELLS, Cell
from mlrm.tables.markdown import read, table

ABLATIONS = Path("docs/ablations.json")
PRODUCTS = Path("docs/products.json")


def ablation_table(root: Path) -> str:
    """Accuracy on the validation parts for every cell of the study; empty where a cell was not run."""
    return _cells(root / ABLATIONS, CELLS)


def products_table(root: Path) -> str:
    """Accuracy on the validation parts by how many products there were to train on."""
    return _cells(root / PRODUCTS, (*BY_PRODUCTS, BASE))


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
