"""What consecutive measurements of encoders share: drawn images, PyTorch's features of them, one encoder at a time."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from benches.cases import TRUNKS, draw_large
from benches.encoders import OPEN, Models, open_way
from benches.encodings import BATCHES, GALLERY_PHOTOS
from engine import Retriever
from engine.encoders import Encoder
from engine.encoders.opening import Opened
from engine.encoding import encode
from engine.ingest import SEGMENT_PHOTOS
from export.images import ImagePairs, load_pairs
from export.onnx_file import load_model
from export.parity import ORIGINAL_BATCH, Parity, Sides, both_sides, compare, original
from mlrm import MLRM
from mlrm.features import Features
from mlrm.images import load_image
from mlrm.procedural import draw_product, render_sketch

COMPARED_PAIRS = 64
"""Photos that are ranked, and sketches that rank them, for the agreement with PyTorch: those of the export's check."""
COMPARED_BATCHES = BATCHES[:2]
SKETCH_SIDE = 800  # pixels of the sketch's file that is searched by
SECONDS, MOST_ROUNDS = 1.0, 50


class EncoderStage:
    """Keeps what is expensive for the next row, and the encoder of the row before."""

    def __init__(self, device: torch.device, models: Path, scratch: Path) -> None:
        self.device = device
        self.models = Models(models)
        self._scratch = scratch
        self._key: tuple[str, str, int] | None = None
        self._encoder: Encoder | None = None
        self._agreements: dict[tuple[str, str], Parity] = {}
        self._pairs = cache(self._draw_pairs)
        self._original = cache(self._run_original)
        self._gallery = cache(self._make_gallery)

    def encoder(self, trunk: str, way: str, threads: int) -> Encoder:
        """An encoder; raises `ConfigError` where it can't run here."""
        if self._encoder is None or self._key != (trunk, way, threads):
            self._encoder = None  # given back before the next takes its memory
            self._encoder = open_way(way, self.models, trunk, self.device, threads)
            self._key = (trunk, way, threads)
        return self._encoder

    def images(self, trunk: str, batch: int) -> Tensor:
        """Drawn sketches, uint8 [batch, 3, size, size], repeated where there are fewer."""
        sketches = self._original(trunk)[1].sketches
        return sketches[[number % len(sketches) for number in range(batch)]]

    def agreement(self, trunk: str, way: str) -> Parity:
        """How outputs and rankings of the encoder at hand compare with PyTorch float32's, judged as `auto` has it."""
        assert self._encoder is not None
        if (trunk, way) not in self._agreements:
            model, images, expected = self._original(trunk)
            self._agreements[trunk, way] = compare(
                self._encoder.encode,
                model,
                images,
                runtime=way,
                dtype=OPEN[way].judged_as,
                batches=COMPARED_BATCHES,
                progress=_unseen,
                expected=expected,
            )
        return self._agreements[trunk, way]

    def _draw_pairs(self, size: int) -> ImagePairs:
        return load_pairs(None, "test", size, COMPARED_PAIRS, _unseen)

    def _run_original(self, trunk: str) -> tuple[MLRM, ImagePairs, Sides]:
        model = load_model(self.models.checkpoint(trunk), None)
        images = self._pairs(model.config.image_size)
        return model, images, both_sides(original(model), images, ORIGINAL_BATCH, "the original", _unseen)

    def parts(self, trunk: str, way: str, threads: int) -> dict[str, Callable[[], object]]:
        """The parts of a search by a file over `GALLERY_PHOTOS` drawn photos on disk, each ready to be called."""
        encoder = self.encoder(trunk, way, threads)
        retriever, file = self._gallery(trunk)
        retriever.backend, retriever.encoder = Opened.of(encoder, way, "measured"), encoder
        image = load_image(file)
        sketch = encode(encoder, [image], "sketch")
        return {
            "decode": lambda: load_image(file),
            "encode": self.awaited(lambda: encode(encoder, [image], "sketch")),
            "search": lambda: retriever.search_features(sketch),
            "whole": lambda: retriever.search(file),
        }

    def awaited(self, run: Callable[[], object]) -> Callable[[], object]:
        """`run` and, on a GPU, the wait for what it launched: features stay in the GPU's memory, perhaps unfinished."""
        if self.device.type == "cpu":
            return run

        def run_and_wait() -> object:
            result = run()
            torch.cuda.synchronize(self.device)
            return result

        return run_and_wait

    def _make_gallery(self, trunk: str) -> tuple[Retriever, Path]:
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        retriever = Retriever(self.models.checkpoint(trunk), folder / "gallery", str(self.device))
        rows = draw_large(GALLERY_PHOTOS, TRUNKS[trunk], torch.float16, seed=0)
        for start in range(0, GALLERY_PHOTOS, SEGMENT_PHOTOS):
            part = rows[start : start + SEGMENT_PHOTOS]
            features = Features(part.levels, part.region_weights, part.level_weights)
            retriever.add_features(features, fingerprint=retriever.encoder.fingerprint)
        file = folder / "sketch.png"
        render_sketch(draw_product(0), seed=0, size=SKETCH_SIDE).save(file)
        return retriever, file


def rounds_for(run: Callable[[], object]) -> int:
    """Call `run` to warm up, and say how many times to time it; what takes long is warm enough after one call."""
    begin = perf_counter()
    run()
    if perf_counter() - begin > SECONDS:
        return 2
    begin = perf_counter()
    run()
    return min(MOST_ROUNDS, max(3, round(SECONDS / (perf_counter() - begin))))


def _unseen(what: str, done: int, total: int) -> None:
    """Benches show no bars."""
