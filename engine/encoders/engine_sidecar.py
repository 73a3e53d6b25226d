"""`F.engine.json`, what an engine was built from, by and for; an engine is loaded only where that fits."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.encoders.parity_file import file_hash
from mlrm.errors import CheckpointError, ConfigError

FORMAT = 1
"""Version of the sidecar; a reader refuses another one."""
RUNTIMES = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
"""Modules that build and run engines, and what `export.to_trt --runtime` calls them."""
PACKAGES = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx-cu13"}


def sidecar_path(engine: Path) -> Path:
    """Where the sidecar of an engine lies."""
    return engine.with_name(engine.name + ".json")


@dataclass(frozen=True)
class Sidecar:
    """What has to be known of an engine before it is loaded.

    library: the module that built it. batches: the smallest it takes, the one it is tuned for and the largest. model:
    the metadata of the ONNX file it was built from, called `onnx`.
    """

    engine: Path
    library: str
    version: str
    capabilities: tuple[str, ...]
    batches: tuple[int, int, int]
    engine_sha256: str
    onnx: str
    model: dict[str, str]

    @classmethod
    def read(cls, engine: Path) -> Sidecar:
        """Read the sidecar of an engine; raises `CheckpointError` where it is missing or not one of `export.to_trt`."""
        file = sidecar_path(engine)
        advice = "copy it from where the engine was built, or build again: python -m export.to_trt CHECKPOINT"
        try:
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            key = found["key"]
            if found["format"] != FORMAT or key["library"] not in RUNTIMES:
                raise ValueError(f"format {found['format']}, library {key['library']}")
            return cls(
                engine,
                str(key["library"]),
                str(key["version"]),
                tuple(map(str, key["capabilities"])),
                (int(key["profile"]["min"]), int(key["profile"]["opt"]), int(key["profile"]["max"])),
                str(found["engine_sha256"]),
                str(found["onnx"]),
                {str(name): str(value) for name, value in found["model"].items()},
            )
        except OSError as error:
            raise CheckpointError(
                f"{engine.name} has no {file.name} beside it ({error.strerror}), which says what it was built for: "
                f"{advice}"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{file.name} is not what export.to_trt writes ({type(error).__name__}: {error}): {advice}"
            ) from error

    def rebuild_command(self, capability: str) -> str:
        """What builds this engine again for a GPU of a capability."""
        source = shlex.quote(str(self.engine.with_name(self.onnx)))
        runtime = RUNTIMES[self.library]
        target = f" --compute-capability {capability}" if runtime == "tensorrt-rtx" else ""
        least, tuned, most = self.batches
        batches = f" --min-batch {least} --opt-batch {tuned} --max-batch {most}"
        out = shlex.quote(str(self.engine))
        return f"python -m export.to_trt {source} --out {out} --runtime {runtime}{target}{batches} --rebuild"

    def require_fit(self, version: str, capability: str, gpu: str) -> None:
        """Raise unless the engine was built by this version of its library for a GPU of this capability ("8.9").

        gpu: its name, for messages. Raises `ConfigError` for another version or GPU, `CheckpointError` for an engine
        file that is not the one the sidecar was written for.
        """
        command = self.rebuild_command(capability)
        if version != self.version:
            raise ConfigError(
                f"{self.engine.name} was built by {self.library} {self.version}, and {version} is installed, which "
                f"can't load it: {command}, or pip install {PACKAGES[self.library]}=={self.version}"
            )
        if capability not in self.capabilities:
            raise ConfigError(
                f"{self.engine.name} was built for GPUs of compute capability {', '.join(self.capabilities)}, and "
                f"{gpu} has {capability}: {command}"
            )
        if file_hash(self.engine) != self.engine_sha256:
            raise CheckpointError(
                f"{self.engine.name} is not the file that {sidecar_path(self.engine).name} describes (its content "
                f"differs): copy both together, or {command}"
            )
