"""`F.engine.json`: what an engine was built from, by and for; the cache's key. `engine_sidecar` reads it to load."""

from __future__ import annotations

import hashlib
import json
import os.path
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.encoders.engine_sidecar import FORMAT, sidecar_path
from export.trt_builder import BuiltEngine, Profile


@dataclass(frozen=True)
class EngineKey:
    """All that decides an engine's content; equal keys, equal use."""

    onnx_sha256: str
    library: str
    version: str
    capabilities: tuple[str, ...]
    profile: Profile
    workspace: float | None
    """In GiB; None for the library's own."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values


def sha256(content: bytes) -> str:
    """Its SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def is_current(engine: Path, key: EngineKey) -> bool:
    """Whether the engine on disk is whole and was built with this key."""
    try:
        found = json.loads(sidecar_path(engine).read_text())
        return bool(found["key"] == key.to_dict() and found["engine_sha256"] == sha256(engine.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return False  # missing or damaged: built again


def write_engine(
    engine: Path,
    built: BuiltEngine,
    key: EngineKey,
    *,
    onnx: Path,
    model: Mapping[str, str],
    parity: Mapping[str, Any] | None,
    seconds: float,
) -> None:
    """Write an engine and then its sidecar, each whole or not at all.

    model: the ONNX file's metadata. parity: of the ONNX file, None where it wasn't checked. seconds: the build's.
    """
    content = {
        "format": FORMAT,
        "key": key.to_dict(),
        "engine_sha256": sha256(built.plan),
        # From the engine to it: both may be moved together.
        "onnx": Path(os.path.relpath(onnx.absolute(), engine.absolute().parent)).as_posix(),
        "model": dict(model),
        "inputs": [value.to_dict() for value in built.inputs],
        "outputs": [value.to_dict() for value in built.outputs],
        "profile": [list(shape) for shape in built.profile],
        "parity_of_onnx": parity,
        "build_seconds": round(seconds, 1),
    }
    for file, data in ((engine, built.plan), (sidecar_path(engine), (json.dumps(content, indent=1) + "\n").encode())):
        partial = file.with_name(file.name + ".partial")
        partial.write_bytes(data)
        partial.replace(file)
