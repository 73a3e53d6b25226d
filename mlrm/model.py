"""MLRM: images -> `Features`."""

import hashlib
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

import kernels
from kernels import reference
from kernels.reference import at_least_float32
from mlrm.config import SMALLEST_GRID, STRIDE, MLRMConfig
from mlrm.features import Features
from mlrm.regions import CAMA, LAMA
from mlrm.trunks import build_trunk
from mlrm.weighting import RLA

Domain = Literal["sketch", "photo"]


class Network(nn.Module):
    """Trunk, level reductions and region extraction: images -> level maps and region maps."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: MLRMConfig) -> None:
        super().__init__()
        self.levels = config.levels
        self.trunk = build_trunk(config.trunk)
        low = [level for level in config.levels if level < 3]
        self.reductions = nn.ModuleDict({str(level): self.trunk.reduction(level) for level in low})
        region_maps = LAMA if config.region_maps == "lama" else CAMA
        self.regions = region_maps(self.trunk, config.regions, len(low), config.threshold_cells)
        self.register_buffer("mean", torch.tensor(self.trunk.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.trunk.std).view(3, 1, 1), persistent=False)

    def normalise(self, images: Tensor) -> Tensor:
        """RGB, uint8 or float in [0, 1] -> the trunk's input."""
        scaled = images.to(self.mean.dtype) / 255 if images.dtype == torch.uint8 else images.to(self.mean.dtype)
        return (scaled - self.mean) / self.std

    def forward(self, early: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Maps of levels 0 and 1 (`trunk.early`) -> L level maps [B, C_l, h, w] on one grid, maps [B, R, h, w]."""
        x3 = self.trunk.middle(early[1])
        unreduced = (*early, x3)
        low = [self.reductions[str(level)](unreduced[level]) for level in self.levels if level < 3]
        maps, level3 = self.regions(self.trunk, x3, low)
        return (*low, level3) if 3 in self.levels else tuple(low), maps


class MLRM(nn.Module):
    """Multi-Level Region Matching (ACM MM 2022): every image becomes R x L region features and their weights.

    One network serves sketches and photos unless `config.shared_networks` is False.
    """

    def __init__(self, config: MLRMConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MLRMConfig.paper()
        self.networks = nn.ModuleList(Network(config) for _ in range(1 if config.shared_networks else 2))
        self.rla = RLA(
            self.level_channels,
            config.token_dim,
            config.transformer_layers,
            config.attention_heads,
            config.dropout,
            config.attention_over,
            config.level_softmax,
        )

    @property
    def level_channels(self) -> tuple[int, ...]:
        """C_l of the levels in use."""
        channels = self.network("photo").trunk.reduced_channels
        return tuple(channels[level] for level in self.config.levels)

    def network(self, domain: Domain | None = None) -> Network:
        """The network of a domain; `None` will do where one network serves both."""
        if domain not in ("sketch", "photo", None):
            raise ValueError(f"domain is {domain!r}; expected 'sketch' or 'photo'")
        if domain is None and len(self.networks) > 1:
            raise ValueError("this model has separate networks for sketches and photos: say domain='sketch' or 'photo'")
        network = self.networks[-1 if domain == "photo" else 0]
        assert isinstance(network, Network)
        return network

    def forward(self, images: Tensor, domain: Domain | None = None) -> Features:
        """Images [B, 3, H, W], RGB, uint8 or float in [0, 1] -> `Features` of B images.

        H and W are multiples of 32 and at least 224. `domain` is needed only with separate networks. Raises
        `ValueError` for another shape or type.
        """
        check_images(images)
        network = self.network(domain)
        return self.describe(*network(network.trunk.early(network.normalise(images))))

    def describe(self, level_maps: tuple[Tensor, ...], maps: Tensor) -> Features:
        """What a `Network` returns, L level maps [B, C_l, h, w] and region maps [B, R, h, w] -> `Features`.

        Computed in float32 at least: under mixed precision, call it outside of the autocast region.
        """
        # An exported graph has to consist of standard operators.
        pool = reference.region_pool if torch.compiler.is_exporting() else kernels.region_pool
        return self.weigh(pool(level_maps, maps), at_least_float32(maps))

    def weigh(self, unscaled: tuple[Tensor, ...], maps: Tensor) -> Features:
        """Unscaled region features, L x [B, R, C_l], and maps [B, R, h, w] -> `Features`."""
        region_weights, level_weights = self.rla(unscaled, maps)
        levels = unscaled
        if self.config.l2norm:
            levels = tuple(functional.normalize(level, dim=2) for level in unscaled)
        return Features(levels, region_weights, level_weights, maps, unscaled)

    def fingerprint(self) -> str:
        """SHA-256 (hex) of what determines features: the weights' values and the configuration of the forward pass."""
        training_only = ("margin", "alpha", "beta", "overlap_penalty", "dropout")
        shape_of_model = {key: value for key, value in vars(self.config).items() if key not in training_only}
        digest = hashlib.sha256(repr(sorted(shape_of_model.items())).encode())
        for name, value in sorted(self.state_dict().items()):
            if not name.endswith("num_batches_tracked"):
                digest.update(name.encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def check_images(images: Tensor) -> None:
    """Raise `ValueError` unless `images` is what `MLRM.forward` takes."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images have shape {tuple(images.shape)}; expected [B, 3, H, W], RGB")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise ValueError(f"images are {images.dtype}; expected uint8, or floating point in [0, 1]")
    height, width = images.shape[2:]
    smallest = SMALLEST_GRID * STRIDE
    if height % STRIDE or width % STRIDE or min(height, width) < smallest:
        raise ValueError(
            f"images are {height} x {width} pixels; expected multiples of {STRIDE}, at least {smallest} x {smallest}: "
            f"smaller ones leave the geometry encoder less than the {SMALLEST_GRID} x {SMALLEST_GRID} cells it needs"
        )
