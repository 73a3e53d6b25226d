"""What depends on the shipped weights: which files, made by which step, from what. One list, for the command and CI."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benches.refresh import pictures, results
from benches.refresh.stage import Stage

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Step:
    """Files that are made together.

    make: writes them, by their names, into an empty folder. command: what a person would type for the same. needs: what
    has to be at hand, see `stage.missing`.
    """

    name: str
    files: tuple[str, ...]
    make: Callable[[Stage], None]
    command: str
    needs: tuple[str, ...] = ()


PAIRS = ("data qmul_v1/shoes", "data qmul_v1/chairs")

STEPS = (
    Step(
        "accuracy",
        ("mlrm/data/evaluation.json",),
        results.accuracy,
        "python -m mlrm.evaluate --data shoes --data chairs; the same with --split validation; with --distractors "
        "(runs the test pairs)",
        (*PAIRS, "data shoev2_photos", "data qmul_v1_shoes_more_sketches"),
    ),
    Step(
        "unfinished",
        ("docs/unfinished.json", "docs/unfinished.png"),
        results.unfinished,
        "python -m mlrm.unfinished --data shoes --data chairs --strokes chairv2_strokes",
        (*PAIRS, "data chairv2_strokes"),
    ),
    Step(
        "first-lines",
        ("docs/first-lines.json",),
        results.first_lines,
        "python -m mlrm.first_lines --data shoes --data chairs; the same with --split validation (runs the test pairs)",
        PAIRS,
    ),
    Step(
        "certified",
        ("docs/certified.json", "docs/certified-survivors.png", "docs/certified-bytes.png"),
        results.certified,
        "python -m benches.certified DATA (the real galleries; drawn ones are left as they are)",
        (*PAIRS, "data shoev2_photos", "package matplotlib"),
    ),
    Step(
        "table2",
        ("benches/results/table2-accuracy.json",),
        results.table2,
        "python -m benches.table2.accuracy --data DATA (runs the test pairs)",
        PAIRS,
    ),
    Step(
        "parity",
        ("docs/parity.json",),
        results.parity,
        "python -m export.to_onnx --dtype fp32, fp16, bf16, int8",
        (
            "package onnx",
            "package onnxscript",
            "package onnxruntime",
            "package openvino",
            "processor bfloat16",  # without it there are no rows of openvino-bf16
        ),
    ),
    Step(
        "float32-parts",
        ("docs/float32-parts.json",),
        results.float32_parts,
        "python -m benches.float32_parts --json docs/float32-parts.json",
        ("package onnx", "package onnxscript", "package onnxruntime"),
    ),
    Step(
        "figures",
        ("docs/figures/attention-drawn.png", "docs/figures/nearest-drawn.png", "docs/figures/figures.json"),
        pictures.figures,
        "python -m mlrm.figures --out docs/figures",
        ("package matplotlib",),
    ),
    Step(
        "regions",
        ("docs/figures/lama-cama.png", "docs/figures/lama-cama.json"),
        pictures.regions,
        "python -m mlrm.train, with LAMA and with CAMA; python -m mlrm.figures LAMA --against CAMA",
        ("package matplotlib",),
    ),
    Step(
        "accuracy-time",
        ("docs/figures/accuracy-time.png",),
        pictures.accuracy_time,
        "python -m mlrm.figures --times benches/results/...-table2.json, of the numbers of step table2",
        ("package matplotlib",),
    ),
    Step("demo", ("docs/demo.png",), pictures.demo, "python -m engine demo, one of its sketches, top-k 5"),
    Step(
        "page",
        ("docs/page.png", "docs/page-why.png"),
        pictures.page,
        "python -m engine serve, the page's own drawing, a click on the first photo",
        ("program chromium", "package playwright"),
    ),
)

BY_HAND = {
    "mlrm/data/MODEL_CARD.md": "recipe, protocol, limits",
    "README.md": "what it says of accuracy",
    "docs/training.md": "what it says of validation",
    "docs/figures.md": "what it says of the figures",
    "docs/service.md": "how early results are good",
    "docs/export.md": "what is said about parity",
    "docs/certified-search.md": "survivors of the real galleries",
}
"""Texts whose sentences speak of the weights: read against the numbers by a person, then stamped (`--stamp`)."""

NOT_OF_THE_WEIGHTS = {
    "benches/results/README.md": "what the results are",
    "benches/results/*-threads*": "times of one machine, of features drawn at random or of whatever weights there were",
    "benches/results/service-load.md": "times",
    "docs/architecture.*": "the code",
    "docs/ablations.json": "models trained for it, from a trunk it names",
    "docs/certified-[dt]*": "drawn, disk, times: of one machine, of galleries drawn like the features of named weights",
    "docs/learning-curve.*": "models trained for it, from ImageNet's weights",
    "docs/products.json": "models trained for it, from ImageNet's weights",
}
"""What else is published, by patterns, and what it is about. `pytest benches/ --benchmark-only` makes times."""
