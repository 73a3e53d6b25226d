"""What the doctor found of one thing, and how it tries one."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `works` is None where it is not needed."""

    name: str
    works: bool | None
    text: str


def tried(name: str, attempt: Callable[[], str], repair: str = "") -> Finding:
    """What `attempt` says of itself, or what it raises, with the command that repairs it."""
    try:
        return Finding(name, True, attempt())
    except Exception as error:  # whatever is wrong here is what was asked for
        return Finding(name, False, f"{type(error).__name__}: {error}" + (f": {repair}" if repair else ""))
