"""How sure a mean over sketches is: intervals by resampling products, whose sketches share their luck."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 2000
PERCENTILES = (2.5, 97.5)


class Estimate(NamedTuple):
    """A mean, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def over_products(values: ArrayLike, product_of: Sequence[int]) -> Estimate:
    """The mean of some sketches' values, with a bootstrap interval over their products.

    values: one for each sketch, [N]; a difference of two models' values compares them on the same sketches.
    product_of: the number of the product that each shows, [N]. The same input has the same interval every time.
    """
    _, product = np.unique(np.asarray(product_of), return_inverse=True)
    counts = np.bincount(product)
    sums = np.bincount(product, weights=np.asarray(values, dtype=np.float64))
    products = len(counts)
    often = np.random.default_rng(0).multinomial(products, np.full(products, 1 / products), RESAMPLES)  # [R, products]
    low, high = np.percentile((often @ sums) / (often @ counts), PERCENTILES)
    return Estimate(float(sums.sum() / counts.sum()), float(low), float(high))
