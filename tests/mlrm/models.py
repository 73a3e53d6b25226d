"""Small models whose BatchNorm has seen images, and images to show them."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from mlrm import MLRM, Features, MLRMConfig

SIDE = 224


def lite(**overrides: Any) -> MLRMConfig:
    return MLRMConfig.paper(trunk="efficientnet_lite0", image_size=SIDE, **overrides)


def drawn_images(count: int, height: int = SIDE, width: int = SIDE, seed: int = 0) -> Tensor:
    """Random colours in 16 x 16 squares, uint8: images that still differ deep inside a trunk."""
    generator = torch.Generator().manual_seed(seed)
    squares = torch.randint(0, 256, (count, 3, height // 16, width // 16), generator=generator, dtype=torch.uint8)
    return squares.repeat_interleave(16, 2).repeat_interleave(16, 3)


def settled(config: MLRMConfig, seed: int = 0) -> MLRM:
    """A random model whose BatchNorm has seen images: without, its features would hardly depend on them."""
    torch.manual_seed(seed)
    model = MLRM(config).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        for domain in ("sketch", "photo"):
            model(drawn_images(4, config.image_size, config.image_size, seed=9), domain)
    return model.eval()


@cache
def lite_model() -> MLRM:
    return settled(lite())


@cache
def densenet_model() -> MLRM:
    return settled(MLRMConfig.paper(image_size=SIDE))


@torch.no_grad()
def describe(model: MLRM, images: Tensor, domain: Any = None) -> Features:
    features: Features = model(images, domain)
    return features


def tensors(features: Features) -> dict[str, Tensor]:
    assert features.maps is not None
    levels = {f"level {number}": level for number, level in enumerate(features.levels)}
    rest = {"rho": features.region_weights, "lambda": features.level_weights, "maps": features.maps}
    return levels | rest


def largest_difference(a: Features, b: Features) -> float:
    """Of the largest entry of each tensor, over all of them."""
    return max(
        ((x - y).abs().max() / y.abs().max()).item()
        for x, y in zip(tensors(a).values(), tensors(b).values(), strict=True)
    )
