"""What the encoders of exported models share: the metadata a file carries, and features from a graph's outputs."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal, Protocol, Self

import torch
from torch import Tensor

from engine.encoders.transfer import on_device
from mlrm.config import MLRMConfig
from mlrm.errors import CheckpointError, ConfigError
from mlrm.features import Features

FORMAT = "1"
"""Version of this metadata; a reader refuses another one."""
PREFIX = "mlrm."
INPUT = "image"

FileDomain = Literal["both", "sketch", "photo"]


@dataclass(frozen=True)
class ExportMetadata:
    """What an exported model says of itself; its values are strings of JSON in the file's metadata."""

    config: MLRMConfig
    fingerprint: str
    """`MLRM.fingerprint()` of the weights it was made from: to a gallery, all precisions of them are one model."""
    domain: FileDomain
    """Which images it is for; "both" where one network serves sketches and photos."""
    dtype: str
    """fp32, fp16, bf16 or int8: how the trunk computes."""
    input_dtype: Literal["uint8", "float32"]
    """uint8 in 0..255, or float32 in 0..1; RGB, [B, 3, image_size, image_size]."""
    max_batch: int
    """Largest batch that parity was asked for."""
    opset: int
    calibration: str
    """The images that int8's ranges were found on; empty for other dtypes."""
    versions: dict[str, str]
    """Of the packages that made the file."""

    @property
    def output_names(self) -> list[str]:
        """The graph's outputs in order: a level's features each, then the weights and the maps."""
        levels = [f"level_{number}" for number in range(1, len(self.config.levels) + 1)]
        return [*levels, "region_weights", "level_weights", "maps"]

    def to_properties(self) -> dict[str, str]:
        """As key-value pairs of an ONNX file."""
        values = {field.name: getattr(self, field.name) for field in fields(self)} | {"config": asdict(self.config)}
        return {f"{PREFIX}format": FORMAT} | {PREFIX + name: json.dumps(value) for name, value in values.items()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], name: str) -> Self:
        """Read what `to_properties` wrote into the file called `name`; raises `CheckpointError` for anything else."""
        found = properties.get(f"{PREFIX}format")
        if found != FORMAT:
            what = "no metadata of this project" if found is None else f"metadata of version {found}"
            raise CheckpointError(
                f"{name} has {what}; expected version {FORMAT}, without which nobody knows its weights, input and "
                "distance: export the checkpoint again, python -m export.to_onnx CHECKPOINT"
            )
        try:
            values = {field.name: json.loads(properties[PREFIX + field.name]) for field in fields(cls)}
            return cls(**values | {"config": MLRMConfig.from_json(properties[f"{PREFIX}config"])})
        except (KeyError, ValueError, ConfigError) as error:
            raise CheckpointError(
                f"{name} has damaged metadata ({error}); export again: python -m export.to_onnx CHECKPOINT"
            ) from error


def half(path: Path, domain: FileDomain) -> Path:
    """The file of one network of a model with two: `m.sketch.onnx` for `m.onnx` or `m.photo.onnx`."""
    name = path.stem.removesuffix(".sketch").removesuffix(".photo")
    return path.with_name(f"{name}.{domain}{path.suffix}")


def halves(path: Path) -> list[Path]:
    """The file itself or, by its name, both of a model with two networks."""
    return [half(path, "sketch"), half(path, "photo")] if path.stem.endswith((".sketch", ".photo")) else [path]


def _network(metadata: ExportMetadata) -> str:
    return (
        f"the {metadata.domain} network of model {metadata.fingerprint}, {metadata.dtype} for {metadata.input_dtype} "
        "images"
    )


class Graph(Protocol):
    """One exported file, opened by a runtime. Safe from any thread."""

    @property
    def properties(self) -> Mapping[str, str]:
        """The file's metadata."""

    def run(self, images: Tensor) -> Sequence[Tensor]:
        """Images [B, 3, size, size] of the input's type -> the outputs in the file's order; on the encoder's device."""


class ExportedEncoder(ABC):
    """Exported models behind the `Encoder` protocol; a runtime's encoder says how a file is opened.

    A model with separate networks is two files, `NAME.sketch.SUFFIX` and `NAME.photo.SUFFIX`: either path opens both.
    Raises `CheckpointError` for a file that is missing, without this project's metadata, or whose other half is of
    other weights.
    """

    written_by = "export.to_onnx"
    """The command whose files it runs, for messages."""
    device = torch.device("cpu")
    """Where its graphs take images and leave their outputs."""

    def __init__(self, path: Path) -> None:
        self.name, self.file = str(path.absolute()), path.absolute()
        graph, self.metadata = self._opened(path)
        self._graphs = {self.metadata.domain: graph}
        if self.metadata.domain != "both":
            other: FileDomain = "photo" if self.metadata.domain == "sketch" else "sketch"
            sibling, self.file = half(path, other), half(path.absolute(), "photo")
            self._graphs[other], metadata = self._opened(sibling)
            if (found := _network(metadata)) != (expected := _network(replace(self.metadata, domain=other))):
                raise CheckpointError(
                    f"{sibling.name} is {found}; expected {expected}, beside {path.name}: export both again"
                )
        self.fingerprint, self.dtype = self.metadata.fingerprint, self.metadata.dtype
        self.image_size = self.metadata.config.image_size
        self.region_weight_power = self.metadata.config.region_weight_power

    @abstractmethod
    def open(self, path: Path) -> Graph:
        """Open one file with this runtime; raises `CheckpointError` for one it can't run."""

    def _opened(self, path: Path) -> tuple[Graph, ExportMetadata]:
        if not path.is_file():
            raise CheckpointError(f"no model at {path}; expected a file that python -m {self.written_by} wrote")
        graph = self.open(path)
        return graph, ExportMetadata.from_properties(graph.properties, path.name)

    def encode(self, images: Tensor, domain: Literal["sketch", "photo"]) -> Features:
        """See `Encoder.encode`. Raises `ValueError` for images of another type or size."""
        expected = (3, self.image_size, self.image_size)
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != expected:
            raise ValueError(f"images are {images.dtype} {tuple(images.shape)}; expected torch.uint8 [B, *{expected}]")
        outputs = self._graphs["both" if self.metadata.domain == "both" else domain].run(
            to_input(on_device(images, self.device), self.metadata.input_dtype)
        )
        return to_features(outputs)


def to_input(images: Tensor, dtype: Literal["uint8", "float32"]) -> Tensor:
    """Images uint8 [B, 3, H, W] -> what a graph of that input type takes, on the same device."""
    return images if dtype == "uint8" else images.float() / 255


def to_features(outputs: Sequence[Tensor]) -> Features:
    """The outputs of an exported graph in the order of `ExportMetadata.output_names` -> `Features`."""
    *levels, region_weights, level_weights, maps = outputs
    return Features(tuple(levels), region_weights, level_weights, maps)
