"""What an MLRM is made of: one frozen dataclass, its presets and its JSON form."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from mlrm.errors import ConfigError
from mlrm.ranges import require_choice, require_number, require_whole

TRUNKS = ("densenet169", "efficientnet_lite0", "efficientnet_lite2")
STRIDE = 32
"""Side of the image over the side of the last level's grid, in every trunk."""
SMALLEST_GRID = 7
"""Two 3 x 3 convolutions of stride 2 without padding, RLA's geometry encoder, need 7 x 7 cells."""


@dataclass(frozen=True)
class MLRMConfig:
    """Configuration of the model and of its losses; `paper()` and `authors()` are the presets.

    The presets differ where the poster and the released program do: what attention runs over, what the level
    weights sum to 1 over, and the power of the region weight in the distance. An unknown key or a value out of
    range raises `ConfigError`.
    """

    trunk: str = "densenet169"
    image_size: int = 256
    """Side in pixels to which images are resized for this model; a multiple of 32, at least 224."""
    regions: int = 3
    levels: tuple[int, ...] = (1, 2, 3)
    """Trunk levels matched, ascending, out of 0 (high resolution) to 3 (the tail's output)."""
    region_maps: Literal["lama", "cama"] = "lama"
    threshold_cells: int = 3
    """Cells of a region's map that reach 0.5 (`m`); 0 for a plain sigmoid."""
    token_dim: int = 128
    transformer_layers: int = 3
    attention_heads: int = 4
    dropout: float = 0.1
    l2norm: bool = False
    """Scale each region feature to unit length for the distance, the local losses and storage."""
    shared_networks: bool = True
    """One network for sketches and photos; False for two (their weighting is shared even then)."""
    attention_over: Literal["tokens", "batch"] = "tokens"
    level_softmax: Literal["levels", "regions"] = "levels"
    region_weight_power: int = 1
    margin: float = 0.3
    alpha: float = 0.1
    """Factor of the margin of the local region-negative loss."""
    beta: float = 0.1
    """Factor of the margin of the global region-negative loss."""
    overlap_penalty: Literal["lama", "cama"] = "lama"

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", _levels(self.levels))
        require_choice("trunk", self.trunk, TRUNKS)
        require_choice("region_maps", self.region_maps, ("lama", "cama"))
        require_choice("attention_over", self.attention_over, ("tokens", "batch"))
        require_choice("level_softmax", self.level_softmax, ("levels", "regions"))
        require_choice("overlap_penalty", self.overlap_penalty, ("lama", "cama"))
        require_choice("region_weight_power", self.region_weight_power, (1, 2))
        for name in ("l2norm", "shared_networks"):
            require_choice(name, getattr(self, name), (True, False))
        for name in ("regions", "token_dim", "transformer_layers", "attention_heads"):
            require_whole(name, getattr(self, name), 1)
        require_whole("image_size", self.image_size, SMALLEST_GRID * STRIDE)
        if self.image_size % STRIDE:
            raise ConfigError(f"image_size is {self.image_size}; expected a multiple of {STRIDE}")
        require_whole("threshold_cells", self.threshold_cells, 0)
        if self.threshold_cells > (cells := (self.image_size // STRIDE) ** 2):
            raise ConfigError(
                f"threshold_cells is {self.threshold_cells}; expected at most the {cells} cells that the maps of a "
                f"{self.image_size}-pixel image have"
            )
        if self.token_dim % self.attention_heads or self.token_dim % 4:
            raise ConfigError(
                f"token_dim is {self.token_dim}; expected a multiple of 4 and of attention_heads={self.attention_heads}"
            )
        require_number("dropout", self.dropout, below=1)
        for name in ("margin", "alpha", "beta"):
            require_number(name, getattr(self, name))

    @classmethod
    def paper(cls, **overrides: Any) -> Self:
        """The poster's choices, with every image's weights its own: the form that can be indexed and exported."""
        return cls._build(overrides)

    @classmethod
    def authors(cls, **overrides: Any) -> Self:
        """The released program's choices; attention runs over the batch, so it can't be indexed or exported."""
        return cls._build({"attention_over": "batch", "level_softmax": "regions", "region_weight_power": 2} | overrides)

    @classmethod
    def _build(cls, values: dict[str, Any]) -> Self:
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(f"unknown configuration keys {unknown}; known are {sorted(known)}")
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The configuration written by `to_json`; raises `ConfigError` for anything else."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"the configuration is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ConfigError(f"the configuration is a JSON {type(values).__name__}; expected an object")
        return cls._build(values)

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back to an equal configuration."""
        return json.dumps(asdict(self), sort_keys=True)

    def require_image_features(self) -> None:
        """Raise `ConfigError` unless an image's features depend on that image alone (what an index needs)."""
        if self.attention_over == "batch":
            raise ConfigError(
                "this model has attention_over='batch' (the authors' released form): an image's weights depend on "
                "the images it is batched with, so it can't be indexed or exported. The authors' .pkl can be read into "
                "the other form: python -m mlrm.convert theirs.pkl mlrm.safetensors --preset paper. Any other model "
                "has to be trained with attention_over='tokens', the default of mlrm.train"
            )


def _levels(value: object) -> tuple[int, ...]:
    if (
        isinstance(value, (list, tuple))
        and value
        and all(type(level) is int for level in value)
        and sorted(set(value) & {0, 1, 2, 3}) == list(value)
    ):
        return tuple(value)
    raise ConfigError(f"levels is {value!r}; expected ascending, distinct numbers out of 0, 1, 2, 3")
