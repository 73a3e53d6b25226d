"""`python -m benches.float32_parts`: what parts of the shipped model cost in half precision.

A part in half precision is simulated: all that it reads and writes is rounded, between it computes in float32. So does
ONNX Runtime in float16; of bfloat16 it has no convolutions on the CPU, and few processors have them: simulated, the
numbers are the same everywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import onnx
import torch
import typer
from onnx import TensorProto, helper

from engine.encoders.onnx_encoder import OnnxEncoder
from export.graph import build_graph
from export.images import Progress, load_pairs
from export.onnx_file import OnnxOptions, describe
from export.parity import ORIGINAL_BATCH, both_sides, compare, original
from export.precision import HALF, float_values
from mlrm.checkpoint import load_shipped
from mlrm.cli import errors_shown, progress_bar, run, say

EXAMPLE = "Example: python -m benches.float32_parts --json docs/float32-parts.json"
PAIRS = 32
DIGITS = 2
"""Significant ones of the errors that are kept."""

PLACES = (
    ("stem", re.compile(r"networks\.\d+\.trunk\.(_bn0|relu6)\b")),
    ("block", re.compile(r"networks\.\d+\.trunk\._blocks\.(\d+)\b")),
    ("rest", re.compile(r"networks\.\d+\.(trunk|reductions|regions\.tails)\.")),
    ("attention", re.compile(r"networks\.\d+\.regions\.attention\b")),
    ("threshold", re.compile(r"networks\.\d+\.regions/")),
    ("transformer", re.compile(r"rla\b")),
)
"""Parts of EfficientNet-Lite0's graph by the names of their nodes; rest: of the trunk, with the reductions."""


def parts(nodes: Iterable[onnx.NodeProto]) -> dict[str, str]:
    """By name, the part that each node of `build_graph` belongs to; of blocks each is one, "block 0".

    Nodes of the model itself have no module in their name: which they are shows in what comes before them.
    """
    own, found = "image", {}
    for node in nodes:
        place, match = next(((place, match) for place, one in PLACES if (match := one.match(node.name))), (own, None))
        if match is not None:
            own = "scaling" if place == "transformer" else "pooling"
            place = f"block {match[1]}" if place == "block" else place
        elif node.op_type == "Split":  # of the transformer's output
            place = "transformer"
        found[node.name] = place
    return found


def kept_from(block: int) -> Callable[[str], bool]:
    """The trunk without its stem and the blocks before one, with the reductions."""
    return lambda part: part == "rest" or (part.startswith("block ") and int(part.split()[1]) >= block)


def exported_and(part: str) -> Callable[[str], bool]:
    """What `export.precision` puts into half precision, and one part more."""
    return lambda found: kept_from(1)(found) or found == part


EXPORTED = "all but stem and block 0"
CHOICES: dict[str, Callable[[str], bool]] = {
    "whole trunk and reductions": lambda part: part == "stem" or kept_from(0)(part),
    "all but the stem": kept_from(0),
    EXPORTED: kept_from(1),
    **{f"all but stem and blocks 0-{last}": kept_from(last + 1) for last in (1, 2, 4)},
    **{
        f"{EXPORTED}; the {part} too": exported_and(part)
        for part in ("attention", "threshold", "pooling", "scaling", "transformer")
    },
}
"""What is tried in half precision: which parts."""


def rounded(proto: onnx.ModelProto, dtype: str, chosen: Collection[str]) -> onnx.ModelProto:
    """The float32 graph `proto`, whose nodes called `chosen` read and write values of `dtype`, a key of `HALF`."""
    floats = float_values(proto)
    made = {name for node in proto.graph.node if node.name in chosen for name in node.output} & floats
    read = ({name for node in proto.graph.node if node.name in chosen for name in node.input} & floats) - made

    def through_half(source: str, target: str) -> Iterator[onnx.NodeProto]:
        yield helper.make_node("Cast", [source], [f"{target}.{dtype}"], to=HALF[dtype])
        yield helper.make_node("Cast", [f"{target}.{dtype}"], [target], to=TensorProto.FLOAT)

    nodes: list[onnx.NodeProto] = []
    for tensor in proto.graph.initializer:
        if tensor.name in read:
            nodes += through_half(tensor.name, f"{tensor.name}.rounded")
    for node in proto.graph.node:
        new = onnx.NodeProto()
        new.CopyFrom(node)
        if node.name in chosen:
            new.input[:] = [f"{name}.rounded" if name in read else name for name in node.input]
            new.output[:] = [f"{name}.exact" if name in made else name for name in node.output]
        nodes.append(new)
        for name in node.output:
            if name in made and node.name in chosen:
                nodes += through_half(f"{name}.exact", name)
            elif name in read:
                nodes += through_half(name, f"{name}.rounded")
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    result.graph.ClearField("node")
    result.graph.node.extend(nodes)
    result.graph.ClearField("value_info")
    return result


def measure(pairs: int, progress: Progress) -> dict[str, Any]:
    """What `CHOICES` cost in each type: the worst RMS error of any output, and what is left of the ten nearest."""
    model = load_shipped()
    options = OnnxOptions(max_batch=pairs, pairs=pairs)
    metadata = describe(model, "both", options)
    progress("build graph", 0, 1)
    graph = build_graph(model, metadata)
    place = parts(graph.graph.node)
    images = load_pairs(None, "test", model.config.image_size, pairs, progress)
    expected = both_sides(original(model), images, ORIGINAL_BATCH, "the original", progress)
    rows = []
    with TemporaryDirectory() as folder:
        for number, (name, is_half) in enumerate(CHOICES.items()):
            chosen = {node for node, part in place.items() if is_half(part)}
            for dtype in HALF:
                progress(f"{name}, {dtype}", number, len(CHOICES))
                proto = rounded(graph, dtype, chosen)
                onnx.helper.set_model_props(proto, metadata.to_properties())
                onnx.save_model(proto, file := Path(folder, "rounded.onnx"))
                parity = compare(
                    OnnxEncoder(file, torch.device("cpu")).encode,
                    model,
                    images,
                    runtime=name,
                    dtype=dtype,
                    batches=(pairs,),
                    progress=lambda what, done, total: None,
                    expected=expected,
                )
                worst = max(output.rms for output in parity.outputs)
                rows.append(
                    {
                        "half": name,
                        "dtype": dtype,
                        "worst_rms": float(f"{worst:.{DIGITS}g}"),
                        "top10": round(parity.ranking.top10, 3),
                        "exported": name == EXPORTED,
                    }
                )
    return {"weights": model.fingerprint(), "images": images.name, "rows": rows}


@errors_shown
def main(
    out: Annotated[Path, typer.Option("--json", help="File to write.")],
    pairs: Annotated[int, typer.Option(help="How many drawn pairs.", min=1)] = PAIRS,
) -> None:
    """Measure what parts of the shipped model cost in half precision, on drawn pairs."""
    with progress_bar() as progress:
        found = measure(pairs, progress)
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    say(f"{out}: {len(found['rows'])} rows")


if __name__ == "__main__":
    run(main, EXAMPLE)
