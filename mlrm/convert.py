"""`python -m mlrm.convert`: from one checkpoint format to another, or to half the size."""

from pathlib import Path
from typing import Annotated

import typer

from mlrm.checkpoint import load, save
from mlrm.cli import errors_shown, run, say
from mlrm.errors import ConfigError

EXAMPLE = "Example: python -m mlrm.convert authors.pkl mlrm.safetensors --preset paper --half"


@errors_shown
def main(
    source: Annotated[Path, typer.Argument(help="A .pt, .safetensors or the authors' .pkl.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors or .pt to write.")],
    half: Annotated[bool, typer.Option(help="Store float16; half the size.")] = False,
    preset: Annotated[
        str | None, typer.Option(help="For the authors' .pkl: authors (as trained) or paper (can be indexed).")
    ] = None,
) -> None:
    """Convert a checkpoint."""
    if preset not in (None, "paper", "authors"):
        raise ConfigError(f"preset is {preset!r}; expected paper or authors")
    save(load(source, preset=preset), target, half=half)  # type: ignore[arg-type]
    say(f"{target}: {target.stat().st_size / 1e6:.1f} MB, fingerprint {load(target).fingerprint()}")


if __name__ == "__main__":
    run(main, EXAMPLE)
