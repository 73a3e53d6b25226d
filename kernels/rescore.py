"""The canonical distance of chosen pairs: what decides among the candidates of a fast pass."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.reference import FeatureTensors, RegionFeatures, square_root, sum_channels

CHUNK_VALUES = 1 << 21
"""Differences in float64 at a time on a CPU: 16 MB, its last cache."""
GPU_CHUNK_VALUES = 1 << 25
"""256 MB: on a GPU the launches of a smaller chunk take longer than its work."""


def rescore_pairs(
    query: RegionFeatures, owner: Tensor, blocks: Sequence[GalleryBlock], rows: Tensor, region_weight_power: int = 1
) -> Tensor:
    """`canonical_distance` of P pairs, query `owner[i]` and row `rows[i]`, both int64 [P]: float64 [P], the same bits.

    query: features of Q images. blocks: of one device, that of the query. rows: numbers over all blocks, one block
    after the other. Whatever the chunks, the bits are those of the definition.
    """
    result = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
    values = CHUNK_VALUES if rows.device.type == "cpu" else GPU_CHUNK_VALUES
    step = max(1, values // max(level.shape[2] for level in query.levels))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        result[part] = _of_pairs(query, owner[part], _gather(blocks, rows[part]), region_weight_power)
    return result


def _gather(blocks: Sequence[GalleryBlock], rows: Tensor) -> FeatureTensors:
    """The rows of some numbers, in their order."""
    if len(blocks) == 1:
        return FeatureTensors.of(blocks[0], lambda values: values[rows])
    ends = torch.tensor([len(block) for block in blocks], device=rows.device).cumsum(0)
    owner = torch.searchsorted(ends, rows.contiguous(), right=True)
    order = owner.argsort(stable=True)
    parts = []
    for number in sorted(set(owner.tolist())):
        own = rows[owner == number] - (ends[number] - len(blocks[number]))
        parts.append(_gather([blocks[number]], own))
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=rows.device)

    def joined(tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(tensors))[back]

    return FeatureTensors(
        tuple(joined(level) for level in zip(*(part.levels for part in parts), strict=True)),
        joined([part.region_weights for part in parts]),
        joined([part.level_weights for part in parts]),
    )


def _of_pairs(query: RegionFeatures, owner: Tensor, rows: FeatureTensors, region_weight_power: int) -> Tensor:
    """Canonical distances [P] of query `owner[i]` to row i: the operations of `canonical_terms`, in their order."""
    level = (query.level_weights.double()[owner] + rows.level_weights.double()) / 2
    region = (query.region_weights.double()[owner] + rows.region_weights.double()) / 2
    weights = level * (region * region if region_weight_power == 2 else region)[..., None]
    total = torch.zeros(len(owner), dtype=torch.float64, device=owner.device)
    for r in range(weights.shape[1]):
        for number in range(weights.shape[2]):
            difference = query.levels[number][:, r].double()[owner] - rows.levels[number][:, r].double()
            total += weights[:, r, number] * square_root(sum_channels(difference.mul_(difference)))
    return total
