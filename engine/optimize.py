"""Giving a gallery short codes, and keeping them up with it. Whatever codes there are, answers are the same."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.drift import Drift, looseness
from engine.errors import GalleryError
from engine.gallery import Gallery, SegmentView
from engine.plan import Plan, read_drift, read_plan, read_sketches, write_plan
from engine.planning import TRIED_BY, planned
from engine.short_codes import ShortCodeFiles
from engine.tried_sketches import from_text, to_text
from kernels.short.basis import Basis
from kernels.short.codes import encode
from mlrm.features import Features

Progress = Callable[[int, int], None]

AUTOMATIC = 20_000
"""From so many photos on, adding makes a plan where there is none."""
GROWN = 4
"""A plan is made anew once there are so many times the photos it was made for: larger galleries pay for more bytes."""


def optimize(gallery: Gallery, sketches: Features | None = None, progress: Progress | None = None) -> Plan:
    """Measure, choose, and write the plan and all codes; in one commit, after all files are on the disk.

    sketches: float32 features of some sketches like those to come; the first `TRIED_BY` try the choice and are kept for
    the next one. None: those kept; where there are none, photos stand in for them. progress: called with the photos
    coded and their total. Raises `GalleryLockedError`, and `GalleryError` where the disk refuses.
    """
    kept = to_text(sketches[:TRIED_BY]) if sketches is not None else read_sketches(gallery.path)
    tried_by = None if kept is None else from_text(kept)
    try:
        with gallery.writer():
            plan, basis = planned(gallery.snapshot(), gallery.meta.region_weight_power, tried_by)
            files = ShortCodeFiles(gallery.path)
            if basis is not None:
                files.write_basis(basis)
                _encode(files, basis, gallery.snapshot().segments, progress)
            write_plan(gallery.path, plan, Drift(), kept)
            files.keep({segment.name for segment in gallery.snapshot().segments}, plan.basis)
    except OSError as error:
        raise _refused(gallery, error) from error
    return plan


def keep_up(gallery: Gallery, progress: Progress | None = None, *, added: bool = True) -> Plan | None:
    """Make the codes that a gallery with a plan lacks; a new plan where it is due. Returns the plan, None without one.

    added: whether what has no codes was added since; False where photos that were counted before only moved, by a
    compaction or back from a snapshot. Raises as `optimize`.
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
            drift = read_drift(gallery.path)
            drift = drift.after(new, plan.looseness) if added else drift
            judged = added and drift.enough(photos)
            if len(new):  # a commit: readers look for the codes again
                write_plan(gallery.path, plan, Drift() if judged and not drift.due else drift)
            files.keep({segment.name for segment in segments}, plan.basis)
    except OSError as error:
        raise _refused(gallery, error) from error
    return optimize(gallery, None, progress) if judged and drift.due else plan


def _refused(gallery: Gallery, error: OSError) -> GalleryError:
    return GalleryError(
        f"can't write short codes to {gallery.path}: {error}. Searches read all features meanwhile. Free some space, "
        "and run `python -m engine optimize`"
    )


def _encode(
    files: ShortCodeFiles, basis: Basis, segments: Sequence[SegmentView], progress: Progress | None
) -> NDArray[np.float64]:
    """Write the codes of segments; returns how loose they are of each photo."""
    done, total, loose = 0, sum(len(segment.region_weights) for segment in segments), [np.zeros(0)]
    for segment in segments:
        codes = encode(basis, segment.levels, segment.region_weights, segment.level_weights)
        files.write(segment.name, codes)
        loose.append(looseness(codes))
        done += len(codes)
        if progress is not None:
            progress(done, total)
    return np.concatenate(loose)
