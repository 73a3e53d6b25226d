"""What `python -m mlrm.learning_curve` has kept, read again: means over seeds with their intervals."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlrm.intervals import Estimate, over_products
from mlrm.learning_cells import ALL, SKETCHED

Floats = NDArray[np.float64]

MEASURES: dict[str, Callable[[Sequence[int]], Floats]] = {
    "acc1": lambda rank: np.equal(rank, 1).astype(np.float64),
    "mrr": lambda rank: 1 / np.asarray(rank, dtype=np.float64),
}
"""From the ranks of sketches' own photos (1 is best) to what each sketch adds to a mean, 0..1."""


def spelled(numbers: Sequence[int]) -> str:
    """Many whole numbers as one line of JSON."""
    return " ".join(map(str, numbers))


class LearningCurve:
    """A study's runs, by cell. study: what its JSON file holds."""

    def __init__(self, study: Mapping[str, Any]) -> None:
        self._results: list[dict[str, Any]] = list(study["results"])
        shown = study["setting"]["sketched_products"]
        self._products = {name: [int(number) for number in numbers.split()] for name, numbers in shown.items()}

    @property
    def categories(self) -> list[str]:
        """What it is read on."""
        return list(self._products)

    def seeds(self, cell: str) -> set[int]:
        """Those that a cell was run with."""
        return {run["seed"] for run in self._results if run["cell"] == cell}

    def steps(self, cell: str) -> list[int]:
        """After how many steps a cell was read; none if it was not run."""
        return next(([point["step"] for point in run["points"]] for run in self._results if run["cell"] == cell), [])

    def products(self, cell: str, kind: str, category: str | None = None) -> int:
        """How many products of a kind a cell that was run was trained on, of one category or of all."""
        found = next(run["products"] for run in self._results if run["cell"] == cell)
        return sum(count[kind] for name, count in found.items() if category in (None, name))

    def products_seen(self, cell: str, kind: str, category: str) -> int:
        """The number to plot a category's accuracy over: its own sketched products, but the photos of all categories.

        Photos that nobody sketched need not be of each category: what they teach is that a drawing and a photo can
        show one thing.
        """
        return self.products(cell, kind, category if kind == SKETCHED else None)

    def estimate(self, cell: str, category: str, measure: str, step: int | None = None) -> Estimate | None:
        """A measure after so many steps, by default all, its mean over a cell's seeds; None if it was not run."""
        seeds = self.seeds(cell)
        if not seeds:
            return None
        return over_products(self._values(cell, seeds, category, measure, step), self._products[category])

    def lead_of_all(self, cell: str, category: str, measure: str) -> Estimate | None:
        """How much more all data reads than this cell, on the same sketches and seeds; None if it can't be said."""
        seeds = self.seeds(cell) & self.seeds(ALL.name)
        if not seeds or cell == ALL.name:
            return None
        whole, part = (self._values(name, seeds, category, measure, None) for name in (ALL.name, cell))
        return over_products(whole - part, self._products[category])

    def _values(self, cell: str, seeds: set[int], category: str, measure: str, step: int | None) -> Floats:
        """For each sketch the mean over seeds of what it adds to a measure, [sketches]."""
        step = self.steps(cell)[-1] if step is None else step
        ranks = [
            [int(rank) for rank in point[category]["ranks"].split()]
            for run in self._results
            if run["cell"] == cell and run["seed"] in seeds
            for point in run["points"]
            if point["step"] == step
        ]
        mean: Floats = np.mean([MEASURES[measure](rank) for rank in ranks], axis=0)
        return mean
