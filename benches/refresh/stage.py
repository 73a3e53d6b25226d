"""Where a step works, and what it takes."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mlrm.devices import computes_bfloat16
from mlrm.errors import ConfigError

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Stage:
    """One step's work.

    out: an empty folder, for the files by their names. data: the folder of the research data sets, where there is one.
    progress: called with (what, done, total).
    """

    out: Path
    data: Path | None
    progress: Progress

    def folder(self, name: str) -> Path:
        """A data set; what a step needs was looked for before."""
        assert self.data is not None
        return self.data / name

    def command(self, module: str, *arguments: object) -> None:
        """Run `python -m module` as a person would; raises `ConfigError` with what it said if it fails."""
        words = [str(argument) for argument in arguments]
        done = subprocess.run([sys.executable, "-m", module, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise ConfigError(f"{' '.join(['python -m', module, *words])} failed with {done.returncode}:\n{said}")


def missing(needs: Sequence[str], data: Path | None) -> list[str]:
    """Which of them aren't at hand; nothing is downloaded.

    needs: "data FOLDER" within the folder `data`, "program NAME", "package NAME", "processor bfloat16".
    """

    def at_hand(need: str) -> bool:
        kind, name = need.split(" ", 1)
        if kind == "data":
            return data is not None and (data / name).is_dir()
        if kind == "processor":
            return computes_bfloat16(torch.device("cpu"))
        return (program(name) if kind == "program" else importlib.util.find_spec(name)) is not None

    return [need for need in needs if not at_hand(need)]


def program(name: str) -> str | None:
    """The path of a program: what the variable of its name in capitals says, or what is installed."""
    return os.environ.get(name.upper()) or shutil.which(name)
