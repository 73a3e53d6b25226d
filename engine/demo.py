"""The demo: drawn products, indexed and searched, for someone who has no data yet."""

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from engine.errors import ConfigError, ModelMismatchError
from engine.retriever import Retriever
from mlrm.accuracy import Accuracy, accuracy
from mlrm.procedural import write_pairs

Progress = Callable[[str, int, int], None]
SEARCH_BATCH = 10


@dataclass(frozen=True)
class DemoReport:
    """What the demo found; `added` photos were new.

    search_seconds: the median of one sketch, encoding included; the first ones also wait for the kernels to compile.
    """

    folder: Path
    gallery: Path
    picture: Path
    explanation: Path
    sketch: Path
    added: int
    accuracy: Accuracy
    index_seconds: float
    search_seconds: float

    def text(self) -> str:
        """The report for people, with what to try next."""
        a = self.accuracy
        return (
            f"{a.photos} photos, {self.added} of them indexed now, in {self.index_seconds:.1f} s\n"
            f"{a.sketches} sketches searched, {1000 * self.search_seconds:.0f} ms each (median)\n"
            f"own photo first: acc@1 {100 * a.acc1:.0f} %, among the first ten: acc@10 {100 * a.acc10:.0f} %\n"
            f"look at {self.picture} (a search) and {self.explanation} (why the first photo is near)\n"
            f"next: python -m engine search {shlex.quote(str(self.sketch))} --gallery {shlex.quote(str(self.gallery))} "
            "--out result.png"
        )


def run_demo(folder: Path, photos: int, sketches: int, seed: int, device: str, progress: Progress) -> DemoReport:
    """Draw `photos` products and a sketch of each into `folder`, index them, search by the first `sketches`.

    Run again with the same numbers, it goes on from what is there. Raises `ConfigError` if `folder` holds other
    pairs than these, or a gallery of another model.
    """
    pairs = folder / f"products-{photos}-seed-{seed}"
    done = pairs / "complete"
    if not done.exists():
        write_pairs(pairs, photos, seed, progress=lambda n, total: progress("draw photos and sketches", n, total))
        done.touch()
    gallery = pairs / "gallery"
    try:
        retriever = Retriever(gallery=gallery, device=device)
    except ModelMismatchError as error:
        raise ConfigError(f"{gallery} was made by another version's model; remove {pairs} and run again") from error
    started = time.perf_counter()
    report = retriever.add(pairs / "photos", progress=lambda n, total: progress("index", n, total))
    indexed = time.perf_counter() - started
    if len(retriever) != photos:
        raise ConfigError(f"{gallery} holds {len(retriever)} photos, expected {photos}; remove {pairs} and run again")

    queries = sorted((pairs / "sketches").glob("*.png"), key=lambda path: path.stem.split("-")[1])[:sketches]
    seconds, ranks = [], []
    for start in range(0, len(queries), SEARCH_BATCH):
        batch = queries[start : start + SEARCH_BATCH]
        started = time.perf_counter()
        for query, result in zip(batch, retriever.search(list(batch), top_k=photos), strict=True):
            own = _photo_of(query)
            ranks.append(next(match.rank for match in result if match.id == own))
        seconds.append((time.perf_counter() - started) / len(batch))
        progress("search", start + len(batch), len(queries))
    found = accuracy(torch.tensor(ranks), photos)

    picture, explanation = pairs / "result.png", pairs / "explanation.png"
    result = retriever.search(queries[0])
    result.save(picture, truth=_photo_of(queries[0]))
    result[0].explain().save(explanation)
    return DemoReport(
        pairs, gallery, picture, explanation, queries[-1], len(report.added), found, indexed, median(seconds)
    )


def _photo_of(sketch: Path) -> str:
    return sketch.stem.rsplit("_", 1)[0] + ".jpg"
