"""Galleries of any size drawn from the statistics of real features, and sketches of their photos.

Photos are drawn from the mean and covariance of real photos, all regions and levels together: they vary together, and
drawn independently their distances would spread far less. Sketches are drawn with their own photos from the mean and
covariance of real pairs: a sketch is as far from its photo, and in such directions, as real ones are. Several sketches
of a photo can't be drawn with it: they are the photo and a residual each, drawn apart from it, which real ones aren't.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from benches.cases import CHUNK_ROWS, Rows

DIRECTIONS = 1024
"""Of largest variance, drawn one by one; what is left is spread evenly over the channels of a region and level."""


@dataclass(frozen=True)
class _Normal:
    """A normal distribution: mean [C], directions [d, C] times their deviation, deviation of the rest [C]."""

    mean: Tensor
    directions: Tensor
    rest: Tensor

    @classmethod
    def of(cls, vectors: Tensor, widths: Sequence[int]) -> Self:
        """vectors: [n, C], parts of some widths side by side."""
        mean = vectors.mean(0)
        x = (vectors - mean) / len(vectors) ** 0.5
        _, turned = torch.linalg.eigh(x @ x.T)  # as many as there are vectors, fewer than channels
        directions = turned[:, -DIRECTIONS:].T @ x
        left = x.square().sum(0) - directions.square().sum(0)
        rest = [part.mean().clamp_min(0).sqrt().expand(len(part)) for part in left.split(list(widths))]
        return cls(mean, directions, torch.cat(rest))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        rows = torch.randn(count, len(self.directions), generator=generator) @ self.directions
        return rows.add_(self.mean).add_(torch.randn(rows.shape, generator=generator).mul_(self.rest))


@dataclass(frozen=True)
class Statistics:
    """What is drawn from: photos, and pairs of a photo and its sketch.

    Of each, regions and levels stand side by side, level innermost, of such widths. weights: (region weights [n, R],
    level weights [n, R, L]) of photos, and of sketches; drawn rows take theirs.
    """

    photos: _Normal
    pairs: _Normal
    widths: tuple[int, ...]
    weights: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, photos: Rows, sketches: Rows, own: Tensor) -> Self:
        """photos: unit vectors. sketches: of photos `own` (int64, one for each sketch)."""
        widths = tuple(level.shape[2] for level in photos.levels) * photos.region_weights.shape[1]
        theirs, ours = _side_by_side(photos), _side_by_side(sketches)
        return cls(
            _Normal.of(theirs, widths),
            _Normal.of(torch.cat((theirs[own], ours), 1), widths * 2),
            widths,
            (
                (photos.region_weights, photos.level_weights),
                (sketches.region_weights, sketches.level_weights),
            ),
        )

    def draw(
        self, photos: int, sketches: int, channels: tuple[int, ...] | None = None, seed: int = 0
    ) -> tuple[Rows, Rows]:
        """Photos as a gallery stores them, and sketches, float32, of the first of them.

        `channels` above the real ones' are filled up with zeros.
        """
        generator = torch.Generator().manual_seed(seed)
        regions = self.weights[0][0].shape[1]
        levels = tuple(
            torch.zeros(photos, regions, width, dtype=torch.float16)
            for width in channels or self.widths[: len(self.widths) // regions]
        )
        for start in range(0, photos, CHUNK_ROWS):
            drawn = self.photos.draw(min(CHUNK_ROWS, photos - start), generator)
            self._fill(tuple(level[start : start + CHUNK_ROWS] for level in levels), drawn)
        own, drawn = self.pairs.draw(sketches, generator).chunk(2, 1)
        self._fill(tuple(level[:sketches] for level in levels), own)
        found = tuple(torch.zeros(sketches, *level.shape[1:]) for level in levels)
        self._fill(found, drawn)
        return Rows(levels, *self._weights(0, photos, generator)), Rows(found, *self._weights(1, sketches, generator))

    def sketches_of(self, photos: Rows, own: Tensor, seed: int = 0) -> Rows:
        """Sketches, float32, of photos `own` (int64 [Q]), each drawn as its photo and a residual of the real pairs.

        A photo may have several.
        """
        generator = torch.Generator().manual_seed(seed)
        drawn = self._residuals().draw(len(own), generator)
        for number, part in enumerate(drawn.split(list(self.widths), 1)):  # type: ignore[no-untyped-call]
            r, level = divmod(number, len(photos.levels))
            part += photos.levels[level][own, r, : part.shape[1]]
        levels = tuple(torch.zeros(len(own), *level.shape[1:]) for level in photos.levels)
        self._fill(levels, drawn)
        return Rows(levels, *self._weights(1, len(own), generator))

    def _residuals(self) -> _Normal:
        """Of sketches less their photos: the pairs' directions say both."""
        (photo, sketch), (of_photo, of_sketch) = (one.chunk(2, -1) for one in (self.pairs.mean, self.pairs.directions))
        rest = self.pairs.rest.square().chunk(2)
        return _Normal(sketch - photo, of_sketch - of_photo, (rest[0] + rest[1]).sqrt())

    def _fill(self, levels: tuple[Tensor, ...], drawn: Tensor) -> None:
        """Write rows, side by side, as unit vectors into levels [n, R, C_l]."""
        for number, part in enumerate(drawn.split(list(self.widths), 1)):  # type: ignore[no-untyped-call]
            r, level = divmod(number, len(levels))
            levels[level][:, r, : part.shape[1]] = torch.nn.functional.normalize(part, dim=1)

    def _weights(self, side: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        region, level = self.weights[side]
        chosen = torch.randint(len(region), (count,), generator=generator)
        return region[chosen], level[chosen]


def _side_by_side(rows: Rows) -> Tensor:
    """All regions and levels of N rows, float32 [N, C], level innermost."""
    regions = range(rows.region_weights.shape[1])
    return torch.cat([level[:, r].float() for r in regions for level in rows.levels], 1)
