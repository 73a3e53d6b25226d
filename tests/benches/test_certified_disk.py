"""The gallery that certified search is timed on: its codes are what `encode` makes, its answers the scan's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benches import certified_disk
from benches.cases import draw_large
from engine.gallery import Gallery
from engine.plan import read_plan
from engine.short_codes import ShortCodeFiles
from kernels.short.codes import encode

CHANNELS = (8, 16, 40)


def test_photos_put_together_are_coded_as_if_they_were_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certified_disk, "SEGMENT", 250)
    place = tmp_path / "drawn.gallery"
    pool = draw_large(100, CHANNELS, torch.float16, 0)
    torch.save(draw_large(4, CHANNELS, torch.float32, 1), place.with_suffix(".sketches"))
    certified_disk.make(place, pool, 400, "f" * 64)
    certified_disk.code(place, pool, 96)
    gallery, files = Gallery.open(place), ShortCodeFiles(place)
    plan = read_plan(place)
    assert plan is not None
    assert plan.basis is not None
    basis = files.read_basis(plan.basis)
    assert basis is not None
    for segment in gallery.snapshot().segments:
        made = encode(basis, segment.levels, segment.region_weights, segment.level_weights)
        found = files.read(segment.name, basis)
        assert found is not None
        assert np.array_equal(found.ends, made.ends)
        for name in ("codes", "sides", "weights"):
            assert np.array_equal(getattr(found, name)[:-1], getattr(made, name)[:-1]), name
        assert (found.scales.reach >= made.scales.reach).all()
    certified_disk.out_of_the_cache(place)
    row = certified_disk.searched(place, 2)
    assert (row["photos"], row["scanned"], row["same"]) == (400, 0, True)
    assert row["statistics_of"] == "f" * 64
    assert (row["coordinates"], row["code_bytes"]) == (96, basis.photo_bytes)
