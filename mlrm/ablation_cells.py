"""The cells of the ablation study: what each changes of the base, in the model or in its training."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from mlrm.model import MLRM
from mlrm.regions import LAMA, threshold_maps
from mlrm.trunks import Trunk

LOSSES = ("gtrp_in", "gtrp_rn", "ltrp_in", "ltrp_rn")
PENALTIES = ("overlap_sketch", "overlap_photo")


class WholeGrid(nn.Module):
    """No region extraction: one map that is 1 everywhere."""

    def forward(self, trunk: Trunk, x3: Tensor, low_levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """As `LAMA.forward`."""
        level3 = trunk.tail(x3)
        return torch.ones_like(level3[:, :1]), level3


class UniformWeights(nn.Module):
    """No attention: every region weighs the same, and so does every level."""

    def forward(self, levels: tuple[Tensor, ...], maps: Tensor) -> tuple[Tensor, Tensor]:
        """As `RLA.forward`."""
        images, regions = maps.shape[:2]
        region_weights = maps.new_full((images, regions), 1 / regions)
        return region_weights, maps.new_full((images, regions, len(levels)), 1 / len(levels))


class PassByPass(LAMA):
    """LAMA with the tail run once for each region, as the released program does: BatchNorm sees one pass at a time."""

    def forward(self, trunk: Trunk, x3: Tensor, low_levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """As `LAMA.forward`."""
        level3 = trunk.tail(x3)
        constants = self.constants().to(x3.dtype)
        outputs = torch.stack([trunk.tail(x3 + constant[None, :, None, None]) for constant in constants], 1)
        return threshold_maps(self.attention(low_levels, outputs), self.cells), level3


def without_regions(model: MLRM) -> None:
    """Replace the region extraction by `WholeGrid`."""
    for network in model.networks:
        cast(Any, network).regions = WholeGrid()


def with_uniform_weights(model: MLRM) -> None:
    """Replace RLA by `UniformWeights`."""
    model.rla = cast(Any, UniformWeights())


def pass_by_pass(model: MLRM) -> None:
    """Make every network's LAMA run its passes one by one; its parameters stay."""
    for network in model.networks:
        cast(Any, network).regions.__class__ = PassByPass


@dataclass(frozen=True)
class Cell:
    """One line of the study.

    name: what it is called in the results. group: the question it belongs to. config: overrides of `MLRMConfig`.
    training: overrides of `TrainOptions`. change: applied to the new model. share: of the products it is trained on, in
    about as many steps.
    """

    name: str
    group: str
    config: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    change: Callable[[MLRM], None] = lambda model: None
    share: float = 1.0


BASE = Cell("base: LAMA, 3 regions, levels 1 2 3, RLA, p = 1", "base")
CELLS: tuple[Cell, ...] = (
    BASE,
    Cell("CAMA, its penalty", "region maps", {"region_maps": "cama", "overlap_penalty": "cama"}),
    Cell("none: the whole grid", "region maps", {"regions": 1}, {"separate_steps": 0}, without_regions),
    *(Cell(f"without {name.replace('_', '-')}", "losses", training={"left_out": (name,)}) for name in LOSSES),
    Cell("CAMA's penalty of LAMA's maps", "penalties", {"overlap_penalty": "cama"}),
    Cell("without a penalty", "penalties", training={"left_out": PENALTIES}),
    *(Cell(f"level {level} alone", "levels", {"levels": (level,)}) for level in (1, 2, 3)),
    *(Cell(f"{count} region{'s' * (count > 1)}", "regions", {"regions": count}) for count in (1, 2, 4, 5)),
    Cell("uniform weights", "weights", change=with_uniform_weights),
    Cell("p = 2", "weights", {"region_weight_power": 2}),
    Cell("level weights over regions", "weights", {"level_softmax": "regions"}),
    Cell("attention over the batch", "weights", {"attention_over": "batch"}),
    Cell("statistics of a batch, over all passes", "BatchNorm", training={"freeze_batch_norm": False}),
    Cell("statistics of a batch, pass by pass", "BatchNorm", {}, {"freeze_batch_norm": False}, pass_by_pass),
)
BY_PRODUCTS = (
    Cell("a quarter of the products", "products", share=1 / 4),
    Cell("half of the products", "products", share=1 / 2),
)
"""What more products would bring. Not part of the study: `--only base --only products --out docs/products.json`, from
ImageNet's weights (`BASE` has all products), because a trunk pretrained on these has seen those left out."""
