"""`Features`: what an image is turned into, and all that search knows of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """Region features and weights of B images.

    Shapes: `levels` is a tuple of L tensors [B, R, C_l]; `region_weights` [B, R], rows sum to 1; `level_weights`
    [B, R, L]; `maps` [B, R, h, w] in 0..1 (absent where features came from elsewhere). With `l2norm`, `levels` hold
    unit vectors and `unscaled_levels` the vectors before scaling, which the weights were computed from.
    """

    levels: tuple[Tensor, ...]
    region_weights: Tensor
    level_weights: Tensor
    maps: Tensor | None = None
    unscaled_levels: tuple[Tensor, ...] | None = None

    def __len__(self) -> int:
        return self.region_weights.shape[0]

    def __getitem__(self, index: slice | list[int] | Tensor) -> Self:
        """The images selected by a slice, a list of numbers, or an index or mask tensor."""
        return self.map(lambda tensor: tensor[index])

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Apply `function` to every tensor; for moves, casts and selection."""
        return type(self)(
            tuple(function(level) for level in self.levels),
            function(self.region_weights),
            function(self.level_weights),
            None if self.maps is None else function(self.maps),
            None if self.unscaled_levels is None else tuple(function(level) for level in self.unscaled_levels),
        )

    def to(self, device: torch.device | str) -> Self:
        """Every tensor on `device`."""
        return self.map(lambda tensor: tensor.to(device))

    @classmethod
    def cat(cls, batches: Iterable[Self]) -> Self:
        """Concatenate batches of the same regions, levels and map size along the images."""
        parts = list(batches)
        maps = [part.maps for part in parts if part.maps is not None]
        unscaled = [part.unscaled_levels for part in parts if part.unscaled_levels is not None]
        return cls(
            tuple(torch.cat(level) for level in zip(*(part.levels for part in parts), strict=True)),
            torch.cat([part.region_weights for part in parts]),
            torch.cat([part.level_weights for part in parts]),
            torch.cat(maps) if len(maps) == len(parts) else None,
            tuple(torch.cat(level) for level in zip(*unscaled, strict=True)) if len(unscaled) == len(parts) else None,
        )
