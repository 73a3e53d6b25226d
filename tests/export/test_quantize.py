"""int8: which convolutions, how, and what it costs."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from engine.encoders.onnx_encoder import OnnxEncoder
from export.errors import ExportError
from export.images import ImagePairs, load_pairs
from export.onnx_file import OnnxOptions, describe
from export.parity import compare
from export.precision import is_heavy
from export.quantize import quantize
from export.trt_builder import Profile, build_engine
from tests.export.conftest import Exported, no_progress


@pytest.fixture(scope="module")
def quantized(light: Exported) -> onnx.ModelProto:
    """The shipped model in int8, its ranges from a few pairs."""
    metadata = describe(light.model, "both", OnnxOptions(dtype="int8"))
    calibration = load_pairs(None, "train", 256, 4, no_progress)
    proto = quantize(onnx.load_model(light.file), calibration, metadata, no_progress)
    onnx.helper.set_model_props(proto, metadata.to_properties())
    onnx.checker.check_model(proto, full_check=True)
    return proto


def test_every_heavy_convolution_takes_int8(quantized: onnx.ModelProto) -> None:
    producer = {name: node for node in quantized.graph.node for name in node.output}
    convolutions = [node for node in quantized.graph.node if node.op_type == "Conv"]
    in_int8 = [
        node
        for node in convolutions
        if all(name in producer and producer[name].op_type == "DequantizeLinear" for name in node.input[:2])
    ]
    heavy = [node for node in convolutions if is_heavy(node)]
    assert [node.name for node in in_int8] == [node.name for node in heavy]
    assert len(in_int8) < len(convolutions) - 1  # the attention's and the geometry encoder's are left


def test_zero_points_are_zero_as_tensorrt_asks(quantized: onnx.ModelProto) -> None:
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    points = [
        values[node.input[2]] for node in quantized.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    ]
    assert len(points) > 50
    assert all(point.dtype == np.int8 and not point.any() for point in points)


def test_int8_ranks_within_its_tolerance(
    quantized: onnx.ModelProto, light: Exported, pairs: Callable[[int], ImagePairs], tmp_path: Path
) -> None:
    file = tmp_path / "int8.onnx"
    onnx.save_model(quantized, file)
    assert file.stat().st_size < 0.45 * light.file.stat().st_size
    parity = compare(
        OnnxEncoder(file, torch.device("cpu"), threads=1).encode,
        light.model,
        pairs(256),
        runtime="onnxruntime",
        dtype="int8",
        batches=(1, 4),
        progress=no_progress,
    )
    assert parity.failures == ()
    assert max(output.rms for output in parity.outputs) > 1e-3  # it is int8


def test_ranges_and_parity_come_from_different_images() -> None:
    calibration, test = (load_pairs(None, split, 32, 8, no_progress) for split in ("train", "test"))
    for one in (calibration.sketches, calibration.photos):
        for other in (test.sketches, test.photos):
            assert not (one[:, None] == other[None]).flatten(2).all(2).any()


def test_an_opset_that_onnx_runtime_cannot_run_in_int8_is_refused() -> None:
    with pytest.raises(ExportError, match="opset is 22"):
        OnnxOptions(dtype="int8", opset=22)


def test_int8_becomes_an_engine(rtx: ModuleType, quantized: onnx.ModelProto, light: Exported) -> None:
    built = [
        build_engine(
            rtx,
            graph,
            capabilities=["8.6"],
            profile=Profile(1, 2, 4),
            workspace=None,
            timing_cache=None,
            command="",
            progress=no_progress,
        )
        for graph in (quantized.SerializeToString(), light.file.read_bytes())
    ]
    assert [value.dtype for value in built[0].inputs] == ["UINT8"]
    assert built[0].profile == ((1, 3, 256, 256), (2, 3, 256, 256), (4, 3, 256, 256))
    assert len(built[0].plan) < 0.85 * len(built[1].plan)
