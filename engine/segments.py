"""Segments: the immutable parts of a gallery, one directory of ``.npy`` files each.

A segment of N photos with R regions, L levels of C_l channels and maps of h x w cells holds

    level_0.npy .. level_{L-1}.npy   float16 [N, R, C_l]
    region_weights.npy               float32 [N, R]
    level_weights.npy                float32 [N, R, L]
    maps.npy                         uint8   [N, R, h, w]    round(255 * map)

It is written aside, flushed and renamed. Until the catalogue names it, it does not exist for readers; after
that it never changes. No torch here.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from engine.errors import GalleryCorruptError
from engine.features import Array, FeatureBlock, FeatureShapes

_TEMPORARY_PREFIX = ".tmp-"
_HASH_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class StoredFile:
    """One file of a segment, as the catalogue remembers it."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class StoredSegment:
    """One segment, as the catalogue remembers it: ``rows`` photos, files by name."""

    name: str
    rows: int
    files: dict[str, StoredFile]


class _HashingFile:
    """Hashes what passes through to ``file``, so that no array is read or copied a second time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self._file.write(data)


def write_segment(directory: Path, block: FeatureBlock) -> StoredSegment:
    """Write ``block`` (as :meth:`FeatureBlock.encoded` gives it) as a new segment under ``directory``.

    On return the segment is on the disk, whatever happens next. A failure leaves nothing behind; a kill
    leaves at most a directory that :func:`remove_orphans` removes. Raises OSError.
    """
    temporary = directory / f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    temporary.mkdir()
    try:
        files = {
            f"{name}.npy": _write_array(temporary / f"{name}.npy", array) for name, array in block.arrays().items()
        }
        sync_directory(temporary)
        segment = directory / secrets.token_hex(8)
        temporary.rename(segment)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_directory(directory)
    return StoredSegment(name=segment.name, rows=len(block), files=files)


def _write_array(path: Path, array: Array) -> StoredFile:
    with path.open("wb") as file:
        hashing = _HashingFile(file)
        np.lib.format.write_array(hashing, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
        return StoredFile(bytes=file.tell(), sha256=hashing.sha256.hexdigest())


def sync_directory(path: Path) -> None:
    """Flush a directory's entries to the disk (Windows can't, and needs no such call)."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_orphans(directory: Path, keep: Collection[str]) -> None:
    """Delete what killed writers left under ``directory``: every segment not named in ``keep``."""
    for entry in directory.iterdir():
        if entry.is_dir() and entry.name not in keep:
            shutil.rmtree(entry)


def open_segment(directory: Path, stored: StoredSegment, shapes: FeatureShapes) -> FeatureBlock:
    """Memory-map a segment, read-only.

    Raises:
        GalleryCorruptError: a file is missing, has another size than the catalogue recorded, or is not an
            array of the expected shape and dtype.
    """
    arrays = {}
    for name, (dtype, shape) in _layout(stored.rows, shapes).items():
        path = directory / stored.name / f"{name}.npy"
        _check_size(path, stored.files.get(path.name))
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise _corrupt(path, f"it is not a NumPy array ({error})") from error
        if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
            raise _corrupt(path, f"it holds {array.dtype} {array.shape}, expected {dtype} {shape}")
        arrays[name] = array
    levels = tuple(arrays[f"level_{index}"] for index in range(len(shapes.level_dims)))
    return FeatureBlock(levels, arrays["region_weights"], arrays["level_weights"], arrays["maps"])


def verify_segment(directory: Path, stored: StoredSegment) -> None:
    """Read every byte of a segment; raises GalleryCorruptError naming the file that has changed."""
    for name, recorded in stored.files.items():
        path = directory / stored.name / name
        _check_size(path, recorded)
        sha256 = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_HASH_CHUNK):
                sha256.update(chunk)
        if sha256.hexdigest() != recorded.sha256:
            raise _corrupt(path, f"its SHA-256 is {sha256.hexdigest()}, expected {recorded.sha256}")


def _layout(rows: int, shapes: FeatureShapes) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    regions, levels = shapes.regions, len(shapes.level_dims)
    layout: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
        f"level_{index}": (np.dtype("<f2"), (rows, regions, channels))
        for index, channels in enumerate(shapes.level_dims)
    }
    layout["region_weights"] = (np.dtype("<f4"), (rows, regions))
    layout["level_weights"] = (np.dtype("<f4"), (rows, regions, levels))
    layout["maps"] = (np.dtype(np.uint8), (rows, regions, *shapes.map_size))
    return layout


def _check_size(path: Path, recorded: StoredFile | None) -> None:
    if recorded is None:
        raise _corrupt(path, "the catalogue does not record it")
    try:
        actual = path.stat().st_size
    except FileNotFoundError as error:
        raise _corrupt(path, f"it is missing, expected {recorded.bytes} bytes") from error
    if actual != recorded.bytes:
        raise _corrupt(path, f"it has {actual} bytes, expected {recorded.bytes}")


def _corrupt(path: Path, fault: str) -> GalleryCorruptError:
    return GalleryCorruptError(
        f"segment file {path}: {fault}. Restore it from a backup, or index the photos again into a new gallery"
    )
