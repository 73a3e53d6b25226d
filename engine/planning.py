"""Which short codes a gallery's searches would cost least with, measured on a sample of its own photos.

The sample gives the axes; allocations of several sizes are tried on it, by sketches if there are some; the cheapest,
carried over to the gallery's size, is the plan.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import torch

from engine.drift import looseness
from engine.features import Array
from engine.gallery import GallerySnapshot
from engine.plan import Measured, Plan, cheapest_second, choose, expected_survivors, screen_cost
from kernels.blocks import GalleryBlock
from kernels.short.basis import Basis, Term
from kernels.short.codes import LARGEST_CODE, encode, join
from kernels.short.fit import SMALLEST_STEP, Spectrum, allocate, basis_of, spectrum, unit_of
from kernels.short.search import CodedRun, nearest_screened
from kernels.short.sketches import Screened
from mlrm.features import Features

SAMPLE = 2048
"""Photos that axes are made from and allocations are tried on."""
TRIED_BY = 64
"""Sketches, or photos left out of the sample, that try them."""
TOP_K = 10
ALLOCATIONS = (96, 192, 288, 384, 512, 704, 960)
"""Coordinates in all that are tried."""
FEWEST = 256
"""Photos below which nothing is tried: a search of all features takes a millisecond."""


def planned(snapshot: GallerySnapshot, power: int, sketches: Features | None) -> tuple[Plan, Basis | None]:
    """What `optimize` would choose, and its basis, None where codes don't pay; nothing is written."""
    photos = len(snapshot)
    if photos < FEWEST:
        return Plan(None, photos, sketches is not None, 0.0, ()), None
    sample = _sample(snapshot, min(photos, SAMPLE + (TRIED_BY if sketches is None else 0)))
    queries = sketches if sketches is not None else sample[:TRIED_BY].features()
    if sketches is None:
        sample = sample[TRIED_BY:]
    spectra = _spectra(sample, queries, power)
    row_bytes = 2 * sum(level[0].size for level in sample.levels)
    evidence, bases = list[Measured](), list[Basis]()
    for coordinates in ALLOCATIONS:
        kept = allocate(spectra, coordinates)
        if (bases and sum(kept) < coordinates // 2) or (evidence and kept == evidence[-1].kept):
            break  # the terms have no more axes
        basis = basis_of(spectra, kept, sample.region_weights.shape[1])
        counts = _counts(basis, sample, queries, power, attrgetter("survivors"))
        survivors = expected_survivors(counts, photos)
        cost = screen_cost(photos, basis.photo_bytes, survivors, row_bytes)
        evidence.append(Measured(kept, basis.photo_bytes, len(sample), counts[-1][1], survivors, cost))
        bases.append(basis)
    finer = _finer_basis(sample)
    counts = _counts(finer, sample, queries, power, attrgetter("rows_read"))
    second = cheapest_second(evidence, photos, finer.photo_bytes, counts, row_bytes)
    best = choose(evidence, photos, row_bytes)
    if best is None:
        return Plan(None, photos, sketches is not None, 0.0, tuple(evidence), second), None
    basis = bases[evidence.index(best)]
    loose = looseness(encode(basis, sample.levels, sample.region_weights, sample.level_weights)).mean()
    return Plan(basis.name, photos, sketches is not None, float(loose), tuple(evidence), second), basis


@dataclass(frozen=True)
class _Sample:
    """Some photos as they are stored: L arrays [n, R, C_l] float16, weights [n, R] and [n, R, L] float32."""

    levels: tuple[Array, ...]
    region_weights: Array
    level_weights: Array

    def __len__(self) -> int:
        return len(self.region_weights)

    def __getitem__(self, part: slice) -> "_Sample":
        levels = tuple(level[part] for level in self.levels)
        return _Sample(levels, self.region_weights[part], self.level_weights[part])

    def block(self) -> GalleryBlock:
        return GalleryBlock(
            tuple(torch.from_numpy(level) for level in self.levels),
            torch.from_numpy(self.region_weights),
            torch.from_numpy(self.level_weights),
        )

    def features(self) -> Features:
        block = self.block()
        return Features(tuple(level.float() for level in block.levels), block.region_weights, block.level_weights)


def _sample(snapshot: GallerySnapshot, count: int) -> _Sample:
    """So many living photos (all, if fewer), in an order that is random and always the same."""
    chosen = np.random.default_rng(0).permutation(len(snapshot))[:count]
    starts = np.cumsum([0, *(len(segment.ids) for segment in snapshot.segments)])
    owner = np.searchsorted(starts, chosen, side="right") - 1
    parts = []
    for number in np.unique(owner):
        segment = snapshot.segments[number]
        rows = segment.live_rows[chosen[owner == number] - starts[number]]
        arrays = (*segment.levels, segment.region_weights, segment.level_weights)
        parts.append([array[rows] for array in arrays])
    shuffled = np.random.default_rng(1).permutation(len(chosen))
    *levels, region, level = (np.concatenate(one)[shuffled] for one in zip(*parts, strict=True))
    return _Sample(tuple(levels), region, level)


def _spectra(sample: _Sample, queries: Features, power: int) -> list[Spectrum]:
    region = (sample.region_weights.mean(0) + queries.region_weights.mean(0).numpy()) / 2
    weights = (sample.level_weights.mean(0) + queries.level_weights.mean(0).numpy()) / 2 * (region**power)[:, None]
    return [
        spectrum(photos[:, r], sketches[:, r].numpy(), float(weights[r, number]))
        for r in range(len(region))
        for number, (photos, sketches) in enumerate(zip(sample.levels, queries.levels, strict=True))
    ]


def _finer_basis(sample: _Sample) -> Basis:
    """All values in int8, not turned: a second screen of one byte a value."""
    terms = []
    for r in range(sample.region_weights.shape[1]):
        for level in sample.levels:
            vectors = level[:, r].astype(np.float64)
            centre = vectors.mean(0).astype(np.float32)
            apart = np.abs(vectors - centre)
            steps = np.maximum(apart.max(0) / LARGEST_CODE, SMALLEST_STEP).astype(np.float32)
            largest = float(np.sqrt(np.square(apart).sum(1).max()))
            terms.append(Term(centre, np.eye(len(centre)), steps, unit_of(largest)))
    return Basis(sample.region_weights.shape[1], tuple(terms))


def _counts(
    basis: Basis, sample: _Sample, queries: Features, power: int, counted: Callable[[Screened], int]
) -> list[tuple[int, float]]:
    """Photos, and the mean of what is counted of a search: of half the sample and of all of it."""
    half = len(sample) // 2
    parts = [sample[:half], sample[half:]]
    codes = [encode(basis, part.levels, part.region_weights, part.level_weights) for part in parts]
    blocks = tuple(part.block() for part in parts)
    counts = []
    for run in (CodedRun(blocks[:1], codes[0]), CodedRun(blocks, join(codes))):
        found = nearest_screened(queries, [run], TOP_K, region_weight_power=power, most=len(sample))
        counts.append((sum(map(len, run.blocks)), float(np.mean([counted(one) for one in found]))))
    return counts
