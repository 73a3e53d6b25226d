"""Table 2's ways: each computes its method's formula, and all ways of a method find the same photos."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benches.cases import draw_large
from benches.table2.accuracy import AccuracyRow, measure
from benches.table2.inputs import Side, draw
from benches.table2.positions import (
    BestByCdist,
    BestByProducts,
    Comparison,
    SameByDifferences,
    SameByProducts,
    VectorCdist,
)
from benches.table2.published import Method
from benches.table2.real import real_pairs, shipped, sides
from benches.table2.sizes import LARGE, Size
from benches.table2.ways import BASELINE, WAYS, Way, ways
from mlrm.images import load_image
from mlrm.procedural import draw_product, render_photo, render_sketch
from mlrm.transforms import image_to_tensor

CHANNELS = 24
CPU = torch.device("cpu")


def grids(count: int, positions: int, seed: int) -> Tensor:
    """Unit vectors [count, positions, CHANNELS]: no position is like another, so best and same ones differ."""
    drawn = torch.randn(count, positions, CHANNELS, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=2)


def same(query: Tensor, gallery: Tensor) -> Tensor:
    return (query[:, None] - gallery).norm(dim=3).sum(2)


def best(query: Tensor, gallery: Tensor) -> Tensor:
    return (query[:, None, :, None] - gallery[None, :, None]).norm(dim=4).amin(3).sum(2)


FORMS: dict[str, tuple[Callable[[Tensor], Comparison], Callable[[Tensor, Tensor], Tensor], int, float]] = {
    "vector cdist": (VectorCdist, same, 1, 2.0**-24),
    "vector products": (partial(SameByProducts, dtype=torch.float32), same, 1, 2.0**-24),
    "same, differences": (SameByDifferences, same, 5, 2.0**-24),
    "same, products": (partial(SameByProducts, dtype=torch.float32), same, 5, 2.0**-24),
    "same, products, bfloat16": (partial(SameByProducts, dtype=torch.bfloat16), same, 5, 2.0**-9),
    "best, cdist": (BestByCdist, best, 5, 2.0**-24),
    "best, products": (partial(BestByProducts, dtype=torch.float32), best, 5, 2.0**-24),
    "best, products, bfloat16": (partial(BestByProducts, dtype=torch.bfloat16), best, 5, 2.0**-9),
}
"""A way, its method's formula, positions, and the unit roundoff of its products."""


@pytest.mark.parametrize("sketches", [1, 3])
@pytest.mark.parametrize("form", FORMS)
def test_a_way_computes_the_formula_of_its_method(form: str, sketches: int) -> None:
    kind, formula, positions, roundoff = FORMS[form]
    if kind in (SameByDifferences, BestByCdist):
        sketches = 1  # they take one at a time
    query, gallery = grids(sketches, positions, seed=1), grids(7, positions, seed=0)
    # Unit vectors: |a|^2 + |b|^2 - 2 a.b is off by at most 4 (C + 4) u, so a root by the root of that.
    error = positions * (4 * (CHANNELS + 4) * roundoff) ** 0.5
    found = kind(gallery).distance(query).double()
    expected = formula(query.double(), gallery.double())
    assert expected.std() > 0
    assert found.shape == (sketches, 7)
    assert float((found - expected).abs().max()) <= error


@pytest.mark.parametrize("form", FORMS)
def test_the_nearest_do_not_depend_on_how_many_sketches_go_together(form: str) -> None:
    kind, formula, positions, roundoff = FORMS[form]
    query, gallery = grids(9, positions, seed=1), grids(40, positions, seed=0)
    gallery[3], gallery[30] = query[4], query[7]  # two photos that must come first
    comparison = kind(gallery)
    for steps in ((1,),) if kind in (SameByDifferences, BestByCdist) else ((1,), (4,), (4, 1 << 20)):
        comparison.steps, comparison._step = steps, None
        found = comparison.search(query, 5)
        assert (int(found[4, 0]), int(found[7, 0])) == (3, 30)
        if roundoff < 1e-6:
            assert torch.equal(found, formula(query.double(), gallery.double()).topk(5, largest=False).indices)


@pytest.fixture(scope="module")
def measured() -> list[AccuracyRow]:
    """Accuracy rows of 30 photos whose sketches are their own features, a little moved."""
    rows = draw_large(30, (8, 16, CHANNELS), torch.float16, seed=0)
    query = replace(rows, levels=tuple(level.float() + 0.01 for level in rows.levels))
    vector, grid = rows.levels[2][:, 0].float(), grids(30, 5, seed=0)
    own = torch.arange(30).flip(0)
    sketches = Side(query, vector + 0.01, grid + 0.01)
    turned = Side(query[own], sketches.vector[own], sketches.grid[own])
    return measure("drawn", Side(rows, vector, grid), turned, own)


