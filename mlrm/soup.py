"""`python -m mlrm.soup`: the weighted mean of trunks' or models' weights (Wortsman et al., Model Soups, ICML 2022).

Networks of one lineage, each trained on from another or all from the same weights, lie in one valley: their mean is
often better than each, at no cost in a search.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import safetensors.torch
import torch
import typer
from torch import Tensor

from mlrm.checkpoint import load, save
from mlrm.cli import errors_shown, run, say
from mlrm.errors import CheckpointError, ConfigError
from mlrm.model import MLRM
from mlrm.pretrained import read_weights

EXAMPLE = "Example: python -m mlrm.soup before.safetensors=0.4 after.safetensors=0.6 --out trunk.safetensors"
TOLERANCE = 1e-6
"""How far the shares' sum may be from 1."""
CHECKPOINT_PREFIX = "networks.0.trunk."


def mean_weights(states: Sequence[Mapping[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """The mean of state dicts by `shares`, float32; counters are those of the first.

    Raises `ConfigError` for shares that aren't positive or don't add up to 1, `CheckpointError` for different networks.
    """
    if not (min(shares) > 0 and abs(sum(shares) - 1) <= TOLERANCE):
        raise ConfigError(f"the shares are {', '.join(map(str, shares))}; expected positive ones that add up to 1")
    shapes = [{name: value.shape for name, value in state.items()} for state in states]
    for other in shapes[1:]:
        if odd := sorted(name for name, _ in shapes[0].items() ^ other.items()):
            raise CheckpointError(f"the files are of different networks: {odd[0]} differs; give trunks of one kind")
    mean = {}
    for name, first in states[0].items():
        parts = [share * state[name].float() for state, share in zip(states, shares, strict=True)]
        mean[name] = torch.stack(parts).sum(0) if first.is_floating_point() else first
    return mean


def trunk_weights(path: Path) -> dict[str, Tensor]:
    """A trunk's weights: of a file such as `mlrm.pretrain` writes, or of a checkpoint with one network."""
    if path.suffix != ".pt":
        state = read_weights(path)
        if not any(name.startswith(CHECKPOINT_PREFIX) for name in state):
            return state
    model = load(path)
    if not model.config.shared_networks:
        raise ConfigError(f"{path} has a network each for sketches and photos; give a checkpoint with one")
    return dict(model.network().trunk.state_dict())


def mean_model(paths: Sequence[Path], shares: Sequence[float]) -> MLRM:
    """The mean of whole checkpoints; raises as `mean_weights`, and `ConfigError` for several configurations."""
    models = [load(path) for path in paths]
    for path, model in zip(paths, models, strict=True):
        if model.config != models[0].config:
            raise ConfigError(f"{path} is of another configuration than {paths[0]}; give checkpoints of one lineage")
    models[0].load_state_dict(mean_weights([model.state_dict() for model in models], shares))
    return models[0]


@errors_shown
def main(
    parts: Annotated[list[str], typer.Argument(help="FILE=SHARE: trunk files or checkpoints; shares add up to 1.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write, for --trunk-weights.")],
    whole: Annotated[bool, typer.Option("--whole", help="Whole checkpoints, into one, stored as float16.")] = False,
) -> None:
    """Average the weights of trunks, such as those before and after a longer pretraining, or of whole models."""
    if out.suffix != ".safetensors" or not out.parent.is_dir():
        raise ConfigError(f"--out is {out}; expected a file that ends in .safetensors, in a folder that is there")
    named = [_part(entry) for entry in parts]
    shares = [share for _, share in named]
    if whole:
        save(mean_model([path for path, _ in named], shares), out, half=True)
    else:
        mean = mean_weights([trunk_weights(path) for path, _ in named], shares)
        safetensors.torch.save_file({name: value.contiguous() for name, value in mean.items()}, out)
    say(f"{out}: mean of {', '.join(f'{share:g} {path.name}' for path, share in named)}")
    say(f"next: python -m {f'mlrm.evaluate {out}' if whole else f'mlrm.train --trunk-weights {out}'} ...")


def _part(entry: str) -> tuple[Path, float]:
    name, _, share = entry.rpartition("=")
    try:
        if name:
            return Path(name), float(share)
    except ValueError:
        pass
    raise ConfigError(f"found {entry!r}; expected FILE=SHARE, such as trunk.safetensors=0.5")


if __name__ == "__main__":
    run(main, EXAMPLE)
