"""Choosing a gallery's short codes from its own photos, and keeping them up with it.

A sample of the photos gives the axes; allocations of several sizes are tried on it, by sketches if there are some; the
cheapest, carried over to the gallery's size, becomes the plan. Whatever is chosen, answers are the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import GalleryError
from engine.features import Array
from engine.gallery import Gallery, GallerySnapshot, SegmentView
from engine.plan import RANDOM_COST, Measured, Plan, choose, expected_survivors, read_plan, write_plan
from engine.short_codes import ShortCodeFiles
from kernels.blocks import GalleryBlock
from kernels.short.basis import Basis
from kernels.short.codes import CUT, ShortCodes, encode, join
from kernels.short.fit import Spectrum, allocate, basis_of, spectrum
from kernels.short.search import CodedRun, nearest_screened
from mlrm.features import Features

Progress = Callable[[int, int], None]

SAMPLE = 2048
"""Photos that axes are made from and allocations are tried on."""
TRIED_BY = 64
"""Sketches, or photos left out of the sample, that try them."""
TOP_K = 10
ALLOCATIONS = (96, 192, 288, 384, 512, 704, 960)
"""Coordinates in all that are tried."""
FEWEST = 256
"""Photos below which nothing is tried: a search of all features takes a millisecond."""
AUTOMATIC = 20_000
"""From so many photos on, adding makes a plan where there is none."""
GROWN = 4
"""A plan is made anew once there are so many times the photos it was made for: larger galleries pay for more bytes."""
LOOSE = 1.25
"""Or once new photos leave so many times as much uncovered as those it was made for."""


def optimize(gallery: Gallery, sketches: Features | None = None, progress: Progress | None = None) -> Plan:
    """Measure, choose, and write the plan and all codes; in one commit, after all files are on the disk.

    sketches: float32 features of some sketches like those to come; else photos stand in for them. progress: called with
    the photos coded and their total. Raises `GalleryLockedError`, and `GalleryError` where the disk refuses.
    """
    try:
        with gallery.writer():
            plan, basis = planned(gallery.snapshot(), gallery.meta.region_weight_power, sketches)
            files = ShortCodeFiles(gallery.path)
            if basis is not None:
                files.write_basis(basis)
                _encode(files, basis, gallery.snapshot().segments, progress)
            write_plan(gallery.path, plan)
            files.keep({segment.name for segment in gallery.snapshot().segments}, plan.basis)
    except OSError as error:
        raise _refused(gallery, error) from error
    return plan


def keep_up(gallery: Gallery, progress: Progress | None = None) -> Plan | None:
    """Make the codes that a gallery with a plan lacks; a new plan where it is due. Returns the plan, None without one.

    Raises as `optimize`.
    """
    plan, photos = read_plan(gallery.path), len(gallery.snapshot())
    if photos >= AUTOMATIC and (plan is None or photos >= GROWN * plan.photos):
        return optimize(gallery, None, progress)
    if plan is None or plan.basis is None:
        return plan
    files = ShortCodeFiles(gallery.path)
    if (basis := files.read_basis(plan.basis)) is None:  # a snapshot, or another gallery's plan restored
        return optimize(gallery, None, progress)
    try:
        with gallery.writer():
            segments = gallery.snapshot().segments
            coded = files.coded(plan.basis)
            new = _encode(files, basis, [one for one in segments if one.name not in coded], progress)
            if new:
                write_plan(gallery.path, plan)  # a commit: readers look for the codes again
            files.keep({segment.name for segment in segments}, plan.basis)
    except OSError as error:
        raise _refused(gallery, error) from error
    if sum(map(len, new)) >= SAMPLE and _looseness(new) > LOOSE * plan.looseness:
        return optimize(gallery, None, progress)
    return plan


def _refused(gallery: Gallery, error: OSError) -> GalleryError:
    return GalleryError(
        f"can't write short codes to {gallery.path}: {error}. Searches read all features meanwhile. Free some space, "
        "and run `python -m engine optimize`"
    )


def _encode(
    files: ShortCodeFiles, basis: Basis, segments: Sequence[SegmentView], progress: Progress | None
) -> list[ShortCodes]:
    """Write the codes of segments; returns some of them, up to `SAMPLE` photos."""
    done, total, kept = 0, sum(len(segment.region_weights) for segment in segments), list[ShortCodes]()
    for segment in segments:
        codes = encode(basis, segment.levels, segment.region_weights, segment.level_weights)
        files.write(segment.name, codes)
        if sum(map(len, kept)) < SAMPLE:
            kept.append(codes)
        done += len(codes)
        if progress is not None:
            progress(done, total)
    return kept


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
        counts = _survivors(basis, sample, queries, power)
        survivors = expected_survivors(counts, photos)
        cost = photos * basis.photo_bytes + RANDOM_COST * survivors * row_bytes
        evidence.append(Measured(kept, basis.photo_bytes, len(sample), counts[-1][1], survivors, cost))
        bases.append(basis)
    best = choose(evidence, photos, row_bytes)
    if best is None:
        return Plan(None, photos, sketches is not None, 0.0, tuple(evidence)), None
    basis = bases[evidence.index(best)]
    loose = _looseness([encode(basis, sample.levels, sample.region_weights, sample.level_weights)])
    return Plan(basis.name, photos, sketches is not None, loose, tuple(evidence)), basis


def _spectra(sample: _Sample, queries: Features, power: int) -> list[Spectrum]:
    region = (sample.region_weights.mean(0) + queries.region_weights.mean(0).numpy()) / 2
    weights = (sample.level_weights.mean(0) + queries.level_weights.mean(0).numpy()) / 2 * (region**power)[:, None]
    return [
        spectrum(photos[:, r], sketches[:, r].numpy(), float(weights[r, number]))
        for r in range(len(region))
        for number, (photos, sketches) in enumerate(zip(sample.levels, queries.levels, strict=True))
    ]


def _survivors(basis: Basis, sample: _Sample, queries: Features, power: int) -> list[tuple[int, float]]:
    """Photos and mean survivors, of half the sample and of all of it."""
    half = len(sample) // 2
    parts = [sample[:half], sample[half:]]
    codes = [encode(basis, part.levels, part.region_weights, part.level_weights) for part in parts]
    blocks = tuple(part.block() for part in parts)
    counts = []
    for run in (CodedRun(blocks[:1], codes[0]), CodedRun(blocks, join(codes))):
        found = nearest_screened(queries, [run], TOP_K, region_weight_power=power, most=len(sample))
        counts.append((sum(map(len, run.blocks)), float(np.mean([one.survivors for one in found]))))
    return counts


def _looseness(codes: Sequence[ShortCodes]) -> float:
    """The weighted norm of what codes leave out, mean of all photos; what is not known counts as nothing."""
    totals: list[NDArray[np.float64]] = []
    for one in codes:
        regions, terms = one.basis.regions, len(one.basis.terms)
        cut = np.nan_to_num(one.sides[:, :, CUT].astype(np.float64)) * one.basis.units[:, None]
        weights = one.weights.astype(np.float64)
        region = np.repeat(weights[:, :regions], terms // regions, 1)
        totals.append((cut * region * weights[:, regions:]).sum((1, 2)))
    return float(np.concatenate(totals).sum()) / sum(map(len, codes)) if totals else 0.0
