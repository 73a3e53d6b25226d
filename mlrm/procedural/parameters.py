"""What may vary in a category: ranges and choices from which a product is drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mlrm.procedural.drawing import Drawing

Value = float | int | str


class Domain(Protocol):
    """The values that a parameter may take."""

    def draw(self, generator: np.random.Generator) -> Value:
        """One value at random."""
        ...


@dataclass(frozen=True)
class Range:
    """Any number between two limits."""

    low: float
    high: float

    def draw(self, generator: np.random.Generator) -> float:
        """A number, uniform in the range."""
        return float(generator.uniform(self.low, self.high))


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int

    def draw(self, generator: np.random.Generator) -> int:
        """A whole number, each equally likely."""
        return int(generator.integers(self.low, self.high + 1))


@dataclass(frozen=True, init=False)
class Choice:
    """One of several kinds; a kind that is named twice is twice as likely."""

    kinds: tuple[str, ...]

    def __init__(self, *kinds: str) -> None:
        object.__setattr__(self, "kinds", kinds)

    def draw(self, generator: np.random.Generator) -> str:
        """One of the kinds."""
        return self.kinds[int(generator.integers(len(self.kinds)))]


@dataclass(frozen=True)
class Category:
    """A kind of product: its name, its parameters in drawing order, and how it is built from them."""

    name: str
    parameters: Mapping[str, Domain]
    build: Callable[..., Drawing]
