"""What every method searches: sketches and photos as MLRM's regions, as one vector, and as a grid of vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benches.cases import TRUNKS, Rows, draw_large
from benches.drawn_like import Statistics
from benches.table2.sizes import Size

GRID_CELLS = 64
"""8 x 8: the last level's grid at 256 pixels."""


@dataclass(frozen=True)
class Side:
    """N sketches or photos.

    rows: MLRM's region features and weights; a gallery's in float16, as it is stored. vector: the last level's mean
    over the grid, float32 [N, C]. grid: the last level, float32 [n, 64, C]: of all, or of the first n where no method
    asks for more.
    """

    rows: Rows
    vector: Tensor
    grid: Tensor

    def first(self, count: int) -> "Side":
        """The first of them."""
        return Side(self.rows[:count], self.vector[:count], self.grid[:count])

    @classmethod
    def cat(cls, parts: Sequence["Side"]) -> "Side":
        """One after the other."""
        rows = Rows(
            tuple(torch.cat(levels) for levels in zip(*(part.rows.levels for part in parts), strict=True)),
            torch.cat([part.rows.region_weights for part in parts]),
            torch.cat([part.rows.level_weights for part in parts]),
        )
        return cls(rows, torch.cat([part.vector for part in parts]), torch.cat([part.grid for part in parts]))

    def to(self, device: torch.device) -> "Side":
        """Everything on `device`."""
        return Side(self.rows.to(device), self.vector.to(device), self.grid.to(device))


def draw(size: Size, grids: int) -> tuple[Side, Side]:
    """Photos and sketches of a size, on the CPU; grids of the first `grids` sketches.

    Vectors of one region stand for TC-Net's. Times of TC-Net, LA and DLA don't depend on the values.
    """
    photos, sketches = (
        draw_large(count, TRUNKS[size.trunk], dtype, seed)
        for seed, (count, dtype) in enumerate(((size.photos, torch.float16), (size.sketches, torch.float32)))
    )
    return _side(photos, size.photos if grids else 0, seed=2), _side(sketches, grids, seed=3)


def draw_like(size: Size, grids: int, statistics: Statistics) -> tuple[Side, Side]:
    """The same with real statistics, and with a photo that each sketch shows: `own_photos`.

    Channels above the real ones' are zeros. Grids are drawn as by `draw`.
    """
    photos, _ = statistics.draw(size.photos, 0, TRUNKS[size.trunk])
    sketches = statistics.sketches_of(photos, own_photos(size), seed=1)
    return _side(photos, size.photos if grids else 0, seed=2), _side(sketches, grids, seed=3)


def own_photos(size: Size) -> Tensor:
    """The photo of each sketch that `draw_like` draws, int64 [Q]: all photos in turn."""
    return torch.arange(size.sketches) % size.photos


def _side(rows: Rows, grids: int, seed: int) -> Side:
    last = rows.levels[-1]
    grid = draw_large(grids, (last.shape[2],), torch.float32, seed, regions=GRID_CELLS).levels[0]
    return Side(rows, last[:, 0].float().contiguous(), grid)
