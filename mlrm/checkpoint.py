"""Checkpoints in and out; reading one never runs code that a pickle carries.

| file | written by | holds |
|---|---|---|
| `.safetensors` | `save` | weights (float32 or float16), configuration in the metadata |
| `.pt` | `save`, training | weights, configuration, and with training also the state to resume from |
| `.pkl` | the authors' program | `model` (state dict), `epochs`, `steps`, `args` |
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from mlrm.config import MLRMConfig
from mlrm.errors import CheckpointError, ConfigError
from mlrm.model import MLRM
from mlrm.pickles import read_pickle

FORMAT = "mlrm"
SHIPPED = Path(__file__).parent / "data" / "mlrm_lite0.safetensors"
"""The trained checkpoint that comes with the package."""

_AUTHORS_PREFIXES = (
    ("net.features.", "trunk.features."),
    ("condition_encoder.", "regions.indicator."),
    ("spatial_attention.conv1.", "regions.attention.layers."),
)
_AUTHORS_RLA_PREFIXES = (
    ("rla.geometry_encoder.", "rla.geometry_encoder."),
    ("rla.transen.layers.", "rla.transformer.layers."),
    ("rla.level_weight_head.", "rla.level_head."),
    ("rla.region_weight_head.", "rla.region_head."),
)


def save(
    model: MLRM, path: str | os.PathLike[str], *, half: bool = False, training: dict[str, Any] | None = None
) -> None:
    """Write `model` to a `.safetensors` or `.pt` file, whole or not at all.

    half: store the weights as float16 (they are float32 again when loaded).
    training: what `mlrm.train` resumes from; only in a `.pt`.
    Raises `CheckpointError` for another suffix, or for float16 overflow.
    """
    path = Path(path)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if half:
        state = {name: _half(name, value) for name, value in state.items()}
    partial = path.with_name(path.name + ".partial")
    if path.suffix == ".safetensors" and training is None:
        metadata = {"format": FORMAT, "config": model.config.to_json()}
        safetensors.torch.save_file(state, partial, metadata)
    elif path.suffix == ".pt":
        torch.save({"format": FORMAT, "config": model.config.to_json(), "state": state, "training": training}, partial)
    else:
        raise CheckpointError(f"can't write {path.name}: expected a name that ends in .safetensors or .pt")
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def _half(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value
    half = value.half()
    if not half.isfinite().all():
        raise CheckpointError(f"{name} has values beyond float16's 65504; save with half=False")
    return half


def load(path: str | os.PathLike[str], *, preset: Literal["paper", "authors"] | None = None) -> MLRM:
    """Read a checkpoint of ours or the authors'; the model is in eval mode, on the CPU, float32.

    Of a run of `mlrm.train` read `best.pt`, the running average of the weights that was validated. `last.pt` is there
    to resume from: this function returns its raw weights, which nothing was measured on.
    preset: for the authors' `.pkl` only, whose default is "authors", the form it was trained in; "paper" reads the
    same weights into the form that can be indexed.
    Raises `CheckpointError` for a file that is missing, damaged, of another kind, or that would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; expected a .safetensors, .pt or the authors' .pkl file")
    if path.suffix == ".safetensors":
        if preset is not None:
            raise CheckpointError(f"{path.name} carries its configuration; preset={preset!r} is for the authors' .pkl")
        return _load_safetensors(path)
    content = read_pickle(path)
    if content.get("format") == FORMAT:
        if preset is not None:
            raise CheckpointError(f"{path.name} carries its configuration; preset={preset!r} is for the authors' .pkl")
        return _build(path, content.get("config"), content.get("state"))
    state = content.get("model")
    if not isinstance(state, Mapping) or not any(str(key).startswith("nets.0.") for key in state):
        raise CheckpointError(
            f"{path.name} is no MLRM checkpoint: found the entries {sorted(map(str, content))[:5]}; expected one "
            "written by mlrm.train or mlrm.checkpoint.save, or the authors' .pkl ('model', 'epochs', 'steps', 'args')"
        )
    model = MLRM(_authors_config(state, preset or "authors"))
    load_authors_state_dict(model, state)
    return model.eval()


