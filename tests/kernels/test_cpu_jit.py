"""What numba compiled is kept on disk for the next process, until a file changes that it may be made of."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from kernels.cpu import jit

KERNEL = """
from small.bounds import SLACK
from small.cpu.jit import kernel
from small.cpu.parts import factor

@kernel
def scaled(value):
    return factor() * value + SLACK
"""
PART = """
from small.cpu.jit import part

@part
def factor():
    return {}
"""
USE = """
from small.cpu.kernel import scaled
print(scaled(7.0), sum(scaled.stats.cache_hits.values()))
"""


def used(folder: Path) -> list[str]:
    """The kernel's result in a process of its own, and how many versions of it came from the disk."""
    done = subprocess.run(
        [sys.executable, "-c", USE],
        env=os.environ | {"PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_a_change_of_an_inlined_part_or_a_constant_is_never_missed(tmp_path: Path) -> None:
    """Numba itself looks at the kernel's own file alone, and would go on with an old bound where its slack grew."""
    package = tmp_path / "small" / "cpu"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    shutil.copy(jit.__file__, package / "jit.py")
    (package / "kernel.py").write_text(KERNEL)
    (package / "parts.py").write_text(PART.format("2.0"))
    (package.parent / "bounds.py").write_text("SLACK = 0.0")
    assert used(tmp_path) == ["14.0", "0"]
    assert used(tmp_path) == ["14.0", "1"]
    (package / "parts.py").write_text(PART.format("30.0"))
    assert used(tmp_path) == ["210.0", "0"]
    assert used(tmp_path) == ["210.0", "1"]
    (package.parent / "bounds.py").write_text("SLACK = 0.25")
    assert used(tmp_path) == ["210.25", "0"]
