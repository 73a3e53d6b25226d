"""Memory that a step freed is there for the next: counted in page faults, each in a process of its own."""

import platform
import subprocess
import sys

import pytest

from mlrm.freed_memory import keep_freed_memory

STEPS = """
import resource, sys
import torch
from mlrm.freed_memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
side = torch.ones(3000, 3000, requires_grad=True)  # 36 MB: mapped on its own by default
def step():
    (side * 2).exp().sum().backward()  # backward allocates in autograd's thread
    side.grad = None
counts = []
for _ in range(10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(counts))
"""


def faults(how: str) -> int:
    """Page faults of that of ten equal steps which has the fewest: the first ones find their places in the heap."""
    done = subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library isn't glibc")
def test_a_step_takes_the_memory_of_the_one_before() -> None:
    """By default it takes all of it anew, in pages of whatever size."""
    assert faults("keep") < faults("leave") / 10


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
