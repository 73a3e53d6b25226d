"""Half precision put into a float32 graph: the trunk and the reductions compute in it, their first layers excepted.

Found by measurement (docs/export.md): half of EfficientNet-Lite0's error in half precision or more is made in its stem
and first block, a few percent of the work, so these stay float32. The attention, the threshold, the pooling and the
transformer add no error that could be measured, and would save no time either: they stay float32 too.
"""

import re

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.errors import ExportError

HALF = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
"""Names of the command line and the ONNX types they stand for."""

_NUMPY = {"fp16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}
_HEAVY = re.compile(
    r"networks\.\d+\.("
    r"trunk\._blocks\.[1-9]|trunk\._conv_head\b|trunk\._bn1\b|"  # EfficientNet-Lite0 from its second block on
    r"trunk\.features\.(?!(conv|norm|relu|pool)0\b)|"  # DenseNet-169 after its stem
    r"reductions\.|regions\.tails\.)"
)


def is_heavy(node: onnx.NodeProto) -> bool:
    """Whether a node of `build_graph` belongs to the trunk past its first layers, a copy of its tail, a reduction."""
    return _HEAVY.match(node.name) is not None


def lower(proto: onnx.ModelProto, dtype: str) -> onnx.ModelProto:
    """The float32 graph `proto` with heavy nodes that compute in `dtype` (a key of `HALF`), and casts around them.

    In heavy nodes every float tensor `t` becomes `t.<dtype>`. Weights are rounded once, after the exporter folded
    normalisations into them in float32. Raises `ExportError` for a weight beyond float16's range.
    """
    graph = proto.graph
    floats = float_values(proto)
    used_by_heavy = {name for node in graph.node if is_heavy(node) for name in node.input} & floats
    used_by_light = {name for node in graph.node if not is_heavy(node) for name in node.input}
    used_by_light |= {value.name for value in graph.output}

    def half(name: str) -> str:
        return f"{name}.{dtype}" if name in floats else name

    nodes = []
    for node in graph.node:
        new = onnx.NodeProto()
        new.CopyFrom(node)
        nodes.append(new)
        made = floats.intersection(node.output)
        if is_heavy(node):
            new.input[:] = map(half, node.input)
            new.output[:] = map(half, node.output)
            nodes += [_cast(half(name), name, TensorProto.FLOAT) for name in sorted(made & used_by_light)]
        else:
            nodes += [_cast(name, half(name), HALF[dtype]) for name in sorted(made & used_by_heavy)]
    weights = [tensor for tensor in graph.initializer if tensor.name in used_by_light or tensor.name not in floats]
    weights += [_rounded(tensor, dtype) for tensor in graph.initializer if tensor.name in used_by_heavy]

    result = onnx.ModelProto()
    result.CopyFrom(proto)
    for field, values in (("node", nodes), ("initializer", weights), ("value_info", [])):
        result.graph.ClearField(field)
        getattr(result.graph, field).extend(values)
    return result


def float_values(proto: onnx.ModelProto) -> set[str]:
    """Names of all float32 tensors of a graph, weights included."""
    graph = onnx.shape_inference.infer_shapes(proto).graph
    values = [*graph.input, *graph.output, *graph.value_info]
    names = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return names | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"precision/Cast_{target}", to=to)


def _rounded(tensor: TensorProto, dtype: str) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        half = values.astype(_NUMPY[dtype])
    if not np.isfinite(half.astype(np.float32)).all():
        raise ExportError(
            f"weight {tensor.name} has values up to {np.abs(values).max():.3g}, beyond the range of {dtype}; export "
            "with --dtype bf16 or --dtype fp32"
        )
    return numpy_helper.from_array(half, f"{tensor.name}.{dtype}")
