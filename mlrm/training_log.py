"""The training log: one CSV row an epoch, and the curve drawn from it."""

import csv
import importlib.util
from pathlib import Path

from mlrm.errors import ConfigError


class TrainingLog:
    """`log.csv` in a run's folder, appended to epoch by epoch, and `curve.png` made of it."""

    def __init__(self, folder: Path) -> None:
        self.csv = folder / "log.csv"
        self.picture = folder / "curve.png"
        if importlib.util.find_spec("matplotlib") is None:
            raise ConfigError(
                "training draws its curve with matplotlib, which isn't installed: pip install 'mlrm-engine[train]'"
            )

    def rows(self) -> list[dict[str, str]]:
        """The rows so far; empty before the first epoch."""
        if not self.csv.exists():
            return []
        with self.csv.open(newline="") as file:
            return list(csv.DictReader(file))

    def keep(self, epochs: int) -> None:
        """Forget rows after `epochs`: what a killed run logged beyond its last checkpoint is trained again."""
        self._write([row for row in self.rows() if int(row["epoch"]) <= epochs])

    def append(self, row: dict[str, float]) -> None:
        """Add an epoch's numbers; columns may differ between rows (accuracy is not measured at each)."""
        self._write([*self.rows(), {name: f"{value:.6g}" for name, value in row.items()}])

    def _write(self, rows: list[dict[str, str]]) -> None:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        partial = self.csv.with_suffix(".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(self.csv)

    def draw(self) -> None:
        """Draw losses and validation accuracy against epochs."""
        from matplotlib.figure import Figure

        rows = self.rows()
        if not rows:
            return
        figure = Figure(figsize=(10, 4), layout="constrained")
        loss_axes, accuracy_axes = figure.subplots(1, 2)
        for column in rows[-1]:
            points = [(int(row["epoch"]), float(row[column])) for row in rows if row.get(column)]
            if column.startswith("loss/"):
                loss_axes.plot(*zip(*points, strict=True), label=column[5:])
            elif column.endswith("acc1") and points:
                accuracy_axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=column[:-5])
        loss_axes.set(xlabel="epoch", ylabel="loss", yscale="log", title="training losses")
        accuracy_axes.set(xlabel="epoch", ylabel="acc@1", title="validation")
        for axes in (loss_axes, accuracy_axes):
            axes.grid(alpha=0.3)
            if axes.has_data():
                axes.legend(fontsize=8)
        figure.savefig(self.picture, dpi=120)
