"""A model -> ONNX files with their metadata, and the check that they are the model still."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Literal

import onnx
import torch

import mlrm
from engine.encoders.backends import BACKENDS, ONNX
from engine.encoders.exported import ExportMetadata, FileDomain, half
from engine.encoders.parity_file import file_hash, report_path
from export.errors import ExportError, ParityError
from export.graph import build_graph
from export.images import Progress, load_pairs, pairs_name
from export.parity import ORIGINAL_BATCH, Parity, both_sides, compare, looser, original
from export.precision import HALF, lower
from mlrm.checkpoint import SHIPPED, load
from mlrm.errors import CheckpointError, ConfigError
from mlrm.model import MLRM

Dtype = Literal["fp32", "fp16", "bf16", "int8"]
InputDtype = Literal["uint8", "float32"]
Preset = Literal["paper"]
DTYPES: tuple[Dtype, ...] = ("fp32", "fp16", "bf16", "int8")
OPSETS = range(18, 24)
"""What the exporter writes and the runtimes here read."""
DEFAULT_OPSET = 20
INT8_OPSET = 20
"""Later Q/DQ nodes say their type twice, of which ONNX Runtime changes one on processors where uint8 is faster."""
BF16_OPSET = 22
"""Convolution and pooling take bfloat16 from this one on."""
PAIRS = 64
"""Looked at unless told."""


@dataclass(frozen=True)
class OnnxOptions:
    """How a model becomes ONNX; raises `ExportError` for values that don't go together.

    image_size: side in pixels; None for the model's own. opset: None for the lowest that does.
    data: folder of pairs for int8's ranges and for parity; None for drawn ones. pairs: how many at most. preset: the
    form an authors' `.pkl` is read into; see `mlrm.checkpoint.load`.
    """

    dtype: Dtype = "fp32"
    opset: int | None = None
    max_batch: int = 64
    image_size: int | None = None
    input_dtype: InputDtype = "uint8"
    data: Path | None = None
    pairs: int = PAIRS
    preset: Preset | None = None

    def __post_init__(self) -> None:
        for name, choices in (("dtype", DTYPES), ("input_dtype", ("uint8", "float32"))):
            if (found := getattr(self, name)) not in choices:
                raise ExportError(f"{name} is {found!r}; expected one of {', '.join(choices)}")
        if self.preset not in (None, "paper"):
            raise ExportError(f"preset is {self.preset!r}; expected paper, the only form that can be exported")
        for name in ("max_batch", "pairs"):
            if (found := getattr(self, name)) < 1:
                raise ExportError(f"{name} is {found}; expected 1 or more")
        if self.opset is not None and self.opset not in OPSETS:
            raise ExportError(f"opset is {self.opset}; expected {OPSETS.start} to {OPSETS.stop - 1}")
        if self.dtype == "bf16" and self.chosen_opset < BF16_OPSET:
            raise ExportError(
                f"opset is {self.opset}; bfloat16 convolutions exist from opset {BF16_OPSET} on: leave out --opset, or "
                "use --dtype fp16"
            )
        if self.dtype == "int8" and self.chosen_opset > INT8_OPSET:
            raise ExportError(
                f"opset is {self.opset}; ONNX Runtime can't run its own int8 graphs beyond opset {INT8_OPSET}: leave "
                "out --opset"
            )

    @property
    def chosen_opset(self) -> int:
        """The opset asked for, or the lowest that has the type."""
        return self.opset or (BF16_OPSET if self.dtype == "bf16" else DEFAULT_OPSET)

    @property
    def calibration(self) -> str:
        """The images that int8's ranges are found on; empty for other types. Raises as `load_pairs` does."""
        return pairs_name(self.data, "train", self.pairs) if self.dtype == "int8" else ""


def load_model(checkpoint: Path | None, image_size: int | None, preset: Preset | None = None) -> MLRM:
    """The model of a checkpoint (None: the shipped one) for images of `image_size` (None: its own), in eval mode.

    preset: for an authors' `.pkl`. Raises `CheckpointError` as `mlrm.checkpoint.load` does, `ExportError` for a `.pkl`
    in the form it was trained in, and `ConfigError` for any other model whose features depend on the batch, and for a
    size it can't take.
    """
    model = load(SHIPPED if checkpoint is None else checkpoint, preset=preset)
    if checkpoint is not None and checkpoint.suffix == ".pkl" and preset is None:
        raise ExportError(
            f"{checkpoint} was trained in a form whose weights depend on the images of a batch, which can't be "
            "exported: add --preset paper, which reads the same weights into the form that can"
        )
    model.config.require_image_features()
    if image_size in (None, model.config.image_size):
        return model
    assert image_size is not None
    resized = MLRM(replace(model.config, image_size=image_size))
    resized.load_state_dict(model.state_dict())
    return resized.eval()


def domains(model: MLRM) -> tuple[FileDomain, ...]:
    """The files a model makes: one, or with separate networks one for sketches and one for photos."""
    return ("both",) if model.config.shared_networks else ("sketch", "photo")


