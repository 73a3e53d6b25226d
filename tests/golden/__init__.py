"""Numbers of the authors' released program, and the recipe of the weights they were computed with."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent


def fill(name: str, shape: list[int]) -> torch.Tensor:
    """The value of the state-dict entry `name`: from a generator seeded with the name's crc32."""
    noise = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        noise = 1 + 0.1 * np.abs(noise)
    elif name.endswith("running_mean"):
        noise = 0.1 * noise
    elif len(shape) == 1:
        noise = 1 + 0.1 * noise if name.endswith("weight") else 0.1 * noise
    else:
        noise = noise * np.float32(np.sqrt(2.0 / np.prod(shape[1:])))
    return torch.from_numpy(noise)


def authors_state_dict() -> dict[str, torch.Tensor]:
    """A state dict with the released program's names and shapes."""
    shapes = json.loads((FOLDER / "authors_state_dict.json").read_text())
    return {
        name: torch.tensor(0) if name.endswith("num_batches_tracked") else fill(name, shape)
        for name, shape in shapes.items()
    }


def authors_numbers() -> dict[str, np.ndarray]:
    """Inputs and outputs of the released program; keys are described in the README beside this."""
    with np.load(FOLDER / "authors_reference.npz") as arrays:
        return dict(arrays)
