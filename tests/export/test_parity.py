"""The check that an exported model is the original: passes where it is, fails where it isn't."""

import hashlib
import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.encoders.exported import ExportedEncoder
from engine.encoders.onnx_encoder import OnnxEncoder
from engine.encoders.openvino_encoder import OpenVinoEncoder
from engine.encoders.parity_file import report_path
from export.errors import ExportError, ParityError
from export.images import ImagePairs
from export.onnx_file import OnnxOptions, check, settle
from export.parity import (
    TOLERANCES,
    OutputError,
    Parity,
    RankingError,
    compare,
    is_trained,
    judge,
    looser,
    original,
    ranking_error,
)
from mlrm import MLRM
from mlrm.accuracy import Accuracy
from tests.export.conftest import PAIRS, Exported, no_progress

RUNTIMES: dict[str, Callable[[Path], ExportedEncoder]] = {
    "onnxruntime": lambda file: OnnxEncoder(file, torch.device("cpu"), threads=1),
    "openvino": lambda file: OpenVinoEncoder(file, threads=1),
}
PERFECT = RankingError(1.0, 1.0, 1.0, Accuracy(1, 1, 1, 1, 9, 9), Accuracy(1, 1, 1, 1, 9, 9))


def _parity(encoder: ExportedEncoder, model: MLRM, images: ImagePairs, dtype: str = "fp32") -> Parity:
    batches = (1, 2, PAIRS)
    return compare(encoder.encode, model, images, runtime="test", dtype=dtype, batches=batches, progress=no_progress)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_exported_model_ranks_like_the_original(
    exported: Exported, pairs: Callable[[int], ImagePairs], runtime: str
) -> None:
    parity = _parity(RUNTIMES[runtime](exported.file), exported.model, pairs(exported.model.config.image_size))
    assert parity.failures == ()
    assert parity.ranking.top10 == 1.0
    assert {(error.output, error.batch) for error in parity.outputs} == {
        (name, batch)
        for name in ("level_1", "level_2", "level_3", "region_weights", "level_weights", "maps")
        for batch in (1, 2, PAIRS)
    }


def test_separate_networks_are_both_compared(separate: Exported, pairs: Callable[[int], ImagePairs]) -> None:
    images = pairs(224)
    assert _parity(RUNTIMES["onnxruntime"](separate.file), separate.model, images).passed
    swapped = OnnxEncoder(separate.file, torch.device("cpu"), threads=1)
    assert not compare(
        lambda pixels, domain: swapped.encode(pixels, "sketch"),
        separate.model,
        images,
        runtime="test",
        dtype="fp32",
        batches=(1,),
        progress=no_progress,
    ).passed


def test_a_model_with_one_other_weight_fails(light: Exported, pairs: Callable[[int], ImagePairs]) -> None:
    model = MLRM(light.model.config)
    weights = light.model.state_dict()
    name = "rla.region_head.3.weight"
    model.load_state_dict(weights | {name: weights[name] * 1.01})
    parity = _parity(RUNTIMES["onnxruntime"](light.file), model.eval(), pairs(256))
    assert not parity.passed
    assert all("region_weights" in failure for failure in parity.failures)


def test_the_largest_batch_may_exceed_the_images(light: Exported, pairs: Callable[[int], ImagePairs]) -> None:
    images = pairs(256)
    two = replace(images, sketches=images.sketches[:2], photos=images.photos[:2], photo_of=[0, 1])
    parity = compare(
        original(light.model), light.model, two, runtime="test", dtype="fp32", batches=(3,), progress=no_progress
    )
    assert parity.passed


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_a_value_that_is_no_number_fails(dtype: str) -> None:
    nan = OutputError("level_1", 1, math.nan, math.nan, math.nan)
    assert judge(TOLERANCES[dtype], [nan], PERFECT)


@pytest.mark.parametrize(("dtype", "least"), [("fp32", 1.0), ("fp16", 0.98), ("bf16", 0.98), ("int8", 0.9)])
def test_rankings_are_held_to_the_precisions_overlap(dtype: str, least: float) -> None:
    same = OutputError("level_1", 1, 0.0, 0.0, 1.0)
    assert not judge(TOLERANCES[dtype], [same], replace(PERFECT, top10=least))
    assert judge(TOLERANCES[dtype], [same], replace(PERFECT, top10=least - 0.01))


def test_overlap_and_correlation_of_rankings_worked_by_hand() -> None:
    expected = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]])
    found = torch.tensor([[1, 0, 2, 3], [3, 2, 1, 0]])
    error = ranking_error(found, expected, [0, 3])
    assert error.top1 == 0.5
    assert error.top10 == 1.0
    assert error.correlation == pytest.approx((0.8 + 1.0) / 2)
    assert (error.original_accuracy.acc1, error.accuracy.acc1) == (1.0, 0.5)


def test_weights_count_as_trained_after_a_training_step(light: Exported, dense: Exported) -> None:
    assert is_trained(light.model)
    assert not is_trained(dense.model)


def test_a_check_without_its_runtime_says_what_to_install(light: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "engine.encoders.onnx_encoder")
    with pytest.raises(ExportError, match=r"parity of fp32 can't be checked: .*onnxruntime.*or give --no-parity"):
        check(light.model, light.files, OnnxOptions(pairs=1, max_batch=1), no_progress)


def test_a_backend_is_judged_by_the_looser_of_its_precision_and_the_files() -> None:
    assert [looser(dtype, "bf16") for dtype in TOLERANCES] == ["bf16", "bf16", "bf16", "int8"]


def test_a_failed_check_keeps_the_report_and_marks_the_file(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(b"model")
    output = OutputError("maps", 2, 0.5, 0.5, 0.1)
    parity = Parity("test", "fp32", "3 pairs", True, (output,), PERFECT, ("maps at batch 2: too far",))
    with pytest.raises(ParityError, match="maps at batch 2: too far"):
        settle({"onnx": parity}, [file])
    assert not file.exists()
    assert (tmp_path / "m.onnx.failed").read_bytes() == b"model"
    report = json.loads(report_path(file).read_text())
    assert report["backends"]["onnx"]["passed"] is False
    assert report["sha256"] == hashlib.sha256(b"model").hexdigest()
    assert report["passed"] is False
    assert report["outputs"][0]["output"] == "maps"
