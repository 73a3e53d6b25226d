"""A model -> an ONNX graph of standard operators, in one proto, whose batch is a symbol."""

import ast
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from torch import Tensor, nn

from engine.encoders.exported import INPUT, ExportMetadata
from export.errors import ExportError
from mlrm.features import Features
from mlrm.model import MLRM, Domain

BATCH = "batch"


class _Exported(nn.Module):
    """The forward pass as a graph has it: images in, a flat tuple out."""

    def __init__(self, model: MLRM, domain: Domain | None) -> None:
        super().__init__()
        self.model, self.domain = model, domain

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features: Features = self.model(image, self.domain)
        assert features.maps is not None
        return (*features.levels, features.region_weights, features.level_weights, features.maps)


def build_graph(model: MLRM, metadata: ExportMetadata) -> onnx.ModelProto:
    """The float32 graph of `model` (in eval mode, on the CPU) that `metadata` describes, without its properties.

    Input `image`: [batch, 3, size, size]. Outputs: `metadata.output_names`, each with the symbolic batch first. Nodes
    are named after the modules they come from ("networks.0.trunk.<...>/Conv_12"), which is what later passes go by.
    Raises `ExportError` if the exporter fixes the batch.
    """
    domain: Domain | None = None if metadata.domain == "both" else metadata.domain
    size, dtype = metadata.config.image_size, getattr(torch, metadata.input_dtype)
    # A batch of 1 would be taken for a constant.
    example = torch.zeros(2, 3, size, size, dtype=dtype)
    with _quiet():
        program = torch.export.export(
            _Exported(model, domain).eval(),
            (example,),
            dynamic_shapes={INPUT: {0: torch.export.Dim(BATCH, min=1)}},
            strict=False,
        )
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=metadata.opset,
            input_names=[INPUT],
            output_names=metadata.output_names,
            verbose=False,
        )
    assert exported is not None
    proto: onnx.ModelProto = exported.model_proto
    name_batch(proto)
    _name_nodes(proto)
    return proto


def name_batch(proto: onnx.ModelProto) -> None:
    """Call the first dimension of all inputs and outputs `BATCH`; raises `ExportError` unless it is one symbol."""
    ends = [*proto.graph.input, *proto.graph.output]
    symbols = {end.type.tensor_type.shape.dim[0].dim_param for end in ends}
    if len(symbols) != 1 or "" in symbols:
        shapes = {end.name: [dim.dim_param or dim.dim_value for dim in end.type.tensor_type.shape.dim] for end in ends}
        raise ExportError(
            f"torch {torch.__version__} exported a graph of a fixed batch: {shapes}; expected one symbol as the first "
            "dimension of all. Use the version of torch that constraints.txt names"
        )
    (symbol,) = symbols
    for value in [*ends, *proto.graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == symbol:
                dim.dim_param = BATCH


def _name_nodes(proto: onnx.ModelProto) -> None:
    """Name each node after its module, and drop the rest that the exporter notes: paths of this machine's files."""
    for number, node in enumerate(proto.graph.node):
        notes = {entry.key: entry.value for entry in node.metadata_props}
        scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))
        # The last is the operator's own, the one before it the module's, below this file's wrapper.
        module = scopes[-2].removeprefix("model").removeprefix(".") if len(scopes) > 1 else ""
        node.name = f"{module}/{node.op_type}_{number}"
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in [*proto.graph.input, *proto.graph.output, *proto.graph.value_info, *proto.graph.initializer]:
        value.ClearField("metadata_props")
    proto.graph.ClearField("metadata_props")
    proto.ClearField("metadata_props")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes on packages that this model has no use for."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        log.setLevel(level)
