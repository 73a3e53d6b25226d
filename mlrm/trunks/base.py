"""The interface that the model, the training and the export see of a trunk."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Trunk(nn.Module, ABC):
    """A convolutional network split at the levels MLRM matches.

    Grids for an H x W image: level 0 H/4 x W/4, level 1 H/8, level 2 (`x3`) H/16, level 3 (the tail's) H/32.
    """

    channels: tuple[int, int, int, int]
    """C_0..C_3 of the trunk's maps, before any reduction."""
    reduced_channels: tuple[int, int, int, int]
    """C_0..C_3 of the levels MLRM matches, on the grid of level 3."""
    mean: tuple[float, float, float]
    """Subtracted from RGB in [0, 1]."""
    std: tuple[float, float, float]
    x3_std: float
    """Standard deviation of `x3` with ImageNet weights, about: the scale of LAMA's initial constants."""

    @abstractmethod
    def early(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images [B, 3, H, W] -> maps of levels 0 and 1."""

    @abstractmethod
    def middle(self, level1: Tensor) -> Tensor:
        """Map of level 1 -> map of level 2, `x3`."""

    @abstractmethod
    def tail(self, x3: Tensor) -> Tensor:
        """`x3` [B, C_2, h2, w2] -> map of level 3 [B, C_3, h, w]."""

    @abstractmethod
    def tail_modules(self) -> nn.Module:
        """The modules of `tail` as one, in the order they are run: what CAMA copies."""

    @abstractmethod
    def reduction(self, level: int) -> nn.Module:
        """A new learned reduction of level 0, 1 or 2 to the grid of level 3."""

    @abstractmethod
    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Load ImageNet weights in the forms their publishers use; raises `CheckpointError` for others."""


def conv_relu(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    """A convolution that keeps (stride 1) or halves (stride 2) the grid, and its ReLU."""
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2), nn.ReLU(inplace=True)]


def gradient_in_its_layout(maps: Tensor) -> Tensor:
    """`maps` themselves, whose gradient arrives channels-last if they are.

    What reads them may send another layout back (a mean over channels does), and every backward pass before it then
    runs its slow form: a fifth of a training step on 2 cores.
    """
    traced = torch.compiler.is_compiling()
    if maps.requires_grad and not traced and maps.is_contiguous(memory_format=torch.channels_last):
        maps.register_hook(_channels_last)  # type: ignore[no-untyped-call]
    return maps


def _channels_last(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)


def early_parameters(trunk: Trunk, image_size: int) -> set[nn.Parameter]:
    """The parameters that maps of levels 0 and 1 depend on, found by asking for their gradients."""
    parameters = list(trunk.parameters())
    was_training = trunk.training
    trunk.eval()
    probe = torch.zeros(1, 3, image_size, image_size, device=parameters[0].device)
    gradients = torch.autograd.grad(trunk.early(probe)[1].sum(), parameters, allow_unused=True)
    trunk.train(was_training)
    return {parameter for parameter, grad in zip(parameters, gradients, strict=True) if grad is not None}
