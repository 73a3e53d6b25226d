"""What the commands share: errors without tracebacks, progress on a terminal, devices."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mlrm.errors import ConfigError, MLRMError

stderr = Console(stderr=True)

P = ParamSpec("P")
T = TypeVar("T")


def say(text: str) -> None:
    """A line for the user, on standard error; standard output carries results."""
    stderr.print(text, markup=False, highlight=False, soft_wrap=True)


def errors_shown(command: Callable[P, T]) -> Callable[P, T]:
    """Show errors the user can act on as one message and exit with 1; others keep their traceback."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except MLRMError as error:
            stderr.print(f"[bold red]{type(error).__name__}[/]", end=": ")
            say(str(error))
            sys.exit(1)

    return wrapped


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A function (what, done, total) that shows the current stage of long work."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=stderr, transient=True) as progress:
        task: Any = None
        stage = ""

        def show(what: str, done: int, total: int) -> None:
            nonlocal task, stage
            if task is None or what != stage:
                if task is not None:
                    progress.remove_task(task)
                task, stage = progress.add_task(what, total=total), what
            progress.update(task, completed=done, total=total)

        yield show


def device_of(name: str) -> torch.device:
    """The device called `name`; "auto" is a GPU if there is one. Raises `ConfigError` for one that isn't there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device is {name!r}; expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(
            f"device {name!r} was asked for and torch {torch.__version__} sees {torch.cuda.device_count()} GPUs; use "
            "device cpu, or install a CUDA build of torch and check nvidia-smi"
        )
    return device


def data_option(help_text: str) -> Any:
    """The `--data` option of training and evaluation."""
    return typer.Option(help=help_text, exists=True, file_okay=False)
