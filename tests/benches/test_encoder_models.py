"""The models that the encoders' benches make: whose weights they are, and which files of a kept folder they reuse."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the encoders' benches export: pip install onnx onnxscript onnxruntime openvino")

import onnx

from benches import encoders
from benches.encoders import CALIBRATION_PAIRS, Models
from engine.encoders.exported import ExportMetadata
from export import engine_file
from export.onnx_file import OnnxOptions, describe, load_model
from export.parity import is_trained


def kept(file: Path, metadata: ExportMetadata) -> None:
    """A small graph that says of itself what an exported model would."""
    value = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([], "none", [value], [value])
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, metadata.to_properties())
    onnx.save_model(model, file)


def test_a_kept_file_is_used_again_only_where_it_is_of_these_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    monkeypatch.setattr(engine_file, "write_onnx", lambda model, out, *_: written.append(out))
    own = describe(load_model(None, None), "both", OnnxOptions(pairs=CALIBRATION_PAIRS))
    file = tmp_path / "lite0.fp32.onnx"
    kept(file, own)
    assert Models(tmp_path).onnx("lite0", "fp32") == file
    assert not written
    for other in (replace(own, fingerprint="of others"), replace(own, versions={"torch": "1.0"})):
        kept(file, other)
        Models(tmp_path).onnx("lite0", "fp32")
    assert written == [file, file]


def test_the_densenet_of_the_benches_does_not_pass_for_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "SETTLING_IMAGES", 4)
    models = Models(tmp_path)
    checkpoint = models.checkpoint("densenet169")
    model = load_model(checkpoint, None)
    assert not is_trained(model)
    assert model.rla.state_dict()
    means = [value for name, value in model.named_buffers() if name.endswith("running_mean")]
    assert all(bool(value.any()) for value in means)  # statistics of images all the same
    assert Models(tmp_path).checkpoint("densenet169") == checkpoint
