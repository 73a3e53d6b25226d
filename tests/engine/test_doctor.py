"""The doctor finds what works, what doesn't, and other packages that have our names."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from engine import doctor, runtimes
from engine.cli import app
from engine.doctor import _processor, examine
from engine.finding import Finding

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def findings() -> dict[str, Finding]:
    return {finding.name: finding for finding in examine()}


def test_versions_are_those_installed(findings: dict[str, Finding]) -> None:
    for package in ("torch", "numpy", "pillow", "safetensors"):
        assert findings[package] == Finding(package, True, importlib.metadata.version(package))


def test_what_is_not_installed_says_what_it_would_be_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    found = {finding.name: finding for finding in examine()}
    assert found["numpy"] == Finding("numpy", False, "not installed: pip install numpy")
    assert found["matplotlib"] == Finding("matplotlib", None, "not installed, for training (extra train)")
    assert found["triton"] == Finding("triton", None, "not installed, for search on a GPU (extra gpu)")
    assert found["tensorrt"] == Finding("tensorrt", None, "not installed, to build engines (extra trt)")


def test_what_is_installed_says_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.2")
    found = {finding.name: finding for finding in examine()}
    assert found["fastapi"] == Finding("fastapi", True, "1.2, for the service (extra serve)")
    assert found["onnx"] == Finding("onnx", True, "1.2, for export (extra onnx)")
    assert found["matplotlib"] == Finding("matplotlib", True, "1.2, for training (extra train)")


def test_the_search_was_really_run(findings: dict[str, Finding], monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings["processor"].works is True
    assert findings["search on the CPU"].works is True
    monkeypatch.setattr(
        "kernels.ops.distance_topk", lambda query, gallery, k: (None, torch.zeros(len(query), k, dtype=torch.int64))
    )
    broken = {finding.name: finding for finding in examine()}["search on the CPU"]
    assert broken.works is False
    assert "of 10 ranks of 1 sketches are wrong" in broken.text


@pytest.mark.parametrize(("product", "expected"), [("avx2", "by AVX2"), (None, "no integer product")])
def test_the_processor_is_named_by_what_searches_use_of_it(
    monkeypatch: pytest.MonkeyPatch, product: str | None, expected: str
) -> None:
    monkeypatch.setattr("kernels.cpu.products.fastest", lambda: product)
    assert expected in _processor()


def test_the_gpu_is_tried_or_said_to_be_missing(findings: dict[str, Finding]) -> None:
    if torch.cuda.is_available():
        assert any(name.startswith("search on cuda:0") and found.works for name, found in findings.items())
    else:
        assert findings["GPU"] == Finding("GPU", None, f"torch {torch.__version__} sees none")


def test_a_missing_model_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mlrm.checkpoint.SHIPPED", tmp_path / "nowhere.safetensors")
    found = {finding.name: finding for finding in examine()}["shipped model"]
    assert found.works is False
    assert "CheckpointError: no checkpoint at" in found.text


def test_both_onnxruntimes_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    def only(*names: str) -> Finding:
        installed(monkeypatch, *names)
        return runtimes.examine_runtimes()[0]

    both = only("onnxruntime", "onnxruntime-gpu")
    wanted = "onnxruntime-gpu" if torch.cuda.is_available() else "onnxruntime"
    assert both.works is False
    assert both.text.endswith(f": pip uninstall -y onnxruntime onnxruntime-gpu && pip install {wanted}")
    assert only("onnxruntime-gpu").works is True


def test_onnxruntime_for_cpus_beside_a_gpu_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "onnxruntime")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (found,) = [one for one in runtimes.examine_runtimes() if one.name == "ONNX Runtime on a GPU"]
    assert found.works is None
    assert "only the build for CPUs is installed" in found.text


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let packages be listed as installed, and no others."""

    def version(name: str) -> str:
        if name not in names:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.2"

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_every_runtime_that_is_installed_was_tried(findings: dict[str, Finding]) -> None:
    for name, package, done in (
        ("ONNX Runtime", "onnxruntime", "ran a graph"),
        ("OpenVINO", "openvino", "ran a graph"),
        ("TensorRT for RTX", "tensorrt-rtx-cu13", "can be imported"),
    ):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            assert name not in findings
        else:
            assert findings[name].works is True
            assert findings[name].text.endswith(done)


@pytest.mark.parametrize(
    ("name", "package", "module"),
    [
        ("ONNX Runtime", "onnxruntime", "onnxruntime"),
        ("OpenVINO", "openvino", "openvino"),
        ("TensorRT", "tensorrt", "tensorrt"),
        ("TensorRT for RTX", "tensorrt-rtx-cu13", "tensorrt_rtx"),
    ],
)
def test_a_runtime_of_which_little_is_left_is_found_with_the_command_that_repairs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, package: str, module: str
) -> None:
    """Where two packages share a folder, uninstalling one leaves the other listed, and its folder nearly empty."""
    installed(monkeypatch, package)
    monkeypatch.setitem(sys.modules, module, ModuleType(module))  # as Python imports a folder without its files
    broken = {finding.name: finding for finding in runtimes.examine_runtimes()}[name]
    assert broken.works is False
    assert "AttributeError" in broken.text
    assert broken.text.endswith(f": pip install --force-reinstall --no-deps {package}==1.2")
    monkeypatch.setitem(sys.modules, module, None)  # what Python keeps where an import fails
    broken = {finding.name: finding for finding in runtimes.examine_runtimes()}[name]
    assert broken.works is False
    assert broken.text.endswith(f": pip install --force-reinstall --no-deps {package}==1.2")


def test_a_runtime_that_computes_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", lambda *_: [np.zeros(1)])
    wrong = {finding.name: finding for finding in runtimes.examine_runtimes()}["ONNX Runtime"]
    assert wrong.works is False
    assert "1 + 1 is [0.0]" in wrong.text


def test_our_packages_are_ours(findings: dict[str, Finding]) -> None:
    assert all(findings[f"package {name}"].text == "ours" for name in ("mlrm", "kernels", "engine"))


@pytest.mark.parametrize("content", ["", "raise ImportError('made for another Python')\n"], ids=["other", "broken"])
def test_another_package_called_kernels_is_found_and_named(tmp_path: Path, content: str) -> None:
    """There is one on PyPI. The doctor has to run even then."""
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text(content)
    done = subprocess.run(
        [sys.executable, "-m", "engine", "doctor"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), "COLUMNS": "400"},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    [line] = [line for line in done.stdout.splitlines() if "package kernels" in line]
    assert f"found at {tmp_path / 'kernels'}, expected {ROOT / 'kernels'}" in line
    assert "uninstall it" in line


def test_the_command_shows_all_and_fails_where_something_needed_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def invoke(*findings: Finding) -> tuple[int, str]:
        monkeypatch.setattr(doctor, "examine", lambda: list(findings))
        result = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["doctor"])
        return result.exit_code, result.output

    good, absent, bad = Finding("a", True, "[fine]"), Finding("b", None, "not there"), Finding("c", False, "broken")
    code, text = invoke(good, absent)
    assert code == 0
    assert "[fine]" in text
    assert "not there" in text
    assert invoke(good, bad, absent)[0] == 1
