"""DRE, discriminative region extraction: level maps -> R soft region maps (spec section 2)."""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from mlrm.trunks import Trunk

INDICATOR_HIDDEN = 32
ATTENTION_HIDDEN = 16
TAIL_NOISE = 0.02


class SpatialAttention(nn.Module):
    """One attention for all regions: channel means and maxes of the levels -> logits on the grid."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2 * levels, ATTENTION_HIDDEN, 7, padding=3, bias=False),
            nn.BatchNorm2d(ATTENTION_HIDDEN),
            nn.ReLU(inplace=True),
            nn.Conv2d(ATTENTION_HIDDEN, 1, 7, padding=3, bias=False),
        )

    def forward(self, low_levels: list[Tensor], region_levels: Tensor) -> Tensor:
        """Low levels, each [B, C_l, h, w], and Y [B, R, C_3, h, w] -> logits Z [B, R, h, w]."""
        batch, regions, _, height, width = region_levels.shape
        means = [level.mean(1, keepdim=True) for level in low_levels]
        maxes = [level.amax(1, keepdim=True) for level in low_levels]
        shared = [plane.unsqueeze(1).expand(-1, regions, -1, -1, -1) for plane in (*means, *maxes)]
        own_mean, own_max = region_levels.mean(2, keepdim=True), region_levels.amax(2, keepdim=True)
        planes = torch.cat([*shared[: len(means)], own_mean, *shared[len(means) :], own_max], dim=2)
        logits: Tensor = self.layers(planes.flatten(0, 1))
        return logits.view(batch, regions, height, width)


def threshold_maps(logits: Tensor, cells: int) -> Tensor:
    """Logits Z [B, R, h, w] -> maps in 0..1 of which exactly `cells` cells reach 0.5; 0 for a plain sigmoid.

    Gradients flow through the threshold, the `cells`-th largest logit.
    """
    if cells == 0:
        return logits.sigmoid()
    threshold = logits.flatten(2).topk(cells, dim=2).values[..., -1]
    return (logits - threshold[..., None, None]).sigmoid()


class LAMA(nn.Module):
    """Region maps from one tail: each region adds its learned constant to `x3` and runs the tail again."""

    def __init__(self, trunk: Trunk, regions: int, low_levels: int, cells: int) -> None:
        super().__init__()
        self.regions, self.cells = regions, cells
        self.indicator = nn.Sequential(
            nn.Linear(regions, INDICATOR_HIDDEN), nn.ReLU(inplace=True), nn.Linear(INDICATOR_HIDDEN, trunk.channels[2])
        )
        self.attention = SpatialAttention(low_levels + 1)
        self._spread(trunk.x3_std)

    def _spread(self, x3_std: float) -> None:
        """Make the regions' initial constants differ as much as `x3` varies.

        At the default initialisation they are lost beside a trunk's large activations (and in bfloat16's rounding):
        the regions' maps are then equal, and equal maps are a saddle point that training doesn't leave.
        """
        last = self.indicator[2]
        assert isinstance(last, nn.Linear)
        if self.regions > 1:
            with torch.no_grad():
                last.weight *= x3_std / self.constants().std(0).mean()

    def constants(self) -> Tensor:
        """What each region adds to `x3`, [R, C_2]."""
        weight = next(self.indicator.parameters())
        constants: Tensor = self.indicator(torch.eye(self.regions, device=weight.device, dtype=weight.dtype))
        return constants

    def forward(self, trunk: Trunk, x3: Tensor, low_levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """`x3` [B, C_2, h2, w2] and reduced low levels [B, C_l, h, w] -> maps [B, R, h, w], level 3 [B, C_3, h, w]."""
        constants = self.constants().to(x3.dtype)
        constants = torch.cat((torch.zeros_like(constants[:1]), constants))
        # One batched pass: with BatchNorm statistics taken pass by pass the constants would cancel exactly.
        inputs = x3.unsqueeze(1) + constants[None, :, :, None, None]
        outputs = trunk.tail(inputs.flatten(0, 1))
        outputs = outputs.view(-1, self.regions + 1, *outputs.shape[1:])
        logits = self.attention(low_levels, outputs[:, 1:])
        return threshold_maps(logits, self.cells), outputs[:, 0]


class CAMA(nn.Module):
    """Region maps from R copies of the tail, the design that LAMA replaces (poster, figures 2 and 4)."""

    def __init__(self, trunk: Trunk, regions: int, low_levels: int, cells: int) -> None:
        super().__init__()
        self.cells = cells
        self.tails = nn.ModuleList(copy.deepcopy(trunk.tail_modules()) for _ in range(regions))
        self.attention = SpatialAttention(low_levels + 1)
        self.copy_tail(trunk)

    def copy_tail(self, trunk: Trunk) -> None:
        """Start every region's tail from the trunk's, as it is now (after pretrained weights were loaded).

        Each a little different: equal tails would get equal gradients and stay equal.
        """
        for tail in self.tails:
            tail.load_state_dict(trunk.tail_modules().state_dict())
            with torch.no_grad():
                for parameter in tail.parameters():
                    parameter.mul_(1 + TAIL_NOISE * torch.randn_like(parameter))

    def forward(self, trunk: Trunk, x3: Tensor, low_levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """As `LAMA.forward`."""
        outputs = torch.stack([cast(Tensor, tail(x3)) for tail in self.tails], dim=1)
        logits = self.attention(low_levels, outputs)
        return threshold_maps(logits, self.cells), trunk.tail(x3)
