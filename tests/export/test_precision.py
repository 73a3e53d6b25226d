"""Half precision in the graph: where it is put, where it isn't, and what it costs."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from engine.encoders.openvino_encoder import OpenVinoEncoder
from export.errors import ExportError
from export.images import ImagePairs
from export.onnx_file import OnnxOptions
from export.parity import compare
from export.precision import HALF, is_heavy, lower
from tests.export.conftest import Exported, no_progress


def _types(proto: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph
    values = [*graph.input, *graph.output, *graph.value_info]
    return {value.name: value.type.tensor_type.elem_type for value in values}


@pytest.mark.parametrize("dtype", HALF)
def test_lowered_models_stay_within_their_tolerance(
    exported: Exported, pairs: Callable[[int], ImagePairs], dtype: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    proto = onnx.load_model(exported.file)
    # Opset 22 differs from 20 in nothing these graphs have but the types that operators take.
    proto.opset_import[0].version = 22
    lowered = lower(proto, dtype)
    onnx.checker.check_model(lowered, full_check=True)
    file = tmp_path_factory.mktemp(dtype) / "half.onnx"
    onnx.save_model(lowered, file)
    assert file.stat().st_size < 0.6 * exported.file.stat().st_size
    parity = compare(
        OpenVinoEncoder(file, threads=1).encode,
        exported.model,
        pairs(exported.model.config.image_size),
        runtime="openvino",
        dtype=dtype,
        batches=(4,),
        progress=no_progress,
    )
    assert parity.failures == ()
    assert max(output.largest for output in parity.outputs) > 1e-5  # it is half precision, not float32 by another name


def test_heavy_nodes_compute_in_half_and_all_else_in_float32(exported: Exported) -> None:
    lowered = lower(onnx.load_model(exported.file), "fp16")
    types = _types(lowered)
    heavy = {types[name] for node in lowered.graph.node if is_heavy(node) for name in node.output}
    light = {types[name] for node in lowered.graph.node if not is_heavy(node) for name in node.output}
    assert TensorProto.FLOAT not in heavy
    assert TensorProto.FLOAT16 in heavy
    casts = {node.output[0] for node in lowered.graph.node if node.name.startswith("precision/")}
    assert {name for name in types if types[name] == TensorProto.FLOAT16} - casts <= {
        name for node in lowered.graph.node if is_heavy(node) for name in node.output
    }
    assert TensorProto.FLOAT in light
    assert {types[output.name] for output in lowered.graph.output} == {TensorProto.FLOAT}


def test_the_float32_graph_is_left_alone(light: Exported) -> None:
    proto = onnx.load_model(light.file)
    before = proto.SerializeToString(deterministic=True)
    lower(proto, "fp16")
    assert proto.SerializeToString(deterministic=True) == before


def test_a_weight_beyond_float16_is_refused_by_name(light: Exported) -> None:
    proto = onnx.load_model(light.file)
    convolution = next(node for node in proto.graph.node if node.op_type == "Conv" and is_heavy(node))
    weight = next(tensor for tensor in proto.graph.initializer if tensor.name == convolution.input[1])
    values = np.array(numpy_helper.to_array(weight))
    values.flat[0] = 1e5
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises(ExportError, match=r"_expand_conv.weight.*1e\+05.*bf16"):
        lower(proto, "fp16")
    lower(proto, "bf16")  # which has float32's range


def test_bfloat16_asks_for_an_opset_that_has_it() -> None:
    assert OnnxOptions(dtype="bf16").chosen_opset == 22
    with pytest.raises(ExportError, match=r"opset is 20.*leave out --opset"):
        OnnxOptions(dtype="bf16", opset=20)
