"""Drawn photos and sketches of our own, for the demo, for tests and as training pairs.

A product is a category and its parameters; it is built once as vector shapes, from which a photo (filled,
lit) and any number of sketches (visible lines, by different hands) are drawn. It all follows from the seeds.

    product = draw_product(seed=7, category="chair")
    render_photo(product).save("chair.jpg")
    render_sketch(product, seed=0).save("chair-sketch.png")
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from mlrm.errors import ConfigError
from mlrm.procedural.drawing import Drawing
from mlrm.procedural.parameters import Value
from mlrm.procedural.photo import paint
from mlrm.procedural.products import CATALOGUE
from mlrm.procedural.sketch import trace

__all__ = ["CATEGORIES", "Product", "draw_product", "render_photo", "render_sketch", "write_pairs"]

CATEGORIES: tuple[str, ...] = tuple(CATALOGUE)

# Names of the independent random streams that a seed is split into; never renumber them.
_PICK, _PARAMETERS, _FINISH, _HAND = range(4)


@dataclass(frozen=True)
class Product:
    """One product: what it is and what it looks like.

    `finish` is the seed of all that a sketch doesn't show: colours, light, and where it stands in the photo.
    """

    category: str
    parameters: Mapping[str, Value] = field(hash=False)
    finish: int


def draw_product(seed: int, category: str | None = None) -> Product:
    """The product of a seed (0 or more), of the given category or of one that the seed picks.

    Raises `ConfigError` for an unknown category or a negative seed.
    """
    seed = _checked(seed)
    if category is None:
        category = CATEGORIES[int(_stream(_PICK, seed).integers(len(CATEGORIES)))]
    elif category not in CATALOGUE:
        raise ConfigError(f"unknown category {category!r}; the known ones are {', '.join(CATEGORIES)}")
    kind = _catalogue_number(category)
    generator = _stream(_PARAMETERS, seed, kind)
    parameters = {name: domain.draw(generator) for name, domain in CATALOGUE[category].parameters.items()}
    return Product(category, parameters, finish=int(_stream(_FINISH, seed, kind).integers(2**32)))


def render_photo(product: Product, size: int = 256) -> Image.Image:
    """The product's photo, an RGB image `size` x `size` (32 or more) on a light background."""
    return paint(_built(product), _stream(_FINISH, product.finish), _checked_size(size))


def render_sketch(product: Product, seed: int, size: int = 256) -> Image.Image:
    """A pen sketch of the product, an RGB image `size` x `size` (32 or more); another `seed`, another hand.

    It depends on the product's category, parameters and `finish`, and on the seed; never on its colours.
    """
    return trace(_built(product), _stream(_HAND, _checked(seed), product.finish), _checked_size(size))


def write_pairs(
    folder: str | Path,
    count: int,
    seed: int,
    sketches_per_photo: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes `count` products as a folder of pairs, the categories in turn.

    Photos go to `photos/<category>-<nnnn>.jpg`, sketches to `sketches/<category>-<nnnn>_<n>.png`, both
    numbered from 0. Files of these names are replaced. `progress` is called with (products written, count).
    """
    if count < 1 or sketches_per_photo < 1:
        raise ConfigError(f"count {count} and sketches_per_photo {sketches_per_photo} must both be 1 or more")
    base = _checked(seed)
    photos, sketches = Path(folder, "photos"), Path(folder, "sketches")
    for directory in (photos, sketches):
        directory.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        category = CATEGORIES[number % len(CATEGORIES)]
        product_seed = int(_stream(_PICK, base, number).integers(2**63))
        product = draw_product(product_seed, category)
        stem = f"{category}-{number:04d}"
        render_photo(product).save(photos / f"{stem}.jpg", quality=92)
        for n in range(sketches_per_photo):
            render_sketch(product, seed=n).save(sketches / f"{stem}_{n}.png")
        if progress is not None:
            progress(number + 1, count)


def _built(product: Product) -> Drawing:
    return CATALOGUE[product.category].build(**product.parameters)


def _catalogue_number(category: str) -> int:
    # From the name's bytes, so that a category added later leaves the products of the others as they are.
    return int.from_bytes(category.encode(), "big")


def _stream(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def _checked(seed: int) -> int:
    seed = operator.index(seed)
    if seed < 0:
        raise ConfigError(f"seed {seed} is negative; seeds are whole numbers from 0 on")
    return seed


def _checked_size(size: int) -> int:
    if size < 32:
        raise ConfigError(f"a picture of {size} pixels a side shows nothing; ask for 32 or more")
    return size