def file_for(out: Path, domain: FileDomain) -> Path:
    """The file of a domain: `m.onnx` itself, or `m.sketch.onnx` or `m.photo.onnx`, also where `out` is one of them."""
    return out if domain == "both" else half(out, domain)


def describe(model: MLRM, domain: FileDomain, options: OnnxOptions) -> ExportMetadata:
    """The metadata of the file that `write_onnx` makes for a domain: equal metadata, equal file."""
    versions = {name: version(name) for name in ("torch", "onnx", "onnxscript")}
    if options.dtype == "int8":
        import onnxruntime  # its distribution may be called onnxruntime-gpu

        versions["onnxruntime"] = onnxruntime.__version__
    return ExportMetadata(
        config=model.config,
        fingerprint=model.fingerprint(),
        domain=domain,
        dtype=options.dtype,
        input_dtype=options.input_dtype,
        max_batch=options.max_batch,
        opset=options.chosen_opset,
        calibration=options.calibration,
        versions={"mlrm-engine": mlrm.__version__} | versions,
    )


def write_onnx(model: MLRM, out: Path, options: OnnxOptions, progress: Progress) -> list[Path]:
    """Write `model` (in eval mode, on the CPU) as `out`, or as one file for sketches and one for photos beside it.

    Each file is whole or isn't there. Raises `ExportError` for a graph that can't be made, `DatasetError` for
    calibration images that can't be used.
    """
    calibration = None
    if options.dtype == "int8":
        calibration = load_pairs(options.data, "train", model.config.image_size, options.pairs, progress)
    files = []
    for domain in domains(model):
        metadata = describe(model, domain, options)
        progress(f"build graph ({domain})", 0, 1)
        graph = build_graph(model, metadata)
        if options.dtype in HALF:
            graph = lower(graph, options.dtype)
        elif calibration is not None:
            from export.quantize import quantize

            graph = quantize(graph, calibration, metadata, progress)
        onnx.helper.set_model_props(graph, metadata.to_properties())
        onnx.checker.check_model(graph, full_check=True)
        file = file_for(out, domain)
        partial = file.with_name(file.name + ".partial")
        onnx.save_model(graph, partial)
        report_path(file).unlink(missing_ok=True)  # it is about the file that this one replaces
        partial.replace(file)
        files.append(file)
    return files


def first_backend(dtype: str) -> str:
    """The backend that a file of this type is judged by.

    ONNX Runtime, but for bf16, whose convolutions its CPU provider doesn't have: OpenVINO.
    """
    return "openvino" if dtype == "bf16" else "onnx"


def check(model: MLRM, files: Sequence[Path], options: OnnxOptions, progress: Progress) -> dict[str, Parity]:
    """Compare files of `write_onnx` with their model at batch 1, 2 and the largest, by every backend that runs here.

    On the CPU and, where there is one, on a GPU. The first is the one the files are judged by; that the others pass too
    is what `backend="auto"` goes by. Nothing is written. Raises `ExportError` where the first one's package is missing.
    """
    first = first_backend(options.dtype)
    images = load_pairs(options.data, "test", model.config.image_size, options.pairs, progress)
    expected = None
    reports: dict[str, Parity] = {}
    devices = [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available()
    for name, device in product(sorted(BACKENDS, key=lambda name: name != first), devices):
        backend = BACKENDS[name]
        if backend.takes != ONNX or device.type not in backend.devices or (options.dtype == "bf16" and name == "onnx"):
            continue
        try:
            encoder = backend.opened(files[0], device)
        except (ConfigError, CheckpointError) as error:
            if name != first or device.type != "cpu":
                continue  # not installed, or a precision or operation it doesn't have: `auto` won't take it either
            raise ExportError(f"parity of {options.dtype} can't be checked: {error}; or give --no-parity") from error
        if expected is None:
            expected = both_sides(original(model), images, ORIGINAL_BATCH, "the original", progress)
        reports[name if device.type == "cpu" else f"{name} on {device}"] = compare(
            encoder.encode,
            model,
            images,
            runtime=backend.runtime(device),
            dtype=looser(options.dtype, "bf16") if name.endswith("bf16") else options.dtype,
            batches=(1, 2, options.max_batch),
            progress=progress,
            expected=expected,
        )
    return reports


def settle(reports: Mapping[str, Parity], files: Sequence[Path]) -> None:
    """Write what `check` found beside each file; if the first failed, rename the files and raise `ParityError`."""
    parity = next(iter(reports.values()))
    for file in files:
        content = parity.to_dict() | {
            "sha256": file_hash(file),
            "backends": {name: one.to_dict() for name, one in reports.items()},
        }
        report_path(file).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if parity.passed:
        return
    for file in files:
        file.replace(file.with_name(file.name + ".failed"))
    raise ParityError(
        "the exported model is not the original: " + "; ".join(parity.failures) + f". Report: {report_path(files[0])}; "
        f"kept for a look: {', '.join(file.name + '.failed' for file in files)}. --dtype fp32 changes least"
    )
