"""Sketches against short codes: exact coordinates, in 16 bits only where they meet the codes.

|c_a - c^_b|^2 = |c_a|^2 + |c^_b|^2 - 2 <c_a, c^_b>, and <c_a, c^_b> = sum over j of (c_aj steps_j) n_j. The products
p_j = c_aj steps_j become integers q_j of 16 bits, p = scale q + rest: the sum is scale * sum of q_j n_j, exact in 32
bits, and off by at most |rest| |n| (Cauchy-Schwarz). Nothing else of a sketch is rounded but to float32.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.short.basis import Basis
from kernels.short.codes import LARGEST_CODE

LARGEST_INTEGER = 127 * 256
"""q = 256 high + low with both in int8."""


class ShortQueries(NamedTuple):
    """Q sketches along one basis, float64; terms as the basis has them.

    integers: int32 [Q, groups of all terms * GROUP]. scale: [Q, terms]. square: |c|^2, [Q, terms].
    error: at least the coordinates' rounding, e_a, [Q, terms]. rest: at least |p - scale q|, [Q, terms].
    cut: [Q, terms]. loose: how far the cut is from exact at most, [Q, terms].
    region_weights: [Q, R]. level_weights: [Q, R, L].
    """

    basis: Basis
    integers: NDArray[np.int32]
    scale: NDArray[np.float64]
    square: NDArray[np.float64]
    error: NDArray[np.float64]
    rest: NDArray[np.float64]
    cut: NDArray[np.float64]
    loose: NDArray[np.float64]
    region_weights: NDArray[np.float64]
    level_weights: NDArray[np.float64]


def prepare(
    basis: Basis,
    levels: Sequence[NDArray[np.floating]],
    region_weights: NDArray[np.floating],
    level_weights: NDArray[np.floating],
) -> ShortQueries:
    """Q sketches along a basis. levels: L arrays [Q, R, C_l] of any floating type; weights [Q, R], [Q, R, L]."""
    queries, terms = len(region_weights), len(basis.terms)
    kept = np.zeros((queries, basis.coordinates))
    norm, cut = np.zeros((queries, terms)), np.zeros((queries, terms))
    for number, term in enumerate(basis.terms):
        found, first = term.coordinates(basis.vectors(levels, number)), basis.coordinates_from(number)
        kept[:, first : first + len(term.axes)] = found.kept
        norm[:, number], cut[:, number] = found.norm, found.cut
    products = kept * basis.steps
    integers, scale = _integers(basis, products)
    # 2^-40: the roundings of these lines and of the norms, relative.
    missed, size = (
        np.sqrt(basis.sums(np.square(one))) for one in (products - integers * scale[:, basis.owners], products)
    )
    rest = missed * (1 + 2.0**-40) + size * 2.0**-50
    square = basis.sums(np.square(kept))
    error = np.array([term.kept_error for term in basis.terms]) * norm
    loose = np.array([term.cut_error for term in basis.terms]) * norm
    weights = region_weights.astype(np.float64), level_weights.astype(np.float64)
    return ShortQueries(basis, integers, scale, square, error, rest, cut, loose, *weights)


def _integers(basis: Basis, products: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """q of products [Q, coordinates], and their scales [Q, terms], which float32 holds.

    Sums of q_j n_j over a term stay within 32 bits.
    """
    sizes = np.array([len(term.axes) for term in basis.terms])
    room = np.minimum(LARGEST_INTEGER, (2**31 - 1) // (LARGEST_CODE * np.maximum(1, sizes)))
    largest = basis.largest(np.abs(products))
    scale = (largest / room).astype(np.float32)
    scale = np.nextafter(scale, np.float32(np.inf)).astype(np.float64)
    usable = np.isfinite(scale) & (largest > 0)
    scale[~usable] = 0
    of_each, where = scale[:, basis.owners], usable[:, basis.owners]
    ratio = np.divide(products, of_each, out=np.zeros_like(products), where=where)
    return np.rint(ratio).astype(np.int32), scale
