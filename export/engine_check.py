"""Whether an engine itself ranks like the original: compared where a GPU that it was built for is present."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from engine.encoders.engine_sidecar import Sidecar
from engine.encoders.tensorrt_encoder import TensorRtEncoder
from export.compared import Compared, stored
from export.images import Progress, load_pairs, pairs_name
from export.onnx_file import OnnxOptions
from export.parity import compare
from mlrm.model import MLRM


def why_not_here(engine: Path, capability: str | None) -> str | None:
    """Why an engine can't run on a GPU of this capability (None: there is none that torch sees); None where it can."""
    built_for = Sidecar.read(engine).capabilities
    if capability is None:
        return f"torch {torch.__version__} sees no NVIDIA GPU here"
    if capability not in built_for:
        return f"it was built for compute capability {', '.join(built_for)}, and this GPU has {capability}"
    return None


def own_capability() -> str | None:
    """The compute capability of the GPU that torch runs on, "8.9"; None where it sees none."""
    if not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability()
    return f"{major}.{minor}"


def check_engines(engines: Sequence[Path], model: MLRM, options: OnnxOptions, progress: Progress) -> Compared:
    """Compare an engine, or both of separate networks, with their model; on the GPU they were built for.

    What passed of these very engines on the same images is not measured again. options: those of the ONNX files.
    Raises `CheckpointError` and `ConfigError` as `TensorRtEncoder` does, `DatasetError` for images that can't be used.
    """
    known = stored(engines, pairs_name(options.data, "test", options.pairs))
    if known.passed:
        return known
    sidecar = Sidecar.read(engines[0])
    encoder = TensorRtEncoder(engines[0], torch.device("cuda"))
    parity = compare(
        encoder.encode,
        model,
        load_pairs(options.data, "test", model.config.image_size, options.pairs, progress),
        runtime=f"{sidecar.library} {sidecar.version}, {torch.cuda.get_device_name()}",
        dtype=options.dtype,
        batches=(1, 2, sidecar.batches[2]),
        progress=progress,
    )
    return Compared({"tensorrt": parity}, is_new=True)
