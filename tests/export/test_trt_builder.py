"""One builder for both libraries: what it makes of a graph, what it tells, and what it says where it can't."""

from types import ModuleType, SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from export.errors import ExportError
from export.precision import lower
from export.trt_builder import TOO_OLD, BuiltEngine, Profile, build_engine, driver_advice
from tests.export.conftest import Exported, no_progress

COMMAND = "python -m export.to_trt m.pt --dtype fp16"


def build(rtx: ModuleType, graph: bytes, **options: Any) -> BuiltEngine:
    """An engine for one GPU and batches of 1 to 4."""
    given: dict[str, Any] = {"workspace": None, "timing_cache": None, "progress": no_progress, "command": COMMAND}
    return build_engine(rtx, graph, **given | {"capabilities": ["8.6"], "profile": Profile(1, 2, 4)} | options)


def one_node(operator: str, batch: str | int = "batch", domain: str = "") -> bytes:
    """A graph of a single operator on images of three numbers."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 3]) for name in ("image", "out")]
    graph = helper.make_graph(
        [helper.make_node(operator, ["image"], ["out"], domain=domain)], "one", ends[:1], ends[1:]
    )
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()
    return content


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_is_the_graphs_own(rtx: ModuleType, light: Exported, dtype: str) -> None:
    proto = onnx.load_model(light.file)
    proto.opset_import[0].version = 22
    whole, lowered = (
        len(build(rtx, graph.SerializeToString(), workspace=0.5).plan) for graph in (proto, lower(proto, dtype))
    )
    assert lowered < 0.8 * whole


def test_progress_is_told_while_the_builder_works(light: Exported, rtx: ModuleType) -> None:
    told: list[tuple[str, int, int]] = []
    build(rtx, light.file.read_bytes(), progress=lambda *step: told.append(step))
    assert len(told) > 20
    assert all(1 <= done <= total for _, done, total in told)


def test_the_profile_is_read_back_from_the_library(rtx: ModuleType) -> None:
    assert build(rtx, one_node("Relu"), profile=Profile(2, 5, 7)).profile == ((2, 3), (5, 3), (7, 3))


@pytest.mark.parametrize(
    ("given", "tuned_for"),
    [((1, None, 64), 8), ((1, None, 4), 4), ((16, None, 64), 16), ((1, 2, 4), 2), ((3, None, 3), 3)],
    ids=str,
)
def test_an_engine_is_tuned_for_a_batch_that_it_takes(given: tuple[int, int | None, int], tuned_for: int) -> None:
    assert Profile.of(*given) == Profile(given[0], tuned_for, given[2])


@pytest.mark.parametrize("given", [(1, 8, 4), (4, 2, 64), (16, None, 4)], ids=str)
def test_batches_that_contradict_each_other_are_refused(given: tuple[int, int | None, int]) -> None:
    with pytest.raises(ExportError, match=rf"min {given[0]}, opt \d+, max {given[2]}; expected 1 <= min <= opt <= max"):
        Profile.of(*given)


def test_a_profile_that_the_library_refuses_is_an_error(rtx: ModuleType) -> None:
    upside_down: Any = SimpleNamespace(min=5, opt=2, max=4)  # `Profile` itself would refuse it
    with pytest.raises(ExportError, match=r"refuses batches of 5 to 4: .*MIN<=OPT<=MAX"):
        build(rtx, one_node("Relu"), profile=upside_down)


def test_a_graph_of_a_fixed_batch_is_refused_in_the_librarys_words(rtx: ModuleType) -> None:
    with pytest.raises(ExportError, match=r"could not build: .*static dimensions") as caught:
        build(rtx, one_node("Relu", batch=2))
    assert "update it" not in str(caught.value)  # on a machine without a driver it logs of an old one besides


def test_what_the_parser_cannot_read_is_told_in_its_words(rtx: ModuleType) -> None:
    with pytest.raises(ExportError, match=r"can't read this ONNX file.*NoSuchOperator"):
        build(rtx, one_node("NoSuchOperator", domain="nowhere"))


def test_a_library_that_cannot_start_says_so(rtx: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    start = rtx.Builder
    monkeypatch.setattr(rtx, "Builder", lambda log: start(None))  # the bindings' own TypeError
    with pytest.raises(ExportError, match=r"TensorRT for RTX .* can't start: it gave no reason"):
        build(rtx, one_node("Relu"))


def test_a_driver_too_old_for_tensorrt_is_named_with_the_command_that_needs_none(
    rtx: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_driver(log: Any) -> None:
        log.log(rtx.ILogger.Severity.ERROR, f"CUDA initialization failure with error 35: CUDA {TOO_OLD}")
        raise TypeError

    monkeypatch.setattr(rtx, "Builder", no_driver)
    monkeypatch.setattr(rtx, "__name__", "tensorrt")
    with pytest.raises(ExportError) as caught:
        build(rtx, one_node("Relu"))
    assert "can't start: CUDA initialization failure with error 35" in str(caught.value)
    assert str(caught.value).endswith(
        f"update it, or build without it: pip install tensorrt-rtx-cu13 && {COMMAND} --runtime tensorrt-rtx "
        "--compute-capability 8.6"
    )


def test_the_advice_names_no_runtime_that_lacks_the_gpu() -> None:
    assert driver_advice(["9.0"], COMMAND).endswith("update it")
