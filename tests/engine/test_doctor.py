"""The doctor finds what works, what doesn't, and other packages that have our names."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from engine import doctor
from engine.cli import app
from engine.doctor import Finding, examine

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
    assert findings["search on the CPU"].works is True
    monkeypatch.setattr(
        "kernels.ops.distance_topk", lambda query, gallery, k: (None, torch.zeros(len(query), k, dtype=torch.int64))
    )
    broken = {finding.name: finding for finding in examine()}["search on the CPU"]
    assert broken.works is False
    assert "of 10 ranks of 1 sketches are wrong" in broken.text


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
    class Distribution:
        def __init__(self, name: str) -> None:
            self.metadata = {"Name": name}

    both = [Distribution("onnxruntime"), Distribution("onnxruntime-gpu")]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: both)
    assert doctor._onnxruntime_clash().works is False
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: both[1:])
    assert doctor._onnxruntime_clash().works is True


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
