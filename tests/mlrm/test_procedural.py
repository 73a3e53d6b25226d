"""The drawn products: what follows from a seed, and that a sketch shows the product it is of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mlrm.errors import ConfigError
from mlrm.procedural import CATEGORIES, Product, draw_product, render_photo, render_sketch, write_pairs
from mlrm.procedural.drawing import Drawing, label_map, visible_strokes
from mlrm.procedural.parameters import Choice
from mlrm.procedural.products import CATALOGUE
from mlrm.procedural.shapes import box

Mask = NDArray[np.bool_]


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image)


def ink_of(sketch: Image.Image) -> Mask:
    """Inked cells on a grid, the ink's bounding box brought to fill it (as an eye compares forms)."""
    dark = pixels(sketch.convert("L")) < 128
    return on_grid(dark)


def edges_of(photo: Image.Image) -> Mask:
    smooth = photo.convert("L").filter(ImageFilter.GaussianBlur(1.0))
    grey = pixels(smooth).astype(np.float64)
    slope = np.hypot(*np.gradient(grey))
    return on_grid(slope > 12)


def on_grid(mask: Mask, cells: int = 48) -> Mask:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    low = np.array([rows[0], columns[0]])
    extent = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    points = (np.argwhere(mask) - low) * (cells - 1) // extent
    grid = np.zeros((cells, cells), dtype=bool)
    grid[points[:, 0], points[:, 1]] = True
    return grid


def chamfer(a: Mask, b: Mask) -> float:
    """Mean distance from the cells of each to the nearest of the other."""
    p, q = np.argwhere(a).astype(np.float32), np.argwhere(b).astype(np.float32)
    squares = (p**2).sum(axis=1)[:, None] + (q**2).sum(axis=1) - 2 * p @ q.T
    return float(np.sqrt(squares.min(axis=1)).mean() + np.sqrt(squares.min(axis=0)).mean())


@pytest.mark.parametrize("category", CATEGORIES)
def test_pictures_follow_from_the_seeds_alone(category: str) -> None:
    first = draw_product(5, category)
    photo, sketch = render_photo(first), render_sketch(first, seed=3)
    for other in (9, 1):  # anything else drawn in between changes nothing
        render_sketch(draw_product(other), seed=other)
    second = draw_product(5, category)
    assert second == first
    assert np.array_equal(pixels(render_sketch(second, seed=3)), pixels(sketch))
    assert np.array_equal(pixels(render_photo(second)), pixels(photo))


@pytest.mark.parametrize("category", CATEGORIES)
def test_different_seeds_give_different_products(category: str) -> None:
    products = [draw_product(seed, category) for seed in range(6)]
    photos = {render_photo(product, 64).tobytes() for product in products}
    assert len({str(product.parameters) for product in products}) == len(photos) == len(products)


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_has_eight_parameters_and_every_kind_can_be_drawn(category: str) -> None:
    parameters = CATALOGUE[category].parameters
    assert len(parameters) >= 8
    product = draw_product(0, category)
    for name, domain in parameters.items():
        if isinstance(domain, Choice):
            for kind in set(domain.kinds):
                changed = Product(category, {**product.parameters, name: kind}, product.finish)
                assert pixels(render_photo(changed, 64)).std() > 5


@pytest.mark.parametrize("category", CATEGORIES)
def test_sketch_is_nearer_to_its_product_than_to_the_others(category: str) -> None:
    products = [draw_product(seed, category) for seed in range(10)]
    photos = [edges_of(render_photo(product)) for product in products]
    one = [ink_of(render_sketch(product, seed=1)) for product in products]
    two = [ink_of(render_sketch(product, seed=2)) for product in products]
    to_photos = np.array([[chamfer(a, b) for b in photos] for a in one])
    to_sketches = np.array([[chamfer(a, b) for b in two] for a in one])
    assert (np.diag(to_sketches) > 0).all(), "two hands drew the very same"
    for distances in (to_photos, to_sketches):
        own = np.diag(distances)
        others = (distances.sum(axis=1) - own) / (len(products) - 1)
        assert own.mean() < 0.8 * others.mean()
        # So crude a measure mistakes some; chance would find one in ten.
        assert (distances.argmin(axis=1) == np.arange(len(products))).mean() >= 0.3


@pytest.mark.parametrize("category", CATEGORIES)
def test_photo_stands_on_a_light_ground_and_sketch_is_ink_on_white(category: str) -> None:
    for seed in range(4):
        product = draw_product(seed, category)
        photo = pixels(render_photo(product)).astype(np.float64)
        border = np.concatenate([photo[:4].reshape(-1, 3), photo[:, :4].reshape(-1, 3), photo[:, -4:].reshape(-1, 3)])
        assert border.mean() > 215
        assert 90 < photo.mean() < 246
        sketch = pixels(render_sketch(product, seed=seed))
        assert (sketch[..., 0] == sketch[..., 2]).all()
        assert 0.01 < (sketch < 128).mean() < 0.15
        assert (sketch > 250).mean() > 0.75


