"""The sketches that a plan was tried by, as text for the catalogue: a later plan is tried by them again."""

import base64
from binascii import Error

from safetensors import SafetensorError
from safetensors.torch import load, save

from mlrm.features import Features


def to_text(sketches: Features) -> str:
    """Levels and weights, float32; maps are left out: no distance needs them."""
    tensors = {f"level_{number}": level.contiguous() for number, level in enumerate(sketches.levels)}
    weights = {"region_weights": sketches.region_weights, "level_weights": sketches.level_weights}
    whole = save(tensors | {name: tensor.contiguous() for name, tensor in weights.items()})
    return base64.b64encode(whole).decode()


def from_text(text: str) -> Features | None:
    """What `to_text` made a text of; None for anything else."""
    try:
        found = load(base64.b64decode(text, validate=True))
        levels = tuple(found[f"level_{number}"] for number in range(len(found) - 2))
        return Features(levels, found["region_weights"], found["level_weights"])
    except (Error, KeyError, SafetensorError):
        return None
