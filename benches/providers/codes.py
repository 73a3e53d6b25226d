"""Certified search by short codes: the exact answer from a fraction of the bytes, over a gallery in memory."""

import numpy as np
import torch
from torch import Tensor

from benches.cases import Rows
from benches.providers.base import Searcher
from benches.searches import Search
from kernels.blocks import GalleryBlock
from kernels.dispatch import automatic, screening
from kernels.short.basis import Basis
from kernels.short.codes import encode, join
from kernels.short.fit import allocate, basis_of, spectrum
from kernels.short.search import CodedRun, nearest_screened
from kernels.short.sketches import Screened

COORDINATES = 384
"""Kept of a photo: what `engine optimize` takes for real galleries of this size, give or take."""
SAMPLE = 2048
ENCODED_TOGETHER = 4096


def fitted(gallery: Rows, coordinates: int) -> Basis:
    """The basis that a sample of a gallery gives."""
    sample = slice(None, None, max(1, len(gallery) // SAMPLE))
    regions = gallery.region_weights.shape[1]
    weights = (gallery.level_weights[sample] * gallery.region_weights[sample][:, :, None]).mean(0).cpu()
    spectra = [
        spectrum(vectors, vectors, float(weights[r, number]))
        for r in range(regions)
        for number, level in enumerate(gallery.levels)
        for vectors in [level[sample, r].cpu().numpy()]
    ]
    return basis_of(spectra, allocate(spectra, coordinates), regions)


class Codes(Searcher):
    """Codes of all rows, made once; their photos' features are read for those that the screen leaves possible."""

    def __init__(self, gallery: Rows, coordinates: int = COORDINATES) -> None:
        block, basis = GalleryBlock.of(gallery), fitted(gallery, coordinates)
        parts = []
        for start in range(0, len(gallery), ENCODED_TOGETHER):
            rows = gallery[slice(start, start + ENCODED_TOGETHER)].to("cpu")
            levels = [level.numpy() for level in rows.levels]
            parts.append(encode(basis, levels, rows.region_weights.numpy(), rows.level_weights.numpy()))
        held = screening(automatic(block.device)).hold_codes(join(parts), block.device)
        self.run = CodedRun((block,), held)
        self.found: list[Screened] = []

    def search(self, query: Rows, top_k: int) -> Tensor:
        """Exact, and proven."""
        self.found = nearest_screened(query, [self.run], top_k)
        return torch.stack([one.nearest.rows[:top_k] for one in self.found])

    def note(self, queries: int) -> str:
        """How far the screen got."""
        assert self.run.codes is not None
        survivors = np.mean([one.survivors for one in self.found]) / len(self.run.codes)
        through = sum(one.fell_through for one in self.found)
        scanned = f"; {through} scanned all features" if through else ""
        return f"{self.run.codes.basis.photo_bytes} bytes a photo, {survivors:.2%} survive{scanned}"


def needs(search: Search) -> int:
    """The codes, and what encoding holds."""
    return search.photos * 1024 + (1 << 28)
