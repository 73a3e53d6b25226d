"""Tables of the accuracy on test and validation pairs, all of `EVALUATION`."""

from pathlib import Path
from typing import Any

from mlrm.tables.markdown import percent, read, table

EVALUATION = Path("mlrm/data/evaluation.json")
"""By run, what `mlrm.evaluate` found of the shipped weights; and `OTHERS`."""
OTHERS = "other_models"
"""What other models reached whose test pairs were run: a list of name, fingerprint, and results by split."""
RUNS = {"test": ("test", "distractors"), "validation": ("validation", "validation_distractors")}
"""By split, the runs in `EVALUATION`."""
NAMES = {
    "shoes": "QMUL-Shoe {}",
    "chairs": "QMUL-Chair {}",
    "qmul_v1_shoes_more_sketches": "QMUL-Shoe {}, further sketches",
    "shoes among shoev2_photos": "QMUL-Shoe {} among 2,000 photos of ShoeV2",
}
"""What data sets are called in `EVALUATION`, and in the tables, with the split."""
SHARES = ("acc1", "acc5", "acc10")
THIRDS = ("least ink", "middle", "most ink")


def accuracy_table(root: Path, split: str) -> str:
    """Accuracy on a split of `RUNS`, by category and among distractors."""
    return table(
        ["data", "sketches", "photos", "acc@1 %", "acc@5 %", "acc@10 %", "median rank"],
        [
            [
                _name(result),
                f"{result['sketches']}",
                f"{result['photos']}",
                *percent(result, *SHARES),
                f"{result['median_rank']:g}",
            ]
            for result in _results(root, split)
        ],
    )


def ink_table(root: Path, split: str) -> str:
    """Accuracy by how much ink the sketches have."""
    return table(
        ["data", "third of the sketches", "ink %", "sketches", "acc@1 %", "acc@5 %", "acc@10 %"],
        [
            [
                _name(result),
                which,
                f"{100 * part['ink'][0]:.1f} to {100 * part['ink'][1]:.1f}",
                f"{part['sketches']}",
                *percent(part, *SHARES),
            ]
            for result in _results(root, split)
            if "by_ink" in result
            for which, part in zip(THIRDS, result["by_ink"], strict=True)
        ],
    )


def models_table(root: Path, split: str) -> str:
    """acc@1 / 5 / 10 of the shipped model and of `OTHERS`; empty where one was not read on such data."""
    own = _results(root, split)
    rows = [["this one", *(_shares(result) for result in own)]]
    for model in read(root / EVALUATION)[OTHERS]:
        found = {result["data"]: _shares(result) for result in model[split]}
        if found:
            rows.append([_model(model), *(found.get(result["data"], "") for result in own)])
    return table(["acc@1 / 5 / 10 %", *(f"{_name(one)}, {one['sketches']} sketches" for one in own)], rows)


def _model(model: dict[str, Any]) -> str:
    """A model of `OTHERS`: what it is, and the beginning of its fingerprint where that is known."""
    return f"{model['name']} (`{model['fingerprint'][:8]}`)" if model["fingerprint"] else str(model["name"])


def _shares(result: dict[str, Any]) -> str:
    return " / ".join(percent(result, *SHARES))


def _name(result: dict[str, Any]) -> str:
    return NAMES[result["data"]].format(result["split"])


def _results(root: Path, split: str) -> list[dict[str, Any]]:
    found = read(root / EVALUATION)
    return [result for run in RUNS[split] for result in found[run]["results"]]
