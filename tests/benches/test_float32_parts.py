"""Which part a node belongs to, and a graph whose chosen nodes read and write rounded values."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("onnxscript", reason="the export needs onnx: pip install onnx onnxscript onnxruntime openvino")

import onnxruntime

from benches.float32_parts import CHOICES, EXPORTED, parts, rounded
from export.precision import is_heavy

NODES = {
    "/Div_2": "image",
    "networks.0.trunk._bn0/Conv_5": "stem",
    "networks.0.trunk._blocks.0._bn1/Conv_7": "block 0",
    "networks.0.trunk._blocks.1._bn0/Conv_9": "block 1",
    "networks.0.trunk._blocks.10._bn0/Conv_40": "block 10",
    "networks.0.reductions.1.0/Conv_20": "rest",
    "networks.0.regions/TopK_60": "threshold",
    "networks.0.trunk._bn1/Conv_55": "rest",
    "networks.0.regions.attention.layers.0/Conv_58": "attention",
    "/MatMul_62": "pooling",
    "rla.feature_maps.0/MatMul_64": "transformer",
    "/Split_70": "transformer",
    "/ReduceL2_72": "scaling",
}


def graph_nodes() -> list[onnx.NodeProto]:
    return [helper.make_node(name.split("/")[1].split("_")[0], [], [], name=name) for name in NODES]


def test_nodes_belong_to_the_part_that_their_name_and_place_say() -> None:
    assert parts(graph_nodes()) == NODES


def test_the_choice_in_bold_is_the_exports_own() -> None:
    exported = CHOICES[EXPORTED]
    assert [node.name for node in graph_nodes() if exported(NODES[node.name])] == [
        node.name for node in graph_nodes() if is_heavy(node)
    ]


@pytest.mark.parametrize(("dtype", "half"), [("fp16", np.float16), ("bf16", ml_dtypes.bfloat16)])
def test_only_what_chosen_nodes_read_and_write_is_rounded(dtype: str, half: type) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "between", "plain", "chosen")]
    nodes = [
        helper.make_node("Add", ["x", "w"], ["between"], name="first"),
        helper.make_node("Mul", ["between", "w"], ["plain"], name="second"),
        helper.make_node("Mul", ["between", "w"], ["chosen"], name="third"),
    ]
    x = np.array([1 / 3], np.float32)
    graph = helper.make_graph(nodes, "three", ends[:1], ends[1:], [numpy_helper.from_array(x, "w")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content = rounded(proto, dtype, {"third"}).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    between, plain, chosen = session.run(None, {"x": x})

    def once(values: np.ndarray) -> np.ndarray:
        return values.astype(half).astype(np.float32)

    assert between == x + x
    assert plain == (x + x) * x
    assert chosen == once(once(x + x) * once(x)) != plain
