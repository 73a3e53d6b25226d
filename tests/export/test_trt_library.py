"""Which library builds for which GPU; what it can't is refused with the command that works."""

from pathlib import Path
from types import ModuleType

import pytest

from engine.encoders.engine_sidecar import RTX_CAPABILITIES
from export.errors import ExportError
from export.gpu import Gpu, find_gpu
from export.trt_library import (
    import_library,
    no_tensorrt,
    own_target,
    parse_capabilities,
    require_timing_cache,
    require_version,
    rtx_targets,
    supported_capabilities,
)

COMMAND = "python -m export.to_trt m.pt --max-batch 4"
BY_RTX = rf"pip install tensorrt-rtx-cu13 && {COMMAND} --runtime tensorrt-rtx"
H100 = Gpu("NVIDIA H100", "9.0", "13.0")


def test_what_is_said_of_tensorrt_for_rtx_is_what_it_has(rtx: ModuleType) -> None:
    known = supported_capabilities(rtx)
    assert known == RTX_CAPABILITIES
    assert rtx_targets("TensorRT for RTX", known, [], COMMAND) == ("8.6", "8.9", "12.0")


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(ExportError, match="expected one of tensorrt, tensorrt-rtx"):
        import_library("onnxruntime", COMMAND)


def test_a_tensorrt_too_old_is_refused_with_the_command_that_renews_it() -> None:
    with pytest.raises(ExportError, match=rf"TensorRT 8\.6\.1 is too old.*pip install -U tensorrt && {COMMAND}"):
        require_version("8.6.1", COMMAND)
    require_version("10.0.1", COMMAND)


@pytest.mark.parametrize("reason", ["no NVIDIA driver is installed", "the NVIDIA driver finds no GPU it can use"])
def test_tensorrt_without_a_gpu_is_refused_with_the_command_that_works(reason: str) -> None:
    with pytest.raises(ExportError, match=rf"{reason}.*{BY_RTX} --compute-capability 8\.9$"):
        own_target("TensorRT 11.0", reason, ["8.9"], COMMAND)
    with pytest.raises(ExportError, match=rf"{reason}.* on the machine that has the GPU$"):
        own_target("TensorRT 11.0", reason, ["9.0"], COMMAND)


def test_tensorrt_builds_for_its_own_gpu_only() -> None:
    assert own_target("TensorRT 11.0", H100, [], COMMAND) == ("9.0",)
    assert own_target("TensorRT 11.0", H100, ["9.0"], COMMAND) == ("9.0",)
    refusal = rf"NVIDIA H100 of capability 9\.0, not for 8\.6: {COMMAND} --runtime tensorrt\. Or for 8\.6: {BY_RTX}"
    with pytest.raises(ExportError, match=refusal):
        own_target("TensorRT 11.0", H100, ["8.6"], COMMAND)


def test_the_command_that_works_has_the_timing_cache_where_it_is_tensorrts() -> None:
    cached = r"--timing-cache 'a b'"
    with pytest.raises(
        ExportError, match=rf"not for 8\.6: {COMMAND} --runtime tensorrt {cached}\. Or .*tensorrt-rtx"
    ) as own:
        own_target("TensorRT 11.0", H100, ["8.6"], COMMAND, Path("a b"))
    assert str(own.value).count("--timing-cache") == 1
    with pytest.raises(ExportError, match=rf"{COMMAND} --runtime tensorrt --compute-capability 9\.0 {cached}$"):
        rtx_targets("TensorRT for RTX", RTX_CAPABILITIES, ["9.0"], COMMAND, Path("a b"))


def test_a_machine_has_a_gpu_or_a_reason_for_none() -> None:
    found = find_gpu()
    assert isinstance(found, Gpu) or "NVIDIA driver" in found


@pytest.mark.parametrize(
    ("asked", "timing_cache", "by_tensorrt", "by_rtx"),
    [
        ([], None, "", ""),
        (["8.6"], Path("a b"), " --compute-capability 8.6 --timing-cache 'a b'", " --compute-capability 8.6"),
        (["8.6", "8.9"], None, "", " --compute-capability 8.6,8.9"),
        (["9.0"], None, " --compute-capability 9.0", None),
    ],
    ids=str,
)
def test_without_tensorrt_the_ways_named_keep_what_was_typed(
    asked: list[str], timing_cache: Path | None, by_tensorrt: str, by_rtx: str | None
) -> None:
    text = str(no_tensorrt(Path("m.onnx"), asked, COMMAND, timing_cache))
    first, *other = text.split("m.onnx can be used. ")[1].split(". Or, on any machine, for GeForce RTX: ")
    assert first.endswith(f"pip install tensorrt && {COMMAND} --runtime tensorrt{by_tensorrt}")
    assert other == (
        [] if by_rtx is None else [f"pip install tensorrt-rtx-cu13 && {COMMAND} --runtime tensorrt-rtx{by_rtx}"]
    )


@pytest.mark.parametrize("text", ["86", "8.6;8.9", "8.6,", "x"])
def test_capabilities_are_numbers(text: str) -> None:
    with pytest.raises(ExportError, match=r"expected numbers like 8\.9, separated by commas"):
        parse_capabilities(text)


def test_a_timing_cache_is_tensorrts_alone(rtx: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="times nothing while it builds: leave out --timing-cache"):
        require_timing_cache(rtx, tmp_path / "t.cache")
    for file in (tmp_path, tmp_path / "nowhere" / "t.cache"):
        with pytest.raises(ExportError, match="expected a file, in a folder that is there"):
            require_timing_cache(None, file)
