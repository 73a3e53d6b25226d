"""What the commands share: errors without tracebacks, progress on a terminal, devices."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mlrm.errors import MLRMError

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


class _Rate(ProgressColumn):
    """Steps a second, of late."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f}/s")


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A function (what, done, total) that shows the current stage of long work."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    # Without a terminal there is nothing to redraw: a log gets no bars, and no empty lines in their place.
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
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


def data_option(help_text: str) -> Any:
    """The `--data` option of training and evaluation."""
    return typer.Option(help=help_text, exists=True, file_okay=False)


def run(command: Callable[..., None], example: str) -> None:
    """Run a module's only command, with an example under its `--help`."""
    app = typer.Typer(add_completion=False)
    app.command(epilog=example)(command)
    app()