def test_every_way_finds_the_photo_that_a_sketch_was_made_from(measured: list[AccuracyRow]) -> None:
    assert [(row.method, row.way) for row in measured] == [(way.method, way.name) for way in ways("cpu")]
    assert {(row.acc1, row.acc5, row.acc10) for row in measured} == {(1.0, 1.0, 1.0)}


def test_accuracy_counts_the_own_photo_alone() -> None:
    rows = draw_large(12, (8, 16, CHANNELS), torch.float16, seed=0)
    side = Side(rows, rows.levels[2][:, 0].float(), grids(12, 5, seed=0))
    query = Side(replace(rows, levels=tuple(level.float() for level in rows.levels)), side.vector, side.grid)
    off_by_one = torch.arange(12).roll(1)
    assert all(row.acc1 == 0 for row in measure("drawn", side, query, off_by_one))


def test_a_large_size_is_measured_by_its_first_sketches_unless_the_whole_is_asked_for() -> None:
    dla = next(way for way in WAYS if way.method is Method.DLA and way.name == "matmul-fp32")
    sketchy = Size("Sketchy", "densenet169", 7_500, 1_250)
    assert dla.sketches(sketchy, whole=False) == 32
    assert dla.sketches(sketchy, whole=True) == 7_500
    assert BASELINE.sketches(sketchy, whole=False) == 7_500


def released() -> Way:
    return next(way for way in WAYS if way.name == "differences" and way.method is Method.MLRM)


def test_the_released_way_takes_sketches_in_groups_and_so_fits() -> None:
    size = Size("Sketchy", "densenet169", 7_500, 1_250)
    assert released().obstacle(size, 7_500, CPU, 4 << 30) is None
    assert "doesn't fit" in (released().obstacle(size, 7_500, CPU, 1 << 20) or "")


def test_in_a_large_gallery_some_ways_say_that_they_are_not_tried() -> None:
    large = Size("large", "densenet169", 1, LARGE)
    assert "tried in galleries below" in (released().obstacle(large, 1, CPU, 1 << 40) or "")
    assert BASELINE.obstacle(large, 1, CPU, 1 << 40) is None


def test_drawn_sides_have_the_shapes_of_the_trunk_and_no_more_grids_than_asked_for() -> None:
    gallery, sketches = draw(Size("small", "lite0", 3, 5), grids=2)
    assert gallery.rows.levels[0].dtype == torch.float16
    assert [tuple(part.shape) for part in (gallery.vector, gallery.grid)] == [(5, 1280), (5, 64, 1280)]
    assert [tuple(part.shape) for part in (sketches.vector, sketches.grid)] == [(3, 1280), (2, 64, 1280)]


def test_real_pairs_are_the_models_own_features_and_its_last_level(tmp_path: Path) -> None:
    for kind in ("photos", "sketches"):
        (tmp_path / "mugs" / "test" / kind).mkdir(parents=True)
    for number, product in enumerate(map(draw_product, range(2))):
        render_photo(product).save(tmp_path / f"mugs/test/photos/{number}.png")
        render_sketch(product, seed=0).save(tmp_path / f"mugs/test/sketches/{number}.png")
    [(size, dataset)] = real_pairs([str(tmp_path / "mugs")]).items()
    assert size == Size("mugs", "lite0", 2, 2)
    seen: list[str] = []
    gallery, sketches = sides(shipped(), dataset, lambda what, done, total: seen.append(what))
    assert gallery.rows.levels[2].dtype == torch.float16
    assert sketches.grid.shape == (2, 64, 1280)
    # The light trunk ends with a ReLU6: a cell of an empty background is 0, every other has unit length.
    norms = sketches.grid.norm(dim=2)
    torch.testing.assert_close(norms, (norms > 0).float())
    assert 0.5 < float((norms > 0).float().mean()) <= 1
    images = torch.stack([image_to_tensor(load_image(path), 256) for path in dataset.sketches])
    model = shipped()
    network = model.network("sketch")
    with torch.inference_mode():
        features = model(images, "sketch")
        levels, _ = network(network.trunk.early(network.normalise(images)))
    # As far as convolutions of one batch and another differ.
    torch.testing.assert_close(sketches.rows.levels, features.levels, rtol=1e-3, atol=1e-4)
    expected = torch.nn.functional.normalize(levels[-1].mean((2, 3)), dim=1)
    torch.testing.assert_close(sketches.vector, expected, rtol=1e-3, atol=1e-4)
    assert {"mugs: decode", "mugs: photos", "mugs: sketches"} == set(seen)
