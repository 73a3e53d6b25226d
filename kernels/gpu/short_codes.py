"""Short codes in a GPU's memory: `kernels.short.codes` row by row, and a sketch's side of a screen of them.

A photo's codes are one row of bytes, each term from a multiple of ALIGNMENT on, so that 16 bytes come with one load.
The product takes STEP coordinates at a time, and may read on into the next term or photo: the sketch's integers are 0
there, so that nothing is added. Norms, errors and weights lie photo beside photo.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.short.basis import Basis
from kernels.short.codes import TILE_PHOTOS, Scales, ShortCodes, filled
from kernels.short.operands import operands
from kernels.short.queries import ShortQueries

ALIGNMENT = 16
STEP = 32
"""Coordinates that the tensor cores take of int8 at a time."""
CHUNK_TILES = 1 << 12
"""Tiles that are put in another order at a time: 200,000 photos, some 100 MB."""


class Photos(NamedTuple):
    """What a kernel reads of N photos."""

    codes: Tensor  # [N, stride] and STEP more bytes, int8
    sides: Tensor  # [terms, 3, N], float16
    weights: Tensor  # [R + R L, N], float16
    first: Tensor  # [terms], int32: where a term's codes begin in a row
    steps: Tensor  # [terms], int32: how many times STEP of them there are


class Sketches(NamedTuple):
    """What a kernel reads of Q sketches, padded to P with such as bound nothing."""

    limbs: Tensor  # [2, P, steps of all terms * STEP], int8: q = 256 high + low
    terms: Tensor  # [terms, 8, P], float32: `kernels.short.operands`
    region_weights: Tensor  # [R, P], float32
    factor: Tensor  # [P], float32: what a sum of terms is multiplied by; 0 where nothing is bound


@dataclass(frozen=True, eq=False)
class ResidentCodes:
    """N photos' short codes on a device."""

    basis: Basis
    scales: Scales
    photos: Photos

    @classmethod
    def of(cls, codes: ShortCodes, device: torch.device) -> "ResidentCodes":
        """Copied chunk by chunk: no second copy of the whole, here or there. May raise `torch.OutOfMemoryError`."""
        basis, count = codes.basis, len(codes)
        starts, steps, stride = _layout(basis)
        sizes = np.diff(codes.ends, prepend=0)
        rows = torch.zeros(count * stride + STEP, dtype=torch.int8, device=device)
        sides = torch.empty((len(basis.terms), 3, count), dtype=torch.float16, device=device)
        weights = torch.empty((codes.weights.shape[1], count), dtype=torch.float16, device=device)
        columns = [_columns(basis, number) for number in range(len(basis.terms))]
        for first in range(0, len(sizes), CHUNK_TILES):
            part = slice(first, first + CHUNK_TILES)
            there = filled(sizes[part])
            photos = slice(int(codes.ends[first] - sizes[first]), int(codes.ends[part][-1]))
            packed = codes.codes[part].transpose(0, 2, 1, 3).reshape(len(there), basis.coordinates)[there]
            placed = np.zeros((len(packed), stride), np.int8)
            for start, own in zip(starts, columns, strict=True):
                placed[:, start : start + len(own)] = (packed[:, own] ^ 128).view(np.int8)
            rows[photos.start * stride : photos.stop * stride] = torch.from_numpy(placed.ravel()).to(device)
            sides[:, :, photos] = _side_by_side(codes.sides[part].transpose(1, 2, 0, 3), there, device)
            weights[:, photos] = _side_by_side(codes.weights[part].transpose(1, 0, 2), there, device)
        tables = (torch.tensor(table, dtype=torch.int32, device=device) for table in (starts, steps))
        return cls(basis, codes.scales, Photos(rows, sides, weights, *tables))

    def __len__(self) -> int:
        return self.photos.weights.shape[1]

    @property
    def held_by(self) -> str:
        """The implementation that screens them."""
        return "triton"

    @property
    def nbytes(self) -> int:
        """Bytes that a screen of all photos reads."""
        return sum(tensor.nbytes for tensor in self.photos)

    @cached_property
    def everyone(self) -> Tensor:
        """bool [N]: all photos live."""
        return torch.ones(len(self), dtype=torch.bool, device=self.photos.codes.device)

    def sketches(self, queries: ShortQueries, region_weight_power: int, multiple: int) -> tuple[Sketches, float]:
        """The sketches' side, padded to a multiple of `multiple`, and what is taken off every bound.

        `Operands.factor` has room for three roundings of the end's multiplication and subtraction (2^-22), and what is
        taken off is raised by more than its own rounding to float32.
        """
        ours = operands(queries, self.scales, region_weight_power)
        padding, device = -len(ours.usable) % multiple, self.photos.codes.device

        def lined_up(values: NDArray[Any]) -> Tensor:
            """[Q, ...] as [..., P]."""
            whole = np.concatenate([values, np.zeros((padding, *values.shape[1:]), values.dtype)])
            return torch.from_numpy(np.ascontiguousarray(np.moveaxis(whole, 0, -1))).to(device)

        limbs = np.pad(_limbs(queries, self.basis), ((0, 0), (0, padding), (0, 0)))
        factor = np.where(ours.usable, ours.factor, 0).astype(np.float32)
        side = Sketches(
            torch.from_numpy(limbs).to(device), lined_up(ours.terms), lined_up(ours.region_weights), lined_up(factor)
        )
        return side, float(np.nextafter(np.float32(ours.absolute * (1 + 2.0**-20)), np.float32(np.inf)))


def _layout(basis: Basis) -> tuple[list[int], list[int], int]:
    """Where each term's codes begin in a row, how many steps it has, and the row's length."""
    starts, end = [], 0
    for term in basis.terms:
        starts.append(end)
        end += -(-len(term.axes) // ALIGNMENT) * ALIGNMENT
    return starts, [-(-len(term.axes) // STEP) for term in basis.terms], max(end, ALIGNMENT)


def _columns(basis: Basis, number: int) -> NDArray[np.int64]:
    first = basis.coordinates_from(number)
    return np.arange(first, first + len(basis.terms[number].axes))


def _side_by_side(values: NDArray[np.float16], there: NDArray[np.bool_], device: torch.device) -> Tensor:
    """[..., tiles, TILE_PHOTOS] as [..., photos]."""
    flat = values.reshape(*values.shape[:-2], values.shape[-2] * TILE_PHOTOS)[..., there]
    return torch.from_numpy(np.ascontiguousarray(flat)).to(device)


def _limbs(queries: ShortQueries, basis: Basis) -> NDArray[np.int8]:
    """int8 [2, Q, steps of all terms * STEP], each term filled up to whole steps with zeros."""
    count = len(queries.integers)
    parts = [np.zeros((count, 0), np.int32)]
    for number, steps in enumerate(_layout(basis)[1]):
        own = _columns(basis, number)
        parts += [queries.integers[:, own], np.zeros((count, steps * STEP - len(own)), np.int32)]
    integers = np.concatenate(parts, 1)
    high = (integers + 128) >> 8
    return np.stack((high, integers - 256 * high)).astype(np.int8)
