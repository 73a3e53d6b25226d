"""Checks of options, each naming the option, what was found and what was expected."""

import math

from mlrm.errors import ConfigError


def require_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Raise `ConfigError` unless `value` is one of `allowed`, in type too."""
    # 1 == True == 1.0, but they print differently, and fingerprints are made of prints.
    if not any(type(value) is type(choice) and value == choice for choice in allowed):
        raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(map(repr, allowed))}")


def require_whole(name: str, value: object, least: int) -> None:
    """Raise `ConfigError` unless `value` is an int of at least `least`."""
    if type(value) is not int or value < least:
        raise ConfigError(f"{name} is {value!r}; expected a whole number of at least {least}")


def require_number(name: str, value: object, *, below: float = math.inf) -> None:
    """Raise `ConfigError` unless `value` is an int or a float from 0 up to, not including, `below`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < below:
        upper = "" if below == math.inf else f" and below {below:g}"
        raise ConfigError(f"{name} is {value!r}; expected a number of at least 0{upper}")


def require_positive(name: str, value: object) -> None:
    """Raise `ConfigError` unless `value` is a finite int or float above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ConfigError(f"{name} is {value!r}; expected a number above 0")
