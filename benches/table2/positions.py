"""The three methods that compare vectors at the positions of a grid, by PyTorch.

One grid is [P, C]. `Same` sums, over positions, the Euclidean distance of the two vectors at a position: LA, and with
one position TC-Net. `Best` takes for each position of the sketch the nearest position of the photo: DLA.
"""

from abc import ABC, abstractmethod
from time import perf_counter

import torch
from torch import Tensor

PRODUCTS = 1 << 19
"""Products of vectors held at a time by `BestByProducts`: 2 MB in float32, a core's second cache."""
DIFFERENCES = 1 << 25
"""Values held at a time by `SameByDifferences`: 128 MB."""


class Comparison(ABC):
    """A gallery of grids, made ready to be searched.

    gallery: float32 [G, P, C].
    """

    steps: tuple[int, ...] = (1 << 30,)
    """Sketches at a time; of several, the fastest is found with the first sketches and kept."""

    def __init__(self, gallery: Tensor) -> None:
        self.gallery = gallery
        self._step: int | None = None

    @abstractmethod
    def distance(self, query: Tensor) -> Tensor:
        """Distances [Q, G] of sketches [Q, P, C]."""

    def search(self, query: Tensor, top_k: int) -> Tensor:
        """Numbers of the nearest photos, nearest first, int64 [Q, top_k]."""
        if self._step is None:
            self._step = self._fastest(query)
        parts = torch.split(query, self._step)
        return torch.cat([self.distance(part).topk(top_k, largest=False).indices for part in parts])

    def _fastest(self, query: Tensor) -> int:
        if len(self.steps) == 1:
            return self.steps[0]
        some = query[: max(self.steps)]
        return min(self.steps, key=lambda step: self._seconds(some, step))

    def _seconds(self, query: Tensor, step: int) -> float:
        """The faster of two runs."""
        seconds = []
        for _ in range(2):
            begin = perf_counter()
            for part in torch.split(query, step):
                self.distance(part)
            if query.is_cuda:
                torch.cuda.synchronize(query.device)
            seconds.append(perf_counter() - begin)
        return min(seconds)


class VectorCdist(Comparison):
    """TC-Net's way in one call: `torch.cdist`. Of one position."""

    def distance(self, query: Tensor) -> Tensor:
        return torch.cdist(query[:, 0], self.gallery[:, 0])


class SameByProducts(Comparison):
    """||a - b||^2 = |a|^2 + |b|^2 - 2 a.b: one product a position, the gallery's squares kept, in chunks."""

    steps = (64, 256, 1024)

    def __init__(self, gallery: Tensor, dtype: torch.dtype) -> None:
        super().__init__(gallery)
        self._squares = gallery.square().sum(2).T.contiguous()  # [P, G]
        self._rows = gallery.transpose(0, 1).to(dtype).contiguous()  # [P, G, C]

    def distance(self, query: Tensor) -> Tensor:
        total = self._squares.new_zeros(len(query), self._squares.shape[1])
        squares = query.square().sum(2)
        values = query.to(self._rows.dtype)
        for position, (rows, gallery) in enumerate(zip(self._rows, self._squares, strict=True)):
            found = _minus_twice(values[:, position], rows, gallery)
            total += found.add_(squares[:, position, None]).clamp_min_(0).sqrt_()
        return total


class SameByDifferences(Comparison):
    """The formula as it is written: differences of a sketch's grid and many photos', squared and summed."""

    steps = (1,)

    def distance(self, query: Tensor) -> Tensor:
        photos = max(1, DIFFERENCES // self.gallery[0].numel())
        parts = [(query - part).square().sum(2).sqrt().sum(1) for part in torch.split(self.gallery, photos)]
        return torch.cat(parts)[None]


class BestByCdist(Comparison):
    """A sketch at a time: `torch.cdist` of its positions and all of the gallery's, then the least of each photo."""

    steps = (1,)

    def distance(self, query: Tensor) -> Tensor:
        photos, positions, _ = self.gallery.shape
        found = torch.cdist(query[0], self.gallery.flatten(0, 1))
        return found.view(-1, photos, positions).amin(2).sum(0)[None]


class BestByProducts(Comparison):
    """|b|^2 - 2 a.b in chunks that stay in cache, the least of each photo, and only then |a|^2 and the root."""

    steps = (1, 4)

    def __init__(self, gallery: Tensor, dtype: torch.dtype) -> None:
        super().__init__(gallery)
        self._squares = gallery.square().sum(2)  # [G, P]
        self._rows = gallery.to(dtype)

    def distance(self, query: Tensor) -> Tensor:
        sketches, positions, _ = query.shape
        values = query.flatten(0, 1).to(self._rows.dtype)
        photos = max(1, PRODUCTS // (len(values) * positions))
        parts = [
            _minus_twice(values, rows.flatten(0, 1), squares.flatten()).view(len(values), -1, positions).amin(2)
            for rows, squares in zip(torch.split(self._rows, photos), torch.split(self._squares, photos), strict=True)
        ]
        nearest = torch.cat(parts, 1).add_(query.square().sum(2).flatten()[:, None]).clamp_min_(0).sqrt_()
        return nearest.view(sketches, positions, -1).sum(1)


def _minus_twice(query: Tensor, rows: Tensor, squares: Tensor) -> Tensor:
    """|b|^2 - 2 a.b in float32 [n, m], of a [n, C], b [m, C] and |b|^2 [m]."""
    if len(query) == 1:
        return squares - 2 * torch.mv(rows, query[0]).float()[None]
    if rows.dtype == torch.float32:
        return torch.addmm(squares, query, rows.T, alpha=-2)
    return squares - 2 * (query @ rows.T).float()
