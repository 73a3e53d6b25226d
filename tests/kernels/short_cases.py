"""Short codes of drawn features, for the tests of their bounds and of the search by them."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from benches.cases import Rows
from kernels.blocks import GalleryBlock
from kernels.cpu.short import screen
from kernels.reference import RegionFeatures, canonical_distance
from kernels.short.basis import Basis, Term
from kernels.short.bounds import bounds
from kernels.short.codes import ShortCodes, encode
from kernels.short.fit import allocate, basis_of, spectrum
from kernels.short.queries import ShortQueries, prepare
from kernels.short.search import CodedRun

Ends = dict[str, NDArray[np.floating]]


def fitted(gallery: RegionFeatures, coordinates: int) -> Basis:
    """The basis that a gallery's own rows give, each term weighing as much."""
    regions = gallery.region_weights.shape[1]
    spectra = [
        spectrum(vectors, vectors, 1.0)
        for r in range(regions)
        for vectors in (level[:, r].float().numpy() for level in gallery.levels)
    ]
    return basis_of(spectra, allocate(spectra, coordinates), regions)


def coded(basis: Basis, gallery: RegionFeatures) -> ShortCodes:
    levels = [level.numpy() for level in gallery.levels]
    return encode(basis, levels, gallery.region_weights.numpy(), gallery.level_weights.numpy())


def prepared(basis: Basis, query: RegionFeatures) -> ShortQueries:
    levels = [level.numpy() for level in query.levels]
    return prepare(basis, levels, query.region_weights.numpy(), query.level_weights.numpy())


def run_of(gallery: Rows, basis: Basis, sizes: Sequence[int] = ()) -> CodedRun:
    """A gallery as one run of blocks of some sizes."""
    live = gallery.live
    starts = np.cumsum([0, *(sizes or [len(gallery)])]).tolist()
    parts = [gallery[slice(first, last)] for first, last in pairwise(starts)]
    blocks = tuple(
        GalleryBlock(part.levels, part.region_weights, part.level_weights, None if live is None else part.live)
        for part in parts
    )
    return CodedRun(blocks, coded(basis, gallery))


def one_term(vectors: list[list[float]], dtype: torch.dtype, weight: float = 1.0) -> Rows:
    """Vectors [N, C] as features of one region and one level."""
    levels = torch.tensor(vectors, dtype=dtype)[:, None]
    return Rows((levels,), torch.ones(len(vectors), 1), torch.full((len(vectors), 1, 1), weight))


def one_basis(axes: list[list[float]], step: float, channels: int, unit: float = 1.0) -> Basis:
    """Axes [m, C] from the origin, all coordinates with one step."""
    rows = np.array(axes, np.float64).reshape(-1, channels)
    return Basis(1, (Term(np.zeros(channels, "f4"), rows, np.full(len(rows), step, "f4"), unit),))


def ends(query: Rows, gallery: Rows, codes: ShortCodes, power: int = 1) -> Ends:
    """Both ends of the twin's intervals, the compiled screen's lower ends, and the canonical distance: [Q, N]."""
    queries = prepared(codes.basis, query)
    proven = bounds(queries, codes, power)
    return {
        "lower": proven.lower,
        "upper": proven.upper,
        "compiled": screen(queries, codes, power).lower,
        "exact": canonical_distance(query, gallery, power).numpy(),
    }


def holds(found: Ends) -> bool:
    """Whether every interval holds the distance."""
    exact = found["exact"]
    inside = (found["lower"] <= exact) & (exact <= found["upper"]) & (found["compiled"] <= exact)
    return bool(inside.all())
