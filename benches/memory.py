"""Memory that a search holds at its peak beside what was there before, by the system's or the GPU's own count."""

import ctypes
import gc
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Counts from its creation: `reset` before the part whose peak is asked for, `peak` after it.

    On a CPU this is Linux's high-water mark of the process less the pages of mapped files, which the system may drop.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        _give_back()
        self._before = self._held()

    def reset(self) -> None:
        """Forget earlier peaks."""
        _give_back()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif _RESET.exists():
            _RESET.write_text("5")

    def peak(self) -> int | None:
        """Bytes at the peak since `reset` beyond those at creation; None where the system doesn't count."""
        if self._before is None:
            return None
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) - self._before
        return max(0, _status("VmHWM") - _status("RssFile") - self._before)

    def _held(self) -> int | None:
        if self._device.type == "cuda":
            return torch.cuda.memory_allocated(self._device)
        return _status("VmRSS") - _status("RssFile") if _STATUS.exists() else None


def _give_back() -> None:
    """To the system, what is freed and glibc kept: held since an earlier peak, and handed out again uncounted."""
    gc.collect()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def free_bytes(device: torch.device) -> int:
    """What a search may take: nine tenths of what is free on a GPU, half of it on a CPU, which others use too."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] * 9 // 10
    lines = Path("/proc/meminfo").read_text().splitlines() if _STATUS.exists() else []
    available = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return available[0] // 2 if available else 8 << 30


def _status(field: str) -> int:
    """A field of the process's status, in bytes."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)