def load_shipped() -> MLRM:
    """The trained model that comes with the package, in eval mode; see `MODEL_CARD.md` beside it."""
    return load(SHIPPED)


def load_training(path: str | os.PathLike[str]) -> tuple[MLRM, dict[str, Any]]:
    """A `.pt` written while training: the model and the state to resume from."""
    content = read_pickle(Path(path))
    if content.get("format") != FORMAT or not isinstance(content.get("training"), dict):
        raise CheckpointError(f"{path} holds no training state; expected the last.pt that mlrm.train writes")
    return _build(Path(path), content.get("config"), content.get("state")), content["training"]


def _load_safetensors(path: Path) -> MLRM:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path.name} is damaged or not a safetensors file: {error}") from error
    if metadata.get("format") != FORMAT or "config" not in metadata:
        raise CheckpointError(
            f"{path.name} is a safetensors file without an MLRM configuration; expected one written by "
            "mlrm.checkpoint.save (weights of a bare trunk go to mlrm.train --trunk-weights)"
        )
    return _build(path, metadata["config"], state)


def _build(path: Path, config: object, state: object) -> MLRM:
    if not isinstance(config, str) or not isinstance(state, Mapping):
        raise CheckpointError(
            f"{path.name} has a {type(config).__name__} as 'config' and a {type(state).__name__} as 'state'; expected "
            "JSON text and a dict of tensors, as mlrm.checkpoint.save writes them"
        )
    try:
        model = MLRM(MLRMConfig.from_json(config))
        model.load_state_dict(state)
    except (ConfigError, RuntimeError) as error:
        raise CheckpointError(f"{path.name} doesn't fit this version of the model: {error}") from error
    return model.eval()


def load_authors_state_dict(model: MLRM, state: Mapping[str, Tensor]) -> None:
    """Load the released program's state dict (spec section 10) into `model`.

    The trunk's unused `classifier` is left out. Raises `CheckpointError` if the names or shapes don't fit `model`.
    """
    renamed = {}
    for key, value in state.items():
        if ".net.classifier." not in key:
            renamed[_own_name(key, model.config)] = value
    try:
        model.load_state_dict(renamed)
    except RuntimeError as error:
        raise CheckpointError(f"the authors' state dict doesn't fit {model.config}: {error}") from error


def _own_name(key: str, config: MLRMConfig) -> str:
    for theirs, ours in _AUTHORS_RLA_PREFIXES:
        if key.startswith(theirs):
            return ours + key[len(theirs) :]
    if key.startswith("rla.feat_reducers."):
        _, _, level, _, name = key.split(".")
        return f"rla.feature_maps.{level}.{name}"
    if key.startswith("nets."):
        _, network, rest = key.split(".", 2)
        if rest.startswith("reduction_nets."):
            _, position, name = rest.split(".", 2)
            low = [level for level in config.levels if level < 3]
            if int(position) < len(low):
                return f"networks.{network}.reductions.{low[int(position)]}.{name}"
        for theirs, ours in _AUTHORS_PREFIXES:
            if rest.startswith(theirs):
                return f"networks.{network}.{ours}{rest[len(theirs) :]}"
    return key


def _authors_config(state: Mapping[str, Tensor], preset: Literal["paper", "authors"]) -> MLRMConfig:
    """What the shapes say; threshold, l2norm and margins leave no trace in them and stay the released defaults."""
    try:
        overrides = {
            "regions": state["nets.0.condition_encoder.0.weight"].shape[1],
            "token_dim": state["rla.feat_reducers.0.0.weight"].shape[0],
            "shared_networks": not any(key.startswith("nets.1.") for key in state),
        }
    except KeyError as error:
        raise CheckpointError(f"the authors' state dict lacks {error}") from error
    return MLRMConfig.paper(**overrides) if preset == "paper" else MLRMConfig.authors(**overrides)
