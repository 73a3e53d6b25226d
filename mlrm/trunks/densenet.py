"""DenseNet-169 (Huang et al., CVPR 2017) with torchvision's parameter names."""

import re
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mlrm.errors import CheckpointError
from mlrm.trunks.base import Trunk, conv_relu, gradient_in_its_layout

GROWTH = 32
BOTTLENECK = 4
BLOCKS = (6, 12, 32, 32)
STEM_CHANNELS = 64


class _DenseLayer(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(inputs, BOTTLENECK * GROWTH, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * GROWTH)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(BOTTLENECK * GROWTH, GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(self.relu1(self.norm1(x)))
        new: Tensor = self.conv2(self.relu2(self.norm2(hidden)))
        return new


class _DenseBlock(nn.ModuleDict):
    def __init__(self, layers: int, inputs: int) -> None:
        super().__init__({f"denselayer{i + 1}": _DenseLayer(inputs + i * GROWTH) for i in range(layers)})

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.values():
            x = torch.cat((x, layer(x)), 1)
        return x


def _transition(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(inputs),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(inputs, outputs, 1, bias=False),
            pool=nn.AvgPool2d(2, 2),
        )
    )


class DenseNet169(Trunk):
    """The published MLRM's trunk; state dict keys are torchvision's `features.*`."""

    channels = (256, 512, 1280, 1664)
    reduced_channels = (256, 512, 1280, 1664)
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)
    x3_std = 0.3  # not measured: its weights were not at hand; about what a bare constant of LAMA's indicator has

    def __init__(self) -> None:
        super().__init__()
        features: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(3, STEM_CHANNELS, 7, 2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(STEM_CHANNELS),
            relu0=nn.ReLU(inplace=True),
            pool0=nn.MaxPool2d(3, 2, padding=1),
        )
        width = STEM_CHANNELS
        for number, layers in enumerate(BLOCKS, 1):
            features[f"denseblock{number}"] = _DenseBlock(layers, width)
            width += layers * GROWTH
            if number < len(BLOCKS):
                features[f"transition{number}"] = _transition(width, width // 2)
                width //= 2
        features["norm5"] = nn.BatchNorm2d(width)
        self.features = nn.Sequential(features)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def _run(self, x: Tensor, *names: str) -> Tensor:
        for name in names:
            x = self.features.get_submodule(name)(x)
        return x

    def early(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `Trunk.early`."""
        level0 = self._run(images, "conv0", "norm0", "relu0", "pool0", "denseblock1")
        return level0, self._run(level0, "transition1", "denseblock2")

    def middle(self, level1: Tensor) -> Tensor:
        """See `Trunk.middle`."""
        return self._run(level1, "transition2", "denseblock3")

    def tail(self, x3: Tensor) -> Tensor:
        """See `Trunk.tail`; no ReLU after the last BatchNorm."""
        return gradient_in_its_layout(self._run(x3, "transition3", "denseblock4", "norm5"))

    def tail_modules(self) -> nn.Module:
        """See `Trunk.tail_modules`."""
        return nn.Sequential(*(self.features.get_submodule(name) for name in ("transition3", "denseblock4", "norm5")))

    def reduction(self, level: int) -> nn.Module:
        """See `Trunk.reduction`; level 0's (off by default) continues the pattern of level 1's."""
        layers = {
            0: [*conv_relu(256, 64, 3, 2), *conv_relu(64, 64, 3, 2), *conv_relu(64, 256, 3, 2)],
            1: [*conv_relu(512, 128, 3, 2), *conv_relu(128, 512, 3, 2)],
            2: [*conv_relu(1280, 320, 3, 2), *conv_relu(320, 1280, 1, 1)],
        }
        return nn.Sequential(*layers[level])

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Load torchvision's `densenet169-*.pth`, dots in dense layers' names or not, or timm's `tv_in1k`."""
        old_name = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
        renamed = {old_name.sub(r"\1\2", key): value for key, value in state.items()}
        kept = {key: value for key, value in renamed.items() if not key.startswith("classifier.")}
        load_trunk_state(
            self, kept, "DenseNet-169 weights as torchvision (densenet169-b2777c0a.pth) or timm publish them"
        )


def load_trunk_state(trunk: nn.Module, state: Mapping[str, Tensor], expected: str) -> None:
    """Load `state` strictly, but for BatchNorm's step counters, which old files lack."""
    own = trunk.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    extra = [key for key in state if key not in own]
    wrong = [key for key in own if key in state and own[key].shape != state[key].shape]
    if missing or extra or wrong:
        raise CheckpointError(
            f"these are not {expected}: {len(missing)} entries missing (first {missing[:2]}), "
            f"{len(extra)} unknown (first {extra[:2]}), {len(wrong)} of another shape (first {wrong[:2]})"
        )
    trunk.load_state_dict(dict(state), strict=False)
