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


def package_in(folder: Path) -> Path:
    """A package with this one's compiler."""
    package = folder / "small" / "cpu"
    package.mkdir(parents=True)
    for one in (package, package.parent):
        (one / "__init__.py").touch()
    shutil.copy(jit.__file__, package / "jit.py")
    return package


def used(folder: Path, program: str = USE) -> list[str]:
    """The kernel's result in a process of its own, and how many versions of it came from the disk."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_a_change_of_an_inlined_part_or_a_constant_is_never_missed(tmp_path: Path) -> None:
    """Numba itself looks at the kernel's own file alone, and would go on with an old bound where its slack grew."""
    package = package_in(tmp_path)
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


TUPLE = """
from typing import NamedTuple
from small.cpu.jit import kernel

class {0}(NamedTuple):
    value: float

@kernel
def tripled(given):
    return 3.0 * given.value

Given = {0}
"""
USE_TUPLE = """
from small.cpu.kernel import Given, tripled
print(tripled(Given(2.0)), sum(tripled.stats.cache_hits.values()))
"""


def test_what_was_compiled_for_a_type_that_is_gone_is_compiled_anew(tmp_path: Path) -> None:
    """Numba unpickles the types of what it kept, and would fail in every call after an update that renames one."""
    package = package_in(tmp_path)
    for name, hits in (("Old", "0"), ("Old", "1"), ("New", "0"), ("New", "1")):
        if hits == "0":
            (package / "kernel.py").write_text(TUPLE.format(name))
        assert used(tmp_path, USE_TUPLE) == ["6.0", hits]
