"""The public operations, registered with `torch.library`: opaque to torch.compile, differentiable where it makes sense.

Each has an eager twin in `kernels.reference`; which implementation runs is the business of `kernels.dispatch`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kernels import gradients, reference
from kernels.blocks import GalleryBlock
from kernels.dispatch import ImplementationError, pick, pick_for
from kernels.reference import FeatureTensors, RegionFeatures, check_pair, check_pool
from kernels.topk import settled


def pair_distance(
    query: RegionFeatures, gallery: RegionFeatures, *, region_weight_power: int = 1, impl: str = "auto"
) -> Tensor:
    """The Q x G matrix of distances, without anything of size Q x G x C in between; differentiable once.

    query, gallery: features of Q and G images on one device, float32, float16 or bfloat16; computed and returned in
    float32 [Q, G]. With float64 on either side the eager twin computes and returns float64 (impl "auto", "reference").
    region_weight_power: p, 1 or 2 (paper section 3.4; released program). Where two vectors are equal the gradient is 0.
    Raises `ValueError` for sides that don't match, `ImplementationError` for an `impl` that can't run here.
    """
    check_pair(query, gallery, region_weight_power)
    result: Tensor = _pair_distance(*_tensors(query), *_tensors(gallery), region_weight_power, impl)
    return result


def distance_topk(
    query: RegionFeatures,
    gallery: RegionFeatures,
    k: int,
    *,
    region_weight_power: int = 1,
    live: Tensor | None = None,
    impl: str = "auto",
) -> tuple[Tensor, Tensor]:
    """The k nearest rows of a gallery by (canonical distance, row), exact to the last rank; streamed.

    query: features of Q images; gallery: of G, on the same device, float32, float16 or bfloat16. A `GalleryBlock` keeps
    what is derived from it for the next call. live: bool [G], rows that count; default the block's own, or all.
    impl: "auto", or one of `kernels.dispatch.IMPLEMENTATIONS`.
    Returns distance float64 [Q, K] and row int64 [Q, K], K = min(k, G); infinity and -1 at the end where fewer live.
    Raises `ValueError` for sides that don't match or k below 1, `ImplementationError` for an `impl` that can't run.
    """
    if torch.compiler.is_compiling():
        found: tuple[Tensor, Tensor] = _distance_topk(
            *_tensors(query), *_tensors(gallery), k, live, region_weight_power, impl
        )
        return found
    return _topk(query, GalleryBlock.of(gallery, live), k, region_weight_power, impl)


def region_pool(levels: Sequence[Tensor], maps: Tensor, *, impl: str = "auto") -> tuple[Tensor, ...]:
    """Mean over the grid of (map r * level l), for all levels in one pass (spec section 3); differentiable once.

    levels: L tensors [B, C_l, h, w] on one grid; maps: [B, R, h, w].
    Returns L tensors [B, R, C_l], float32 (float64 from float64, by the eager twin). Raises `ValueError` for shapes
    that don't fit, `ImplementationError` for an `impl` that can't run here.
    """
    check_pool(levels, maps)
    return tuple(_region_pool(list(levels), maps, impl))


def _tensors(features: RegionFeatures) -> tuple[list[Tensor], Tensor, Tensor]:
    return list(features.levels), features.region_weights, features.level_weights


def _double(features: RegionFeatures) -> FeatureTensors:
    return FeatureTensors.of(features, Tensor.double)


def _topk(query: RegionFeatures, block: GalleryBlock, k: int, power: int, impl: str) -> tuple[Tensor, Tensor]:
    parts = list(settled(query, [block], k, region_weight_power=power, impl=impl))
    shape = (query.region_weights.shape[0], min(k, len(block)))
    distance = torch.full(shape, torch.inf, dtype=torch.float64, device=block.device)
    rows = torch.full(shape, -1, dtype=torch.int64, device=block.device)
    count = min(k, block.live_count)
    for part in parts:
        distance[part.queries, :count], rows[part.queries, :count] = part.distance[:, :count], part.rows[:, :count]
    return distance, rows


# pair_distance


@torch.library.custom_op("mlrm::pair_distance", mutates_args=())
def _pair_distance(
    query_levels: Sequence[Tensor],
    query_region_weights: Tensor,
    query_level_weights: Tensor,
    gallery_levels: Sequence[Tensor],
    gallery_region_weights: Tensor,
    gallery_level_weights: Tensor,
    region_weight_power: int,
    impl: str,
) -> Tensor:
    query = FeatureTensors(tuple(query_levels), query_region_weights, query_level_weights)
    block = GalleryBlock(tuple(gallery_levels), gallery_region_weights, gallery_level_weights)
    wide = _result_dtype([*query_levels, *gallery_levels]) == torch.float64
    chosen = pick("reference" if wide and impl == "auto" else impl, query, [block])
    if wide:
        _require_reference(impl, "pair_distance")
        exact = reference.pair_distance(_double(query), _double(block), region_weight_power)
        assert isinstance(exact, Tensor)
        return exact
    if not len(block) or not len(query_region_weights):
        return query_region_weights.new_empty((len(query_region_weights), len(block)), dtype=torch.float32)
    return chosen.pair_distance(query, block, region_weight_power)


@_pair_distance.register_fake
def _(
    query_levels: Sequence[Tensor],
    query_region_weights: Tensor,
    query_level_weights: Tensor,
    gallery_levels: Sequence[Tensor],
    gallery_region_weights: Tensor,
    *_: Any,
) -> Tensor:
    shape = (query_region_weights.shape[0], gallery_region_weights.shape[0])
    return query_region_weights.new_empty(shape, dtype=_result_dtype([*query_levels, *gallery_levels]))


def _save_sides(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    query_levels, query_region, query_level, gallery_levels, gallery_region, gallery_level, power, _ = inputs
    ctx.levels, ctx.power = len(query_levels), power
    ctx.save_for_backward(*query_levels, query_region, query_level, *gallery_levels, gallery_region, gallery_level)


def _pair_distance_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    saved, count = ctx.saved_tensors, ctx.levels
    query = FeatureTensors(saved[:count], *saved[count : count + 2])
    gallery = FeatureTensors(saved[count + 2 : -2], *saved[-2:])
    return *gradients.pair_distance(grad, query, gallery, ctx.power), None, None


_pair_distance.register_autograd(_pair_distance_backward, setup_context=_save_sides)


# distance_topk


@torch.library.custom_op("mlrm::distance_topk", mutates_args=())
def _distance_topk(
    query_levels: Sequence[Tensor],
    query_region_weights: Tensor,
    query_level_weights: Tensor,
    gallery_levels: Sequence[Tensor],
    gallery_region_weights: Tensor,
    gallery_level_weights: Tensor,
    k: int,
    live: Tensor | None,
    region_weight_power: int,
    impl: str,
) -> tuple[Tensor, Tensor]:
    query = FeatureTensors(tuple(query_levels), query_region_weights, query_level_weights)
    block = GalleryBlock(tuple(gallery_levels), gallery_region_weights, gallery_level_weights, live)
    return _topk(query, block, k, region_weight_power, impl)


@_distance_topk.register_fake
def _(
    query_levels: Sequence[Tensor],
    query_region_weights: Tensor,
    query_level_weights: Tensor,
    gallery_levels: Sequence[Tensor],
    gallery_region_weights: Tensor,
    gallery_level_weights: Tensor,
    k: int,
    live: Tensor | None,
    region_weight_power: int,
    impl: str,
) -> tuple[Tensor, Tensor]:
    shape = (query_region_weights.shape[0], min(k, gallery_region_weights.shape[0]))
    return (
        query_region_weights.new_empty(shape, dtype=torch.float64),
        query_region_weights.new_empty(shape, dtype=torch.int64),
    )


# region_pool


@torch.library.custom_op("mlrm::region_pool", mutates_args=())
def _region_pool(levels: Sequence[Tensor], maps: Tensor, impl: str) -> list[Tensor]:
    wide = _result_dtype([*levels, maps]) == torch.float64
    chosen = pick_for("reference" if wide and impl == "auto" else impl, maps.device)
    if wide:
        _require_reference(impl, "region_pool")
    return [pooled.contiguous() for pooled in chosen.region_pool(levels, maps)]


@_region_pool.register_fake
def _(levels: Sequence[Tensor], maps: Tensor, impl: str) -> list[Tensor]:
    dtype = _result_dtype([*levels, maps])
    return [maps.new_empty((*maps.shape[:2], level.shape[1]), dtype=dtype) for level in levels]


def _save_maps(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    levels, maps, _ = inputs
    ctx.save_for_backward(*levels, maps)


def _region_pool_backward(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    *levels, maps = ctx.saved_tensors
    return *gradients.region_pool(grads, levels, maps), None


_region_pool.register_autograd(_region_pool_backward, setup_context=_save_maps)


def _result_dtype(tensors: Sequence[Tensor]) -> torch.dtype:
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def _require_reference(impl: str, operation: str) -> None:
    if impl not in ("auto", "reference"):
        raise ImplementationError(
            f"impl={impl!r} computes {operation} in float32 and was given float64; cast, or use impl='reference'"
        )
