"""Commands of `export.to_trt` that work in place of the one typed: every option of it, said again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer.core
import typer.main

from engine.encoders.engine_sidecar import RTX_CAPABILITIES


def typed(module: str, main: Callable[..., None], values: Mapping[str, Any], without: Collection[str] = ()) -> str:
    """`python -m MODULE` with the values that its `main` got, but for defaults.

    values: by parameter. without: parameters that are left out.
    """
    app = typer.Typer(add_completion=False)
    app.command()(main)
    words = ["python", "-m", module]
    for parameter in typer.main.get_command(app).params:
        name = str(parameter.name)
        if name not in values or name in without or (value := values[name]) == parameter.default:
            continue
        if isinstance(parameter, typer.core.TyperArgument):
            words.append(str(value))
        elif isinstance(value, bool):
            words.append((parameter.opts if value else parameter.secondary_opts)[0])
        else:
            words += [parameter.opts[0], str(value)]
    return shlex.join(words)


def by_tensorrt(command: str, asked: Sequence[str] = (), timing_cache: Path | None = None) -> str:
    """A command without what depends on the runtime, for TensorRT; asked: capabilities, of which it builds for one."""
    capability = f" --compute-capability {asked[0]}" if len(asked) == 1 else ""
    cached = "" if timing_cache is None else f" --timing-cache {shlex.quote(str(timing_cache))}"
    return f"{command} --runtime tensorrt{capability}{cached}"


def by_rtx(command: str, asked: Sequence[str] = ()) -> str | None:
    """The same for TensorRT for RTX, which has no timing cache; None where it lacks a capability asked for."""
    if any(name not in RTX_CAPABILITIES for name in asked):
        return None
    return f"{command} --runtime tensorrt-rtx" + (f" --compute-capability {','.join(asked)}" if asked else "")
