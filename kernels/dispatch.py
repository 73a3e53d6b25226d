"""Which implementation runs: "triton" on an NVIDIA GPU, "cpu" on a processor, "reference" anywhere.

Nothing of an implementation, Triton least of all, is imported before it is used.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

import torch
from torch import Tensor

from kernels.blocks import GalleryBlock
from kernels.reference import RegionFeatures
from kernels.short.codes import ShortCodes
from kernels.short.queries import ShortQueries
from kernels.short.screens import Codes, Screen

IMPLEMENTATIONS = {"triton": "kernels.gpu", "cpu": "kernels.cpu", "reference": "kernels.eager"}
"""Name and the module that satisfies `Implementation`."""


class ImplementationError(RuntimeError):
    """An implementation that was asked for can't run here; says why and what to do."""


class Implementation(Protocol):
    """What every implementation offers. Sides were checked to match (`check_pair`) and are on one device.

    Query levels are float32, float16 or bfloat16, gallery levels of any of these types, independently.
    """

    def why_not(self, device: torch.device) -> str | None:
        """Why tensors of `device` can't be computed on here, or None."""

    def pair_distance(self, query: RegionFeatures, gallery: GalleryBlock, region_weight_power: int) -> Tensor:
        """Distances of all pairs, float32 [Q, N], dead rows too; within a stated tolerance of the canonical ones."""

    def lower_bounds(self, query: RegionFeatures, block: GalleryBlock, region_weight_power: int) -> Tensor:
        """Float32 [Q, N], dead rows too: never above the canonical distance, whatever overflows, and never NaN."""

    def smallest_bounds(
        self, query: RegionFeatures, blocks: Sequence[GalleryBlock], count: int, region_weight_power: int
    ) -> tuple[Tensor, Tensor]:
        """The `count` (<= live rows of all blocks) smallest lower bounds of live rows, or more of them, ascending.

        Float32 and int64 [Q, K], rows numbered over all blocks, one block after the other. No live row left out has a
        lower bound below the largest returned.
        """

    def rescore_pairs(
        self,
        query: RegionFeatures,
        owner: Tensor,
        blocks: Sequence[GalleryBlock],
        rows: Tensor,
        region_weight_power: int,
    ) -> Tensor:
        """The canonical distances, bit by bit, of query `owner[i]` and row `rows[i]` over all blocks: float64 [P]."""

    def bounds_of_pairs(
        self,
        query: RegionFeatures,
        owner: Tensor,
        blocks: Sequence[GalleryBlock],
        rows: Tensor,
        region_weight_power: int,
    ) -> Tensor | None:
        """Float32 [P], never above what `rescore_pairs` gives; None where rescoring takes no longer than bounds."""

    def region_pool(self, levels: Sequence[Tensor], maps: Tensor) -> tuple[Tensor, ...]:
        """mean over the grid of (map r * level l): L x [B, C_l, h, w] and [B, R, h, w] -> L x float32 [B, R, C_l]."""


class CodesImplementation(Protocol):
    """What those offer besides that screen short codes: "cpu" and "triton"."""

    def hold_codes(self, codes: ShortCodes, device: torch.device) -> Codes:
        """Short codes where and as `screen_codes` reads them."""

    def screen_codes(
        self, queries: ShortQueries, codes: Codes, live: Tensor | None, region_weight_power: int
    ) -> Screen:
        """Q sketches against held codes: bounds that are never above the canonical distance. live: bool [N], None: all.

        Raises `ValueError` for queries along another basis than the codes'.
        """


def screening(name: str) -> CodesImplementation:
    """The implementation of that name that screens codes; raises `ImplementationError` where it can't be imported."""
    return cast(CodesImplementation, implementation(name))


def implementation(name: str) -> Implementation:
    """The implementation of a name; raises `ImplementationError` where it can't be imported."""
    if name not in IMPLEMENTATIONS:
        raise ImplementationError(f"impl is {name!r}; expected auto or one of {', '.join(IMPLEMENTATIONS)}")
    try:
        return cast(Implementation, import_module(IMPLEMENTATIONS[name]))
    except ImportError as error:
        raise ImplementationError(
            f"impl={name!r} can't run: {error}. Install the missing package, or use impl='reference'"
        ) from error


def pick(impl: str, query: RegionFeatures, blocks: Sequence[GalleryBlock]) -> Implementation:
    """The implementation for these tensors; "auto" is the fast one of their device.

    Raises `ImplementationError` for a name that can't run here, or tensors of several devices.
    """
    devices = {query.region_weights.device, *(block.device for block in blocks)}
    if len(devices) > 1:
        raise ImplementationError(
            f"query and gallery are on {', '.join(sorted(map(str, devices)))}; move them together"
        )
    return pick_for(impl, devices.pop())


def pick_for(impl: str, device: torch.device) -> Implementation:
    """As `pick`, for tensors of one device."""
    if impl == "auto":
        impl = automatic(device)
    chosen = implementation(impl)
    if reason := chosen.why_not(device):
        raise ImplementationError(f"impl={impl!r} can't run on {device}: {reason}")
    return chosen


def automatic(device: torch.device) -> str:
    """The implementation that "auto" stands for on a device."""
    return {"cuda": "triton", "cpu": "cpu"}.get(device.type, "reference")
