"""Which of several encoders of the same weights is the fastest on this machine: measured once, then remembered."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from engine.encoders import Encoder

WARM_UP, ROUNDS = 2, 7
PAUSE = 0.02
"""Seconds. A runtime's threads go on waiting for work after a call, and the next encoder would share its cores with
them: OpenVINO right after ONNX Runtime took twice its time."""


@dataclass(frozen=True)
class Race:
    """Median milliseconds for one sketch, by backend."""

    milliseconds: dict[str, float]

    @property
    def winner(self) -> str:
        """The fastest."""
        return min(self.milliseconds, key=lambda name: self.milliseconds[name])


def memory_file() -> Path:
    """Where races are remembered: a user's cache folder, as `XDG_CACHE_HOME` names it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlrm-engine" / "backends.json"


def race_key(model: str, runtimes: Sequence[str], device: torch.device) -> str:
    """What a race's result holds for: the model's hash, what runs it, the processor or GPU, the CPUs it may use.

    runtimes: of the backends, with their versions and type of device (`Backend.runtime`).
    """
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    parts = [model, *sorted(runtimes), where, f"{usable_cpus()} CPUs"]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def usable_cpus() -> int:
    """The processors that this process may use: a container or `taskset` may leave it fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def remembered(key: str) -> Race | None:
    """The race of that key, if it was run on this machine."""
    found: Any = _read().get(key)
    try:
        race = Race({str(name): float(ms) for name, ms in found["milliseconds"].items()})
    except (TypeError, KeyError, AttributeError, ValueError):
        return None  # not there, or written by something else: it is run again
    return race if race.milliseconds else None


def run_race(key: str, encoders: Mapping[str, Encoder]) -> Race:
    """Time every encoder on single images, in turns, and remember the result."""
    size = next(iter(encoders.values())).image_size
    image = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(WARM_UP + ROUNDS):
        for name, encoder in encoders.items():  # in turns: what else the machine does strikes all of them
            time.sleep(PAUSE)
            encoder.encode(image, "sketch")
            started = time.perf_counter()
            encoder.encode(image, "sketch")
            seconds[name].append(time.perf_counter() - started)
    race = Race({name: 1e3 * median(times[WARM_UP:]) for name, times in seconds.items()})
    _remember(key, race)
    return race


def _read() -> dict[str, Any]:
    try:
        found = json.loads(memory_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember(key: str, race: Race) -> None:
    file = memory_file()
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    # A home that can't be written to costs a second at every start, and no result.
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(_read() | {key: {"milliseconds": race.milliseconds}}, indent=1), encoding="utf-8")
        partial.replace(file)


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    # The flags too: a virtual machine may hide some of what a processor of that name can do.
    found = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "flags"))]
    return " ".join(found[:2]) or platform.processor() or platform.machine()
