"""The right answer for the benches: the canonical ranking, at a cost that a gallery of 100,000 allows."""

import torch
from torch import Tensor

from benches.cases import Rows
from kernels.reference import canonical_distance, pair_weights

CHUNK_ROWS = 1024
UNIT_ROUNDOFF = 2.0**-53


def oracle(query: Rows, gallery: Rows, top_k: int) -> Tensor:
    """Row numbers of the `top_k` nearest by (canonical distance, row), int64 [Q, top_k]; `top_k` <= G.

    A float64 matrix product finds the candidates and the canonical routine ranks them. In float64 the expanded square
    is off by at most eta = 4 (C + 4) u max(|a|^2, |b|^2), so a norm by sqrt(eta) and a distance by the weights' sum
    times that: whoever is farther than rank k by twice as much can't be among the k nearest.
    """
    distance, slack = [], 0.0
    for start in range(0, len(gallery), CHUNK_ROWS):
        found, error = _expanded(query, gallery[start : start + CHUNK_ROWS])
        distance.append(found)
        slack = max(slack, error)
    approximate = torch.cat(distance, 1)
    limit = approximate.kthvalue(top_k, dim=1, keepdim=True).values + 2 * slack
    nearest = []
    for number, close in enumerate(approximate <= limit):
        candidates = close.nonzero()[:, 0]
        exact = canonical_distance(query[number : number + 1], gallery[candidates])[0]
        nearest.append(candidates[exact.argsort(stable=True)[:top_k]])  # candidates ascend: equal ones stay by row
    return torch.stack(nearest)


def _expanded(query: Rows, gallery: Rows) -> tuple[Tensor, float]:
    """Distances [Q, n] by the expanded square in float64, and the bound on their error."""
    weights = pair_weights(_float64(query), _float64(gallery), 1)
    distance, error = torch.zeros(weights.shape[:2], dtype=torch.float64, device=weights.device), 0.0
    for level, (query_level, gallery_level) in enumerate(zip(query.levels, gallery.levels, strict=True)):
        for region in range(weights.shape[2]):
            a, b = query_level[:, region].double(), gallery_level[:, region].double()
            a_square, b_square = a.square().sum(1), b.square().sum(1)
            square = (a_square[:, None] + b_square - 2 * a @ b.T).clamp_min(0)
            weight = weights[:, :, region, level]
            distance += weight * square.sqrt()
            eta = 4 * (a.shape[1] + 4) * UNIT_ROUNDOFF * float(torch.maximum(a_square.max(), b_square.max()))
            error += float(weight.max()) * eta**0.5
    return distance, error


def _float64(rows: Rows) -> Rows:
    return Rows(rows.levels, rows.region_weights.double(), rows.level_weights.double())
