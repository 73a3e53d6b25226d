"""The released program's way: differences of all pairs and all nine vectors at once, in float32."""

import torch
from torch import Tensor

from benches.cases import Rows
from benches.providers.base import Searcher
from benches.searches import Search
from kernels.reference import pair_weights


class Released(Searcher):
    """Keeps the gallery as float32, as a model returns it."""

    def __init__(self, gallery: Rows) -> None:
        self._gallery = Rows(
            tuple(level.float() for level in gallery.levels), gallery.region_weights, gallery.level_weights
        )

    def search(self, query: Rows, top_k: int) -> Tensor:
        """Broadcast differences, norms, weights, the nearest."""
        norms = [
            (q[:, None] - g[None]).square().sum(3).sqrt()
            for q, g in zip(query.levels, self._gallery.levels, strict=True)
        ]
        distance = (pair_weights(query, self._gallery, 1) * torch.stack(norms, 3)).sum((2, 3))
        return distance.topk(top_k, largest=False).indices


def needs(search: Search) -> int:
    """The float32 gallery, and the differences of the widest level with their squares."""
    widest = search.values // sum(search.channels) * max(search.channels)
    return 4 * search.photos * search.values + 2 * 4 * search.pairs * widest
