"""Steps that make numbers, without times: those differ from run to run."""

import json
import shutil
from pathlib import Path
from typing import Any

from benches.refresh.stage import Stage
from benches.refresh.stamps import shipped
from engine.encoders.parity_file import report_path
from mlrm.tables.accuracy import EVALUATION, OTHERS, RUNS, SHARES

ROOT = Path(__file__).parents[2]
TABLE2 = ROOT / "benches" / "results" / "table2-accuracy.json"
HELD_OUT: tuple[str | int, ...] = ("--split", "validation", "--validation", 115, "--validation", 97)
"""What training set aside of the shoes and the chairs."""
DIGITS = 2
"""Significant ones of the errors that are kept: the rest depends on the machine."""
DTYPES = ("fp32", "fp16", "bf16", "int8")
LARGEST_BATCH = 64


def accuracy(stage: Stage) -> None:
    """Accuracy on the test pairs and on the validation part, alone and among further photos."""
    pairs = _pairs(stage)
    extra, views = stage.folder("shoev2_photos"), stage.folder("qmul_v1_shoes_more_sketches")
    runs: dict[str, list[Any]] = {
        "test": pairs,
        "distractors": [*pairs[:2], "--distractors", extra],
        "validation": [*pairs, *HELD_OUT, "--more-sketches", f"shoes={views}"],
        "validation_distractors": [*pairs[:2], *HELD_OUT[:4], "--distractors", extra],
    }
    found = {}
    for number, (name, options) in enumerate(runs.items()):
        stage.progress(f"accuracy: {name}", number, len(runs))
        file = stage.out / "run.json"
        stage.command("mlrm.evaluate", *options, "--json", file)
        record = _read(file)
        file.unlink()
        for result in record["results"]:
            for time in ("feature_seconds", "retrieval_seconds"):
                del result[time]
            if name.endswith("distractors"):
                result["data"] += f" among {extra.name}"
                del result["by_ink"]  # the same sketches again
        found[name] = record
    _write(stage.out / "evaluation.json", found | {OTHERS: _other_models(_read(ROOT / EVALUATION), shipped())})


def _other_models(committed: dict[str, Any], weights: str) -> list[dict[str, Any]]:
    """Those of the committed file, and its own if another ships now: no run of the test pairs is forgotten."""
    known = list(committed[OTHERS])
    before = committed["test"]["model"]
    if before != weights:
        own = {
            split: [_shares(one) for run in runs for one in committed[run]["results"]] for split, runs in RUNS.items()
        }
        known.append({"name": "shipped before", "fingerprint": before} | own)
    return [model for model in known if model["fingerprint"] != weights]


def _shares(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in ("data", *SHARES)}


def first_lines(stage: Stage) -> None:
    """Of which length of line on searches beat chance, on the validation part, which chooses, and on the test pairs."""
    found = {}
    for number, (split, options) in enumerate((("validation", HELD_OUT), ("test", ()))):
        stage.progress(f"first lines: {split}", number, 2)
        file = stage.out / "run.json"
        stage.command("mlrm.first_lines", *_pairs(stage), *options, "--json", file)
        found[split] = _read(file)
        file.unlink()
    _write(stage.out / "first-lines.json", found)


def unfinished(stage: Stage) -> None:
    """Accuracy by ink, of the test sketches and of recorded ones."""
    (strokes,) = stage.folder("chairv2_strokes").glob("*.npz")
    files = ["--json", stage.out / "unfinished.json", "--plot", stage.out / "unfinished.png"]
    stage.progress("unfinished", 0, 1)
    stage.command("mlrm.unfinished", *_pairs(stage), "--strokes", strokes, *files)


def certified(stage: Stage) -> None:
    """Survivors in real galleries; the plots have the rows of drawn ones, which stay as they are."""
    assert stage.data is not None
    stage.progress("certified", 0, 1)
    shutil.copyfile(ROOT / "docs" / "certified-drawn.json", stage.out / "certified-drawn.json")
    cache = stage.out / "features.safetensors"
    stage.command("benches.certified", stage.data, "--out", stage.out, "--cache", cache)
    cache.unlink()


def table2(stage: Stage) -> None:
    """Accuracy of every way of comparing in the retrieval comparison; the file keeps what weights were run before."""
    stage.progress("table2", 0, 1)
    file = stage.out / TABLE2.name
    if TABLE2.is_file():
        shutil.copyfile(TABLE2, file)
    stage.command("benches.table2.accuracy", *_pairs(stage), "--out", file)


def parity(stage: Stage) -> None:
    """How near exported models of each type come to PyTorch on drawn pairs, by every backend that runs here."""
    rows = []
    for number, dtype in enumerate(DTYPES):
        stage.progress(f"parity: {dtype}", number, len(DTYPES))
        file = stage.out / f"model.{dtype}.onnx"
        stage.command("export.to_onnx", "--dtype", dtype, "--max-batch", LARGEST_BATCH, "--out", file)
        report = report_path(file)
        size = file.stat().st_size
        rows += [
            {"dtype": dtype, "backend": backend, "bytes": size} | _summary(one)
            for backend, one in _read(report)["backends"].items()
        ]
        for made in (file, report):
            made.unlink()
    _write(stage.out / "parity.json", {"weights": shipped(), "rows": rows})


def float32_parts(stage: Stage) -> None:
    """What parts of the model cost in half precision, on drawn pairs."""
    stage.progress("float32 parts", 0, 1)
    stage.command("benches.float32_parts", "--json", stage.out / "float32-parts.json")


def _pairs(stage: Stage) -> list[str | Path]:
    return [word for name in ("shoes", "chairs") for word in ("--data", stage.folder(f"qmul_v1/{name}"))]


def _summary(one: dict[str, Any]) -> dict[str, Any]:
    ranking = one["ranking"]
    return {
        "runtime": one["runtime"],
        "images": one["images"],
        "worst_rms": _rounded(max(output["rms"] for output in one["outputs"])),
        "lowest_cosine": round(min(output["cosine"] for output in one["outputs"]), 4),
        "top1": ranking["top1"],
        "top10": round(ranking["top10"], 6),
        "correlation": round(ranking["correlation"], 4),
        "acc1": ranking["accuracy"]["acc1"],
        "original_acc1": ranking["original_accuracy"]["acc1"],
        "passed": one["passed"],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
