"""Index TOTAL deterministic photos into GALLERY in batches, skipping those that are there: `add`, in small.

    python kill_writer.py GALLERY TOTAL BATCH

The kill test runs this as a process of its own and kills it; `features` tells what each photo must hold.
"""

from __future__ import annotations

import sys

import numpy as np

from engine.gallery import FeatureBlock, FeatureShapes, Gallery

SHAPES = FeatureShapes(regions=2, level_dims=(3, 5), map_size=(2, 2))


def features(number: int, shapes: FeatureShapes = SHAPES) -> FeatureBlock:
    """The features of photo ``number``: a block of one, the same in every process."""
    random = np.random.default_rng(number)
    regions, levels = shapes.regions, len(shapes.level_dims)
    return FeatureBlock(
        levels=tuple(random.normal(size=(1, regions, c)).astype(np.float32) for c in shapes.level_dims),
        region_weights=random.random((1, regions), dtype=np.float32),
        level_weights=random.random((1, regions, levels), dtype=np.float32),
        maps=random.random((1, regions, *shapes.map_size), dtype=np.float32),
    )


def block_of(numbers: list[int], shapes: FeatureShapes = SHAPES) -> FeatureBlock:
    """The features of several photos as one block."""
    parts = [features(number, shapes) for number in numbers]
    return FeatureBlock(
        levels=tuple(np.concatenate(level) for level in zip(*(part.levels for part in parts), strict=True)),
        region_weights=np.concatenate([part.region_weights for part in parts]),
        level_weights=np.concatenate([part.level_weights for part in parts]),
        maps=np.concatenate([part.maps for part in parts]),
    )


def photo_id(number: int) -> str:
    """The id of photo ``number``."""
    return f"photo-{number:05d}"


def main(path: str, total: int, batch: int) -> None:
    """Add what is missing of photos 0 .. total - 1."""
    print("ready", flush=True)  # noqa: T201  the test starts its clock here
    if not Gallery.exists(path):
        Gallery.create(path, shapes=SHAPES, model_fingerprint="kill-test")
    gallery = Gallery.open(path)
    with gallery.writer() as writer:
        known = gallery.existing()
        missing = [number for number in range(total) if photo_id(number) not in known]
        for start in range(0, len(missing), batch):
            numbers = missing[start : start + batch]
            ids = [photo_id(number) for number in numbers]
            writer.add(block_of(numbers), ids, previews=[id_.encode() for id_ in ids])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
