"""Where the kernels can run, found out without importing Triton."""

import os
import shutil
import sysconfig
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path

import torch

OLDEST_CAPABILITY = (8, 0)
"""Ampere: bfloat16 and tf32 tensor cores."""


def interpreted() -> bool:
    """Whether Triton interprets kernels on the CPU instead of compiling them: decided when Triton is imported."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def why_not(device: torch.device) -> str | None:
    """Why the kernels can't run on tensors of `device`, or None. CPU tensors need Triton's interpreter."""
    if find_spec("triton") is None:
        return "the package triton is missing; install mlrm-engine[gpu] (Linux)"
    if device.type == "cpu":
        return None if interpreted() else "its kernels need an NVIDIA GPU; move the tensors there, or use impl='cpu'"
    if device.type != "cuda" or torch.version.hip is not None:
        return "its kernels and their error bounds are made for NVIDIA GPUs; use impl='reference'"
    if not torch.cuda.is_available():
        return "PyTorch finds no CUDA device; check the driver and that PyTorch was built for CUDA"
    if missing := why_no_launcher():
        return missing
    if torch.cuda.get_device_capability(device) < OLDEST_CAPABILITY:
        found, needed = (".".join(map(str, c)) for c in (torch.cuda.get_device_capability(device), OLDEST_CAPABILITY))
        return f"its compute capability is {found}; the kernels need {needed} or newer; use impl='reference'"
    return None


def why_no_launcher() -> str | None:
    """Why Triton could not launch a kernel here, or None: it compiles a small C file against Python's header first."""
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton finds no C compiler to launch kernels with; apt install gcc"
    scheme = sysconfig.get_default_scheme()
    paths = sysconfig.get_paths("posix_prefix" if scheme == "posix_local" else scheme)  # as Triton does
    if not (Path(paths["include"]) / "Python.h").is_file():
        return "Triton finds no Python.h to launch kernels with; apt install python3-dev"
    return None


def current(device: torch.device) -> AbstractContextManager[object]:
    """Makes `device` the one that kernels are launched on."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
