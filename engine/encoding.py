"""Images through an encoder, and features as the arrays that a gallery stores."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from PIL import Image

from engine.encoders import Encoder
from engine.features import FeatureBlock
from mlrm.features import Features
from mlrm.transforms import image_to_tensor

ENCODE_BATCH = 16
"""Images that an encoder gets at a time."""


def encode(encoder: Encoder, images: Iterable[Image.Image], domain: Any) -> Features:
    """Features of RGB images, in batches; on the device that the encoder computes on."""
    tensors = [image_to_tensor(image, encoder.image_size) for image in images]
    starts = range(0, len(tensors), ENCODE_BATCH)
    return Features.cat(encoder.encode(torch.stack(tensors[s : s + ENCODE_BATCH]), domain) for s in starts)


def feature_block(features: Features) -> FeatureBlock:
    """Features as the arrays a gallery stores; without maps, one empty cell stands for them."""

    def array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
        return tensor.detach().to("cpu", torch.promote_types(tensor.dtype, torch.float32)).numpy()

    regions = features.region_weights
    maps = np.zeros((*regions.shape, 1, 1), np.uint8) if features.maps is None else array(features.maps)
    return FeatureBlock(
        tuple(array(level) for level in features.levels), array(regions), array(features.level_weights), maps
    )
