"""Whether the runtimes of exported models work here: each is imported, and where it runs on a CPU it runs a graph.

That a package is listed as installed says little: the two builds of ONNX Runtime share a folder, and taking one of them
away leaves the other listed, and broken.
"""

import contextlib
import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.finding import Finding, tried

TWICE = bytes.fromhex(
    "08083a390a0e0a01780a01781201792203416464120574776963655a0f0a0178120a0a08080112040a020801620f0a0179120a0a0808011204"
    "0a02080142040a001012"
)
"""An ONNX file: y = x + x of one float32. Spelt out, because the package `onnx`, which writes them, may be missing."""


def examine_runtimes() -> list[Finding]:
    """What is installed of ONNX Runtime, OpenVINO and both TensorRTs, tried; nothing of what isn't."""
    findings = [_onnxruntime_clash()]
    if builds := [name for name in ("onnxruntime", "onnxruntime-gpu") if installed_version(name)]:
        findings.append(_run("ONNX Runtime", builds[0], _by_onnxruntime))
        if torch.cuda.is_available():
            findings.append(_onnxruntime_on_a_gpu(builds[-1]))
    if installed_version("openvino"):
        findings.append(_run("OpenVINO", "openvino", _by_openvino))
    for name, package, module in (
        ("TensorRT", "tensorrt", "tensorrt"),
        ("TensorRT for RTX", "tensorrt-rtx-cu13", "tensorrt_rtx"),
    ):
        if installed_version(package):
            findings.append(_run(name, package, partial(_imported, module)))
    return findings


def _run(name: str, package: str, attempt: Callable[[], str]) -> Finding:
    return tried(name, attempt, f"pip install --force-reinstall --no-deps {package}=={installed_version(package)}")


def _onnxruntime_on_a_gpu(build: str) -> Finding:
    name = "ONNX Runtime on a GPU"
    if build == "onnxruntime":
        return Finding(name, None, "only the build for CPUs is installed: PyTorch or TensorRT encode on the GPU")
    return _run(name, build, _by_onnxruntime_on_a_gpu)


def _onnxruntime_clash() -> Finding:
    if installed_version("onnxruntime") and installed_version("onnxruntime-gpu"):
        wanted = "onnxruntime-gpu" if torch.cuda.is_available() else "onnxruntime"
        return Finding(
            "onnxruntime",
            False,
            "onnxruntime and onnxruntime-gpu share a folder and break each other: "
            f"pip uninstall -y onnxruntime onnxruntime-gpu && pip install {wanted}",
        )
    return Finding("onnxruntime and -gpu", True, "not both installed")


def _by_onnxruntime() -> str:
    import onnxruntime

    session = onnxruntime.InferenceSession(TWICE, providers=["CPUExecutionProvider"])
    _require_twice(session.run(None, {"x": np.ones(1, np.float32)})[0])
    return f"{onnxruntime.__version__} ran a graph"


def _by_onnxruntime_on_a_gpu() -> str:
    import onnxruntime

    from engine.encoders.onnx_encoder import PROVIDERS, require_available, require_same

    require_available(PROVIDERS["cuda"])
    with contextlib.redirect_stdout(sys.stderr):
        onnxruntime.preload_dlls()  # it prints
    session = onnxruntime.InferenceSession(TWICE, providers=[PROVIDERS["cuda"]], enable_fallback=0)
    require_same(PROVIDERS["cuda"], session.get_providers())
    _require_twice(session.run(None, {"x": np.ones(1, np.float32)})[0])
    return f"{onnxruntime.__version__} ran a graph"


def _by_openvino() -> str:
    import openvino

    core = openvino.Core()
    _require_twice(core.compile_model(core.read_model(TWICE), "CPU")({"x": np.ones(1, np.float32)})[0])
    return f"{openvino.__version__} ran a graph"


def _imported(module: str) -> str:
    """Engines are of one GPU, so none is at hand to run; `export.to_trt` says what is missing to build one."""
    version: str = importlib.import_module(module).__version__
    return f"{version} can be imported"


def _require_twice(found: NDArray[Any]) -> None:
    if found.tolist() != [2.0]:
        raise RuntimeError(f"1 + 1 is {found.tolist()}")


def installed_version(package: str) -> str | None:
    """The version that pip has a package listed with; None where it has none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
