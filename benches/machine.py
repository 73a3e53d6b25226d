"""What this machine can do, measured in the same run as the searches: memory bandwidth and matrix rates."""

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

import torch

from benches.cuda_timer import CudaTimer
from mlrm.devices import computes_bfloat16

PACKAGES = ("torch", "numpy", "triton", "numba", "numkong", "pykeops", "faiss-cpu", "onnxruntime", "openvino")
PROBED_BYTES = {"cpu": 512 << 20, "cuda": 2 << 30}
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
MATRIX_TYPES = {"cpu": ("float32", "bfloat16"), "cuda": ("float32", "bfloat16", "float16")}
ROUNDS = 8


@dataclass(frozen=True)
class Machine:
    """A device and what it was measured to reach.

    bandwidth: bytes/s of "read" and "copy" (bytes read and written). matrix: flop/s of square products, by
    type. environment: versions, threads, date.
    """

    device: str
    device_type: str
    bandwidth: dict[str, float]
    matrix: dict[str, float]
    environment: dict[str, str]

    @property
    def bandwidth_kind(self) -> str:
        """The bandwidth that shares are of: on a CPU of reading, which is what a search does; on a GPU of copying."""
        return "read" if self.device_type == "cpu" else "copy"

    @property
    def matrix_kind(self) -> str:
        """The type that shares of the matrix rate are of: the fastest one measured, float16 first on a GPU."""
        return "float16" if "float16" in self.matrix else max(self.matrix, key=lambda kind: self.matrix[kind])


def measure(device: torch.device) -> Machine:
    """Measure the device now; takes some seconds."""
    probed, side = PROBED_BYTES[device.type], MATRIX_SIDE[device.type]
    source = torch.ones(probed // 4, device=device)
    target = torch.empty_like(source)
    read = min(_seconds(source.sum, device), _seconds(source.amax, device))
    bandwidth = {"read": probed / read, "copy": 2 * probed / _seconds(lambda: target.copy_(source), device)}
    matrix = {}
    for name in MATRIX_TYPES[device.type]:
        if name == "bfloat16" and not computes_bfloat16(device):
            continue  # emulated, at a hundredth of float32's rate
        square = torch.rand(side, side, device=device).to(getattr(torch, name))
        matrix[name] = 2 * side**3 / _seconds(partial(torch.mm, square, square), device)
    return Machine(device_name(device), device.type, bandwidth, matrix, _environment())


def measure_again(before: Machine, device: torch.device) -> Machine:
    """`before` with the faster of its rates and those of now: a bad moment lowers no roof.

    The environment tells both bandwidths, and so how steady the machine was.
    """
    after = measure(device)
    both = " and ".join(f"{one.bandwidth[one.bandwidth_kind] / 1e9:.1f} GB/s" for one in (before, after))
    return replace(
        before,
        bandwidth={kind: max(rate, after.bandwidth[kind]) for kind, rate in before.bandwidth.items()},
        matrix={kind: max(rate, after.matrix[kind]) for kind, rate in before.matrix.items()},
        environment=before.environment | {f"{before.bandwidth_kind} bandwidth at the start and the end": both},
    )


def _seconds(function: Callable[[], object], device: torch.device) -> float:
    """The fastest of some runs."""
    clock = CudaTimer(device).read if device.type == "cuda" else perf_counter
    function()
    seconds = []
    for _ in range(ROUNDS):
        begin = clock()
        function()
        seconds.append(clock() - begin)
    return min(seconds)


def device_name(device: torch.device) -> str:
    """The GPU or the processor, and the number of threads.

    A virtual machine may call several generations by one name, so vectors other than AVX-512 are part of it.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"{model}{'' if vectors == 'AVX512' else f' ({vectors})'}, {torch.get_num_threads()} threads"


def _environment() -> dict[str, str]:
    found = {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "system": f"{platform.system()} {platform.machine()}"}
    found |= {"python": platform.python_version(), "threads": str(torch.get_num_threads())}
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
