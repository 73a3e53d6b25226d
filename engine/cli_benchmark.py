"""`python -m engine benchmark`: how fast a model encodes on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from engine.cli_options import DeviceOption, ModelOption
from mlrm.cli import errors_shown, progress_bar, say

if TYPE_CHECKING:
    import torch

    from engine.encoders import Encoder

benchmarking = typer.Typer()
ALL = "all"
PAUSE = 0.2
"""Seconds. A runtime's threads go on waiting for work after a call, and would share their cores with the next one's."""


@benchmarking.command(epilog="Example: python -m engine benchmark --model best.onnx --backend all --batch 1 --batch 8")
@errors_shown
def benchmark(
    model: ModelOption = None,
    backend: Annotated[
        str, typer.Option(help="A backend by name; auto: the one searches take; all: each that takes the model.")
    ] = "auto",
    batch: Annotated[list[int] | None, typer.Option(help="Images at once; again for more; default: 1, 8, 64.")] = None,
    seconds: Annotated[float, typer.Option(help="How long to time each batch size of a backend.", min=0)] = 2.0,
    device: DeviceOption = "auto",
) -> None:
    """Time encoding, from images in memory to features in memory. Leave the machine alone meanwhile."""
    from engine.encoders.timing import time_encoder
    from engine.errors import ConfigError
    from mlrm.devices import find_device

    batches = batch or [1, 8, 64]
    if min(batches) < 1:
        raise ConfigError(f"--batch is {min(batches)}; expected 1 or more")
    where = find_device(device)
    table = Table(title=f"{model or 'the shipped model'}, {where}")
    for column in ("backend", "batch", "median ms", "90 % within ms", "images/s"):
        table.add_column(column, justify="left" if column == "backend" else "right")
    with progress_bar() as progress:
        for name, encoder in _encoders(model, backend, where):
            for number, size in enumerate(batches):
                progress(f"{name}, batch {size}", number, len(batches))
                timing = time_encoder(encoder, size, seconds)
                times = f"{timing.median:.1f}", f"{timing.ninety:.1f}", f"{timing.images_a_second:.1f}"
                table.add_row(name, str(size), *times)
    if not table.rows:
        raise ConfigError(
            f"no backend runs {model or 'the shipped model'} on {where}; python -m engine doctor says why"
        )
    Console().print(table)


def _encoders(model: Path | None, backend: str, device: torch.device) -> Iterator[tuple[str, Encoder]]:
    """The backends asked for, each opened when its turn comes; of "all", those that can't run here are named."""
    from engine.encoders.backends import BACKENDS, file_kind
    from engine.encoders.opening import open_encoder
    from engine.errors import ConfigError
    from mlrm.errors import CheckpointError

    if backend != ALL:
        opened = open_encoder(model, device, backend)
        say(f"backend: {opened}")
        yield opened.name, opened.encoder
        return
    for one in BACKENDS.values():
        if one.takes != file_kind(model):
            continue
        try:
            encoder = one.opened(model, device)
        except (ConfigError, CheckpointError) as error:  # ONNX Runtime has no kernels for bfloat16, for one
            say(f"without {one.name}: {error}")
            continue
        time.sleep(PAUSE)
        yield one.name, encoder