def test_sketch_does_not_depend_on_colours() -> None:
    """Colours come from a stream of their own; here every part is repainted."""
    product = draw_product(2, "mug")
    drawing = CATALOGUE["mug"].build(**product.parameters).fitted(0.8)
    repainted = Drawing([replace(part, material="dark") for part in drawing.parts], drawing.lines)
    labels = [pixels(label_map(d, 128)) for d in (drawing, repainted)]
    strokes = [visible_strokes(d, seen) for d, seen in zip((drawing, repainted), labels, strict=True)]
    assert len(strokes[0]) == len(strokes[1]) > 0
    assert all(np.array_equal(a.curve, b.curve) for a, b in zip(*strokes, strict=True))


def test_later_parts_hide_earlier_ones() -> None:
    drawing = Drawing()
    drawing.part(box(0.1, 0.1, 0.6, 0.6), "main")
    drawing.line(0, [(0.0, 0.35), (1.0, 0.35)])
    drawing.part(box(0.4, 0.0, 0.9, 0.9), "second")
    strokes = visible_strokes(drawing, pixels(label_map(drawing, 200)))
    assert len(strokes) == 3
    behind, front, line = strokes
    assert behind.part == line.part == 0
    assert behind.curve[:, 0].max() < 0.42
    assert front.curve[:, 0].max() > 0.89
    assert line.curve[0, 0] == pytest.approx(0.1, abs=0.02)
    assert line.curve[-1, 0] == pytest.approx(0.4, abs=0.02)


def test_panel_ends_where_its_part_ends_and_hides_nothing_of_its_outline() -> None:
    drawing = Drawing()
    drawing.part(box(0.2, 0.2, 0.8, 0.8), "main")
    drawing.panel(0, box(0.5, 0.0, 1.0, 1.0), "second")
    labels = pixels(label_map(drawing, 200))
    assert set(np.unique(labels)) == {0, 1, 2}
    assert (labels[:, 162:] == 0).all()
    whole, edge = visible_strokes(drawing, labels)
    assert whole.curve[:, 0].max() == pytest.approx(0.8)
    assert np.ptp(edge.curve[:, 0]) < 0.01
    assert 0.5 < np.ptp(edge.curve[:, 1]) < 0.61


@pytest.mark.parametrize("size", [64, 200, 256])
def test_pictures_have_the_size_asked_for(size: int) -> None:
    product = draw_product(11)
    for image in (render_photo(product, size), render_sketch(product, seed=0, size=size)):
        assert image.size == (size, size)
        assert image.mode == "RGB"


def test_seed_picks_among_all_categories() -> None:
    assert {draw_product(seed).category for seed in range(150)} == set(CATEGORIES)
    assert len(CATEGORIES) >= 6


def test_write_pairs_gives_a_plain_folder_of_pairs(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    write_pairs(
        tmp_path,
        count=16,
        seed=4,
        sketches_per_photo=2,
        progress=lambda done, all_: steps.append((done, all_)),
    )
    photos = sorted(path.name for path in (tmp_path / "photos").iterdir())
    sketches = sorted(path.name for path in (tmp_path / "sketches").iterdir())
    stems = [f"{CATEGORIES[n % len(CATEGORIES)]}-{n:04d}" for n in range(16)]
    assert photos == sorted(f"{stem}.jpg" for stem in stems)
    assert sketches == sorted(f"{stem}_{n}.png" for stem in stems for n in range(2))
    assert steps == [(n + 1, 16) for n in range(16)]
    with Image.open(tmp_path / "photos" / photos[0]) as photo:
        assert (photo.format, photo.size, photo.mode) == ("JPEG", (256, 256), "RGB")


def test_write_pairs_of_fewer_products_is_the_beginning_of_more(tmp_path: Path) -> None:
    write_pairs(tmp_path / "few", count=2, seed=7)
    write_pairs(tmp_path / "more", count=4, seed=7)
    write_pairs(tmp_path / "other", count=2, seed=8)
    for path in (tmp_path / "few").rglob("*.*"):
        relative = path.relative_to(tmp_path / "few")
        assert path.read_bytes() == (tmp_path / "more" / relative).read_bytes()
        assert path.read_bytes() != (tmp_path / "other" / relative).read_bytes()


def test_unknown_category_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown category 'car'") as caught:
        draw_product(0, "car")
    assert all(category in str(caught.value) for category in CATEGORIES)


def test_seeds_sizes_and_counts_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seed -1 is negative"):
        draw_product(-1)
    with pytest.raises(ConfigError, match="16 pixels a side"):
        render_photo(draw_product(1), 16)
    with pytest.raises(ConfigError, match="count 0 and sketches_per_photo 1"):
        write_pairs(tmp_path, count=0, seed=0)
    assert list(tmp_path.iterdir()) == []
