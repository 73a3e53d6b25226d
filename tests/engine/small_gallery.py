"""A small gallery of `kill_writer`'s photos, and what its tests do with it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from engine.gallery import Gallery
from tests.engine.kill_writer import SHAPES, block_of, photo_id

ROOT = Path(__file__).parents[2]


def create(path: Path) -> Gallery:
    """An empty gallery of these photos."""
    return Gallery.create(path, shapes=SHAPES, model_fingerprint="abc", model_name="a.pt")


def add(gallery: Gallery, *numbers: int, **columns: Any) -> None:
    """Add photos by their numbers."""
    with gallery.writer() as writer:
        writer.add(block_of(list(numbers)), [photo_id(number) for number in numbers], **columns)


def files_of(path: Path) -> dict[str, bytes]:
    """What every file below a folder holds."""
    return {str(entry.relative_to(path)): entry.read_bytes() for entry in path.rglob("*") if entry.is_file()}


def python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, with the project importable."""
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
