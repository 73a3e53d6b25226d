"""The ONNX graph: any batch, standard operators, its own description, and nothing of the machine that wrote it."""

from pathlib import Path

import onnx
import pytest
import torch

from engine.encoders.onnx_encoder import OnnxEncoder
from export.errors import ExportError
from export.graph import BATCH, name_batch
from tests.export.conftest import Exported

CPU = torch.device("cpu")


def _shapes(proto: onnx.ModelProto) -> dict[str, list[str | int]]:
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*proto.graph.input, *proto.graph.output]
    }


def test_the_batch_of_every_input_and_output_is_one_symbol(exported: Exported) -> None:
    config = exported.model.config
    channels = exported.model.level_channels
    grid = config.image_size // 32
    assert _shapes(onnx.load_model(exported.file)) == {
        "image": [BATCH, 3, config.image_size, config.image_size],
        "level_1": [BATCH, 3, channels[0]],
        "level_2": [BATCH, 3, channels[1]],
        "level_3": [BATCH, 3, channels[2]],
        "region_weights": [BATCH, 3],
        "level_weights": [BATCH, 3, 3],
        "maps": [BATCH, 3, grid, grid],
    }


def test_an_image_has_the_same_features_in_any_batch(exported: Exported) -> None:
    encoder = OnnxEncoder(exported.file, CPU, threads=1)
    size = encoder.image_size
    images = torch.randint(0, 256, (5, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = encoder.encode(images, "sketch")
    for start, end in ((0, 1), (1, 3)):
        part = encoder.encode(images[start:end], "sketch")
        torch.testing.assert_close(part.levels, whole[start:end].levels, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(part.level_weights, whole[start:end].level_weights, rtol=1e-4, atol=1e-5)


def test_the_graph_consists_of_standard_operators(exported: Exported) -> None:
    proto = onnx.load_model(exported.file)
    assert {node.domain for node in proto.graph.node} == {""}
    assert len(proto.functions) == 0


def test_the_file_says_nothing_of_the_machine_it_was_made_on(exported: Exported) -> None:
    content = exported.file.read_bytes()
    for path in (Path(torch.__file__).parent.parent, Path(__file__).parent.parent.parent):
        assert str(path).encode() not in content


def test_nodes_are_named_after_their_modules(exported: Exported) -> None:
    convolutions = [node for node in onnx.load_model(exported.file).graph.node if node.op_type == "Conv"]
    modules = {name.split(".")[0] for name in (node.name for node in convolutions)}
    assert modules == {"networks", "rla"}
    assert len({node.name for node in convolutions}) == len(convolutions)


def test_a_fixed_batch_is_refused() -> None:
    shape = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [2, 3, 256, 256])
    graph = onnx.helper.make_graph([], "fixed", [shape], [shape])
    with pytest.raises(ExportError, match="fixed batch"):
        name_batch(onnx.helper.make_model(graph))
