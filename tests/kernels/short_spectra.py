"""Galleries of several spectra, and sketches from another domain: what short codes prune, and what they can't."""

import torch

from benches.cases import Rows

CHANNELS, REGIONS = (16, 32, 96), 3
MEAN, SPREAD = 0.6, 0.8


def spectral(count: int, dtype: torch.dtype, decay: float, gap: float, seed: int) -> Rows:
    """Vectors about a mean, their variance along principal axes falling off by number^-decay; weights as softmax gives.

    gap: how far this domain's mean is from another's. Mean, gap and axes are the same for every seed.
    """
    fixed, generator = torch.Generator().manual_seed(7), torch.Generator().manual_seed(seed)
    levels = []
    for width in CHANNELS:
        mean, apart = torch.nn.functional.normalize(torch.randn(2, REGIONS, width, generator=fixed), dim=2)
        axes = torch.linalg.qr(torch.randn(REGIONS, width, width, generator=fixed))[0]
        deviation = torch.arange(1, width + 1) ** (-decay / 2)
        rows = torch.randn(count, REGIONS, width, generator=generator) * (SPREAD * deviation / deviation.norm())
        levels.append((torch.einsum("nrk,rkc->nrc", rows, axes) + MEAN * mean + gap * apart).to(dtype))
    region = torch.randn(count, REGIONS, generator=generator).softmax(1)
    level = torch.randn(count, REGIONS, len(CHANNELS), generator=generator).softmax(2)
    return Rows(tuple(levels), region, level)
