"""int8 put into a float32 graph: Q/DQ pairs around the heavy convolutions, with ranges found on real images."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import (
    CalibrationMethod,
    QuantFormat,
    QuantType,
    create_calibrator,
    quantize_static,
    save_tensors_data,
)
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from engine.encoders.exported import INPUT, ExportMetadata, to_input
from export.images import ImagePairs, Progress
from export.precision import is_heavy

PERCENTILE = 99.99
"""Share of an activation's values inside its range: the few beyond would cost all others their resolution."""
CHUNK = 4
"""Images run at a time; all activations of as many are held in memory."""
_METHOD = CalibrationMethod.Percentile


def quantize(
    proto: onnx.ModelProto, images: ImagePairs, metadata: ExportMetadata, progress: Progress
) -> onnx.ModelProto:
    """The float32 graph `proto` of `build_graph` with its heavy convolutions in int8.

    Symmetric, weights by channel, activations by tensor: what TensorRT takes. Biases and all else stay float32.
    """
    chosen = [node.name for node in proto.graph.node if node.op_type == "Conv" and is_heavy(node)]
    add_pre_process_metadata(proto)  # it was optimized by the exporter; without this mark it would be said not to be
    with tempfile.TemporaryDirectory() as folder:
        plain, ranges, result = (Path(folder, name) for name in ("plain.onnx", "ranges.json", "int8.onnx"))
        onnx.save_model(proto, plain)
        with contextlib.redirect_stdout(io.StringIO()):  # where the calibrator prints its steps
            _calibrate(plain, ranges, images, metadata, progress)
        quantize_static(
            plain,
            result,
            calibration_data_reader=None,
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_quantize=chosen,
            calibrate_method=_METHOD,
            calibration_cache_path=ranges,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": ["Conv"],
            },
        )
        quantized = onnx.load_model(result)
    quantized.ClearField("metadata_props")
    return quantized


def _calibrate(model: Path, ranges: Path, images: ImagePairs, metadata: ExportMetadata, progress: Progress) -> None:
    """Write the ranges of all convolutions' activations on `images` as the cache that `quantize_static` reads."""
    calibrator = create_calibrator(
        model,
        ["Conv"],
        augmented_model_path=str(model.with_name("augmented.onnx")),
        calibrate_method=_METHOD,
        extra_options={"symmetric": True, "percentile": PERCENTILE},
    )
    parts = {"both": [images.sketches, images.photos], "sketch": [images.sketches], "photo": [images.photos]}
    pixels = torch.cat(parts[metadata.domain])
    for start in range(0, len(pixels), CHUNK):
        calibrator.collect_data(_Reader(to_input(pixels[start : start + CHUNK], metadata.input_dtype).numpy()))
        progress("find int8 ranges", min(start + CHUNK, len(pixels)), len(pixels))
    save_tensors_data(calibrator.compute_data(), ranges)


class _Reader:
    """One batch, once, as calibrators read it."""

    def __init__(self, batch: np.ndarray[Any, Any]) -> None:
        self._batches = iter([{INPUT: batch}])

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        return next(self._batches, None)
