"""The encoders of exported models: whose weights they run, on what, and what they refuse."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch

from engine.encoders import Encoder
from engine.encoders.exported import ExportedEncoder, ExportMetadata, Graph
from engine.encoders.onnx_encoder import OnnxEncoder, require_available, require_same
from engine.encoders.openvino_encoder import OpenVinoEncoder, Precision, require_precision
from engine.errors import CheckpointError, ConfigError
from export.images import ImagePairs
from export.onnx_file import OnnxOptions, describe
from export.parity import compare
from tests.export.conftest import Exported, no_progress

CPU = torch.device("cpu")
OPEN: dict[str, Callable[[Path], ExportedEncoder]] = {
    "onnxruntime": lambda file: OnnxEncoder(file, CPU, threads=1),
    "openvino": lambda file: OpenVinoEncoder(file, threads=1),
}


@pytest.fixture(params=OPEN)
def open_encoder(request: pytest.FixtureRequest) -> Callable[[Path], ExportedEncoder]:
    """Each runtime in turn."""
    return OPEN[request.param]


def _with_properties(source: Path, target: Path, **changes: str | None) -> Path:
    """A copy of an ONNX file with other metadata; None takes an entry away."""
    proto = onnx.load_model(source)
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    for name, value in changes.items():
        properties.pop(f"mlrm.{name}")
        if value is not None:
            properties[f"mlrm.{name}"] = value
    onnx.helper.set_model_props(proto, properties)
    onnx.save_model(proto, target)
    return target


def test_the_encoder_says_which_weights_it_runs(
    exported: Exported, open_encoder: Callable[[Path], ExportedEncoder]
) -> None:
    encoder: Encoder = open_encoder(exported.file)
    config = exported.model.config
    assert encoder.fingerprint == exported.model.fingerprint()
    assert encoder.name == str(exported.file)
    assert (encoder.image_size, encoder.region_weight_power) == (config.image_size, config.region_weight_power)


def test_threads_get_their_own_results(
    light: Exported, open_encoder: Callable[[Path], ExportedEncoder], pairs: Callable[[int], ImagePairs]
) -> None:
    encoder = open_encoder(light.file)
    images = [image[None] for image in pairs(256).photos[:6]]
    alone = [encoder.encode(image, "photo") for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: encoder.encode(image, "photo"), images * 3))
    for number, features in enumerate(together):
        torch.testing.assert_close(features.levels, alone[number % len(images)].levels)


def test_features_outlive_the_next_call(
    light: Exported, open_encoder: Callable[[Path], ExportedEncoder], pairs: Callable[[int], ImagePairs]
) -> None:
    encoder, images = open_encoder(light.file), pairs(256).photos
    first = encoder.encode(images[:1], "photo")
    kept = first.levels[0].clone()
    encoder.encode(images[1:2], "photo")
    assert torch.equal(first.levels[0], kept)


def test_float_images_in_the_file_are_uint8_to_the_caller(
    separate: Exported, open_encoder: Callable[[Path], ExportedEncoder], pairs: Callable[[int], ImagePairs]
) -> None:
    images = pairs(224).photos[:2]
    encoder = open_encoder(separate.file)
    assert encoder.metadata.input_dtype == "float32"
    with torch.inference_mode():
        expected = separate.model(images, "photo")
    torch.testing.assert_close(encoder.encode(images, "photo").levels, expected.levels, rtol=1e-3, atol=1e-4)


def test_either_file_of_separate_networks_opens_both(
    separate: Exported, open_encoder: Callable[[Path], ExportedEncoder], pairs: Callable[[int], ImagePairs]
) -> None:
    images = pairs(224).photos[:1]
    by_sketch, by_photo = map(open_encoder, separate.files)
    assert by_sketch.file == by_photo.file == separate.files[1]  # whose features a gallery holds
    assert (by_sketch.dtype, by_photo.dtype) == ("fp32", "fp32")
    for domain in ("sketch", "photo"):
        one, other = (encoder.encode(images, domain) for encoder in (by_sketch, by_photo))
        torch.testing.assert_close(one.levels, other.levels)
    assert not torch.allclose(by_sketch.encode(images, "sketch").levels[0], by_sketch.encode(images, "photo").levels[0])


def test_half_of_separate_networks_is_refused(separate: Exported, tmp_path: Path) -> None:
    alone = Path(shutil.copy(separate.files[0], tmp_path / "two.sketch.onnx"))
    with pytest.raises(CheckpointError, match=r"no model at .*two\.photo\.onnx"):
        OnnxEncoder(alone, CPU)
    _with_properties(separate.files[1], tmp_path / "two.photo.onnx", fingerprint='"another"')
    with pytest.raises(CheckpointError, match=r"another.*expected the photo network"):
        OnnxEncoder(alone, CPU)
    _with_properties(separate.files[1], tmp_path / "two.photo.onnx", input_dtype='"uint8"')
    with pytest.raises(CheckpointError, match=r"for uint8 images; expected .* for float32 images"):
        OnnxEncoder(alone, CPU)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"format": None}, "no metadata of this project"),
        ({"format": "2"}, "metadata of version 2"),
        ({"fingerprint": None}, "damaged metadata"),
        ({"config": '{"trunk": "vgg"}'}, "damaged metadata.*vgg"),
        ({"opset": "{"}, "damaged metadata"),
    ],
)
def test_a_file_that_does_not_say_what_it_is_is_refused(
    light: Exported,
    open_encoder: Callable[[Path], ExportedEncoder],
    tmp_path: Path,
    changes: dict[str, str | None],
    found: str,
) -> None:
    file = _with_properties(light.file, tmp_path / "other.onnx", **changes)
    with pytest.raises(CheckpointError, match=f"{found}.*export.to_onnx"):
        open_encoder(file)


def test_a_file_that_is_no_model_is_refused(open_encoder: Callable[[Path], ExportedEncoder], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no model at"):
        open_encoder(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(CheckpointError, match=r"text\.onnx can't be run by"):
        open_encoder(tmp_path / "text.onnx")


def test_images_of_another_type_or_size_are_refused(light: Exported) -> None:
    encoder = OnnxEncoder(light.file, CPU)
    for images in (torch.zeros(1, 3, 256, 256), torch.zeros(1, 3, 224, 224, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"expected torch\.uint8"):
            encoder.encode(images, "sketch")


def test_metadata_survives_the_file(light: Exported) -> None:
    properties = {entry.key: entry.value for entry in onnx.load_model(light.file).metadata_props}
    metadata = ExportMetadata.from_properties(properties, "light.onnx")
    assert metadata.to_properties() == properties
    assert metadata.config == light.model.config
    assert metadata.versions["torch"] == torch.__version__


def test_no_other_provider_takes_the_place_of_the_one_asked_for() -> None:
    with pytest.raises(ConfigError, match="was asked for CUDAExecutionProvider and gave CPUExecutionProvider"):
        require_same("CUDAExecutionProvider", ["CPUExecutionProvider"])
    require_same("CUDAExecutionProvider", ["CUDAExecutionProvider", "CPUExecutionProvider"])


def test_no_other_precision_takes_the_place_of_the_one_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"was asked for bf16 and computes in f32.*backend 'onnx'"):
        require_precision("bf16", "f32")
    require_precision("bf16", "bf16")


def test_openvino_computes_in_what_was_asked_for_or_says_that_it_cannot(
    light: Exported, pairs: Callable[[int], ImagePairs]
) -> None:
    images = pairs(256).photos[:2]
    exact = OnnxEncoder(light.file, CPU, threads=1).encode(images, "photo").levels[0]

    def error(precision: Precision) -> float:
        found = OpenVinoEncoder(light.file, precision, threads=1).encode(images, "photo").levels[0]
        return float((found - exact).norm() / exact.norm())

    assert error("f32") < 1e-4
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert 1e-3 < error("bf16") < 0.1
    else:
        with pytest.raises(ConfigError, match="this processor has no fast bf16"):
            error("bf16")


def test_a_provider_this_build_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"has no NoSuchProvider.*pip install onnxruntime-gpu"):
        require_available("NoSuchProvider")


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime has CUDA"
)
def test_a_gpu_is_refused_by_a_cpu_build(light: Exported) -> None:
    with pytest.raises(ConfigError, match="has no CUDAExecutionProvider"):
        OnnxEncoder(light.file, torch.device("cuda"))


class Held(ExportedEncoder):
    """An encoder whose graph notes where its images lie and gives what it holds: no runtime copies in between."""

    def __init__(self, path: Path, properties: dict[str, str], outputs: list[torch.Tensor]) -> None:
        self.properties, self.outputs, self.seen = properties, outputs, list[torch.Tensor]()
        super().__init__(path)

    def open(self, path: Path) -> Graph:
        return self

    def run(self, images: torch.Tensor) -> list[torch.Tensor]:
        self.seen.append(images)
        return self.outputs


@pytest.mark.parametrize("input_dtype", ["uint8", "float32"])
def test_images_and_features_are_the_graphs_own_tensors(light: Exported, tmp_path: Path, input_dtype: str) -> None:
    """What a GPU's graph reads and writes is torch's memory there, and nothing goes by way of NumPy."""
    (tmp_path / "m.onnx").touch()
    options = OnnxOptions(input_dtype=input_dtype)  # type: ignore[arg-type]
    properties = describe(light.model, "both", options).to_properties()
    outputs = [torch.rand(2, 3, 4) for _ in range(6)]
    encoder = Held(tmp_path / "m.onnx", properties, outputs)
    images = torch.randint(0, 256, (2, 3, 256, 256), dtype=torch.uint8)
    features = encoder.encode(images, "sketch")
    found = [*features.levels, features.region_weights, features.level_weights, features.maps]
    assert [id(one) for one in found] == [id(one) for one in outputs]
    [seen] = encoder.seen
    if input_dtype == "uint8":
        assert seen.data_ptr() == images.data_ptr()
    else:
        np.testing.assert_array_equal(seen.numpy(), images.numpy().astype(np.float32) / np.float32(255))


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available() or "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="needs an NVIDIA GPU and onnxruntime-gpu",
)
def test_onnxruntime_on_a_gpu_ranks_like_the_original(light: Exported, pairs: Callable[[int], ImagePairs]) -> None:
    encoder = OnnxEncoder(light.file, torch.device("cuda"))
    parity = compare(
        encoder.encode, light.model, pairs(256), runtime="onnx", dtype="fp32", batches=(1, 2, 12), progress=no_progress
    )
    assert parity.failures == ()
