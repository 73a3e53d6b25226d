"""RLA, region and level attention: region features and maps -> weights (spec section 4)."""

from typing import Literal

import torch
from torch import Tensor, nn

HEAD_HIDDEN = 32


def _head(token_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(token_dim, HEAD_HIDDEN), nn.BatchNorm1d(HEAD_HIDDEN), nn.ReLU(), nn.Linear(HEAD_HIDDEN, 1)
    )


class RLA(nn.Module):
    """A transformer over (L + 1) R tokens of an image, with one head for levels and one for regions.

    `attention_over="batch"` reproduces the released program, whose attention runs over the images of the batch.
    """

    channels: Tensor

    def __init__(
        self,
        level_channels: tuple[int, ...],
        token_dim: int,
        layers: int,
        heads: int,
        dropout: float,
        attention_over: Literal["tokens", "batch"],
        level_softmax: Literal["levels", "regions"],
    ) -> None:
        super().__init__()
        self.attention_over, self.level_softmax = attention_over, level_softmax
        self.feature_maps = nn.ModuleList(nn.Linear(channels, token_dim) for channels in level_channels)
        levels = len(level_channels)
        # Channel l carries the map for a token of level l; a global token has it in all channels. Kept on the model's
        # device: made in each pass, it would be a copy from the host, which no CUDA graph can hold.
        self.register_buffer("channels", torch.cat((torch.eye(levels), torch.ones(1, levels))), persistent=False)
        self.geometry_encoder = nn.Sequential(
            nn.Conv2d(levels, token_dim // 4, 3, stride=2),
            nn.BatchNorm2d(token_dim // 4),
            nn.ReLU(inplace=True),
            nn.Conv2d(token_dim // 4, token_dim, 3, stride=2),
        )
        layer = nn.TransformerEncoderLayer(token_dim, heads, token_dim, dropout, batch_first=True, norm_first=True)
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.level_head = _head(token_dim)
        self.region_head = _head(token_dim)

    def _positions(self, maps: Tensor) -> Tensor:
        """Maps [B, R, h, w] -> embeddings [B, (L + 1) R, T]; where a region lies and at which level."""
        channels = self.channels.to(maps.dtype)
        planes = maps.detach()[:, None, :, None] * channels[None, :, None, :, None, None]
        encoded: Tensor = self.geometry_encoder(planes.flatten(0, 2)).mean((2, 3))
        return encoded.view(maps.shape[0], -1, encoded.shape[1])

    def forward(self, levels: tuple[Tensor, ...], maps: Tensor) -> tuple[Tensor, Tensor]:
        """Unscaled region features, L x [B, R, C_l], and maps [B, R, h, w] -> rho [B, R], lam [B, R, L]."""
        batch, regions = maps.shape[:2]
        mapped = torch.stack([linear(level) for linear, level in zip(self.feature_maps, levels, strict=True)], dim=1)
        tokens = torch.cat((mapped, mapped.mean(1, keepdim=True)), dim=1).flatten(1, 2)
        tokens = tokens + self._positions(maps)
        if self.attention_over == "batch":
            tokens = self.transformer(tokens.transpose(0, 1)).transpose(0, 1)
        else:
            tokens = self.transformer(tokens)
        local_tokens, global_tokens = tokens.split((len(levels) * regions, regions), dim=1)
        level_logits = self.level_head(local_tokens.flatten(0, 1)).view(batch, len(levels), regions)
        region_logits = self.region_head(global_tokens.flatten(0, 1)).view(batch, regions)
        level_weights = level_logits.softmax(1 if self.level_softmax == "levels" else 2)
        return region_logits.softmax(1), level_weights.transpose(1, 2)
