"""Memory that a step freed is there for the next: counted in page faults, each in a process of its own."""

import subprocess
import sys

import pytest

from mlrm.freed_memory import keep_freed_memory

STEPS = """
import resource, sys
import torch
from mlrm.freed_memory import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit("not glibc")
side = torch.ones(3000, 3000, requires_grad=True)  # 36 MB: mapped on its own by default
def step():
    (side * 2).exp().sum().backward()  # backward allocates in autograd's thread
    side.grad = None
step()
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Page faults of the third of three equal steps."""
    done = subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults of glibc")
def test_a_step_takes_the_memory_of_the_one_before() -> None:
    pages = 36_000_000 // 4096
    assert faults("keep") < pages / 10
    assert faults("leave") > pages  # without which the module had no use


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
