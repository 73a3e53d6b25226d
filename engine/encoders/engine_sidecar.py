"""`F.engine.json`, what an engine was built from, by and for; an engine is loaded only where that fits."""

from __future__ import annotations

import json
import os.path
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.encoders.exported import halves
from engine.encoders.parity_file import file_hash, ranks_right
from mlrm.errors import CheckpointError, ConfigError

FORMAT = 1
"""Version of the sidecar; a reader refuses another one."""
RUNTIMES = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
"""Modules that build and run engines, and what `export.to_trt --runtime` calls them."""
PACKAGES = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx-cu13"}
RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""What TensorRT for RTX 1.7 builds for, for messages where it isn't at hand."""


def sidecar_path(engine: Path) -> Path:
    """Where the sidecar of an engine lies."""
    return engine.with_name(engine.name + ".json")


@dataclass(frozen=True)
class Sidecar:
    """What has to be known of an engine before it is loaded.

    library: the module that built it. batches: the smallest it takes, the one it is tuned for and the largest.
    workspace: in GiB, None for the library's own. onnx: the file it was built from. model: that file's metadata.
    """

    engine: Path
    library: str
    version: str
    capabilities: tuple[str, ...]
    batches: tuple[int, int, int]
    workspace: float | None
    engine_sha256: str
    onnx: Path
    model: dict[str, str]

    @classmethod
    def read(cls, engine: Path) -> Sidecar:
        """Read the sidecar of an engine; raises `CheckpointError` where it is missing or not one of `export.to_trt`."""
        file = sidecar_path(engine)
        again = f"python -m export.to_trt CHECKPOINT --out {shlex.quote(str(engine))}"
        advice = f"copy it from where the engine was built, or build again: {again}"
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
                None if key["workspace"] is None else float(key["workspace"]),
                str(found["engine_sha256"]),
                Path(os.path.normpath(engine.parent / str(found["onnx"]))),
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
        """What builds this engine again, for a GPU of a capability as well.

        By TensorRT where TensorRT for RTX has none of that capability. Names what to copy first where the ONNX file
        isn't where it was when the engine was built.
        """
        words = ["python", "-m", "export.to_trt", str(self.onnx), "--out", str(self.engine)]
        runtime = RUNTIMES[self.library]
        first = "" if self.onnx.is_file() else f"copy {self.onnx} from where the engine was built, then "
        if runtime == "tensorrt-rtx" and capability not in RTX_CAPABILITIES:
            runtime = "tensorrt"
            first += f"pip install {PACKAGES[runtime]} && "
        words += ["--runtime", runtime]
        if runtime == "tensorrt-rtx":
            words += ["--compute-capability", ",".join(dict.fromkeys((*self.capabilities, capability)))]
        for name, batch in zip(("min", "opt", "max"), self.batches, strict=True):
            words += [f"--{name}-batch", str(batch)]
        if self.workspace is not None:
            words += ["--workspace", str(self.workspace)]
        if not all(file.is_file() and ranks_right(file) for file in halves(self.onnx)):
            words.append("--no-parity")  # without a report beside it export.to_trt takes no .onnx
        return first + shlex.join([*words, "--rebuild"])

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
