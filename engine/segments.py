"""Segments: the immutable parts of a gallery, one file each in the safetensors format. No torch here.

A segment of N photos with R regions, L levels of C_l channels and maps of h x w cells holds

    level_0 .. level_{L-1}   F16 [N, R, C_l]
    region_weights           F32 [N, R]
    level_weights            F32 [N, R, L]
    maps                     U8  [N, R, h, w]    round(255 * map)

One file, because a reader keeps it mapped, and each map takes one of the few open files that a process may have.
It is written aside, flushed and renamed. Until the catalogue names it, it does not exist for readers; after
that it never changes.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import secrets
import shlex
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from engine.errors import GalleryCorruptError, GalleryError
from engine.features import Array, FeatureBlock, FeatureShapes
from engine.tensor_file import read_header, write_tensors

SUFFIX = ".safetensors"
_TEMPORARY_PREFIX = ".tmp-"
_HASH_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class StoredSegment:
    """One segment, as the catalogue remembers it: ``rows`` photos in a file of so many bytes with this SHA-256."""

    name: str
    rows: int
    bytes: int
    sha256: str

    def path(self, directory: Path) -> Path:
        """The segment's file."""
        return directory / f"{self.name}{SUFFIX}"


class _HashingFile:
    """Counts and hashes what passes through to ``file``, so that no array is read or copied a second time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        self.sha256.update(data)
        self.bytes += self._file.write(data)


def write_segment(directory: Path, block: FeatureBlock) -> StoredSegment:
    """Write ``block`` (as :meth:`FeatureBlock.encoded` gives it) as a new segment under ``directory``.

    On return the segment is on the disk, whatever happens next. A failure leaves nothing behind; a kill
    leaves at most a file that :func:`remove_orphans` removes. Raises OSError.
    """
    temporary = directory / f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as file:
            hashing = _HashingFile(file)
            write_tensors(hashing.write, block.arrays())
            file.flush()
            os.fsync(file.fileno())
        stored = StoredSegment(secrets.token_hex(8), len(block), hashing.bytes, hashing.sha256.hexdigest())
        temporary.rename(stored.path(directory))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(directory)
    return stored


def sync_directory(path: Path) -> None:
    """Flush a directory's entries to the disk (Windows can't, and needs no such call)."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def segment_files(directory: Path) -> Iterator[Path]:
    """The files of all segments under ``directory``, whether a catalogue names them or not."""
    return directory.glob(f"[!.]*{SUFFIX}")


def remove_orphans(directory: Path, keep: Collection[str]) -> None:
    """Delete what killed writers left under ``directory``: every segment not named in ``keep``. Raises OSError."""
    for path in (*directory.glob(f"{_TEMPORARY_PREFIX}*"), *segment_files(directory)):
        if path.stem not in keep:
            _delete(path)


def delete_segment(directory: Path, stored: StoredSegment) -> None:
    """Delete the file of a segment that the catalogue no longer names; raises GalleryError."""
    try:
        _delete(stored.path(directory))
    except OSError as error:
        raise GalleryError(f"can't delete {stored.path(directory)}: {error}; the next writer will try again") from error


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        if os.name != "nt":  # Windows keeps a file that a reader has mapped; the next writer tries again
            raise


def open_segment(directory: Path, stored: StoredSegment, shapes: FeatureShapes) -> FeatureBlock:
    """Memory-map a segment, read-only; its arrays share one map and one file descriptor.

    Raises:
        GalleryCorruptError: the file is missing, has another size than the catalogue recorded, or does not hold
            the expected arrays.
        OSError: the system refuses the file or the map.
    """
    path = stored.path(directory)
    if (fault := _wrong_length(path, stored)) is not None:
        raise _corrupt(path, fault)
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:  # deleted since its length was asked for
        raise _corrupt(path, "it is missing") from error
    try:
        found = read_header(mapped)
    except ValueError as error:
        raise _corrupt(path, str(error)) from error
    arrays: dict[str, Array] = {}
    for name, (dtype, shape) in _layout(stored.rows, shapes).items():
        if (tensor := found.get(name)) is None:
            raise _corrupt(path, f"it holds no {name}")
        if (tensor.dtype, tensor.shape) != (dtype, shape):
            raise _corrupt(path, f"its {name} is {tensor.dtype} {tensor.shape}, expected {dtype} {shape}")
        arrays[name] = np.frombuffer(mapped, dtype, tensor.size, tensor.start).reshape(shape)
    levels = tuple(arrays[f"level_{index}"] for index in range(len(shapes.level_dims)))
    return FeatureBlock(levels, arrays["region_weights"], arrays["level_weights"], arrays["maps"])


def map_of(array: Array) -> mmap.mmap | None:
    """The map that an array of :func:`open_segment` lies in; None for an array that lies in memory."""
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    return owner if isinstance(owner, mmap.mmap) else None


def verify_segment(directory: Path, stored: StoredSegment) -> None:
    """Read every byte of a segment; raises GalleryCorruptError if one has changed, and OSError."""
    if (fault := find_fault(directory, stored)) is not None:
        raise _corrupt(stored.path(directory), fault)


def find_fault(directory: Path, stored: StoredSegment) -> str | None:
    """Read every byte of a segment, and say how it differs from what the catalogue recorded, if so; raises OSError."""
    path, sha256 = stored.path(directory), hashlib.sha256()
    if (fault := _wrong_length(path, stored)) is not None:
        return fault
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK):
            sha256.update(chunk)
    found = sha256.hexdigest()
    return None if found == stored.sha256 else f"its SHA-256 is {found}, expected {stored.sha256}"


def place_segment(stored: StoredSegment, source: Path, target: Path) -> None:
    """Put a segment that lies in one directory into another one too, in place of a damaged file of its name.

    By a hard link where the file system allows it, else by a copy that is on the disk on return; the caller flushes
    the directory. Raises GalleryCorruptError for a file that is missing or of another length, and OSError.
    """
    original, temporary = stored.path(source), target / f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    if (fault := _wrong_length(original, stored)) is not None:
        raise _corrupt(original, fault)
    try:
        try:
            temporary.hardlink_to(original)
        except OSError:  # another file system, or one without hard links
            with original.open("rb") as reading, temporary.open("xb") as writing:
                shutil.copyfileobj(reading, writing, _HASH_CHUNK)
                writing.flush()
                os.fsync(writing.fileno())
        temporary.replace(stored.path(target))
    finally:
        temporary.unlink(missing_ok=True)


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


def _wrong_length(path: Path, stored: StoredSegment) -> str | None:
    """What is wrong with a segment's file as far as its length tells; raises OSError."""
    try:
        actual = path.stat().st_size
    except FileNotFoundError:
        return f"it is missing, expected {stored.bytes} bytes"
    return None if actual == stored.bytes else f"it has {actual} bytes, expected {stored.bytes}"


def _corrupt(path: Path, fault: str) -> GalleryCorruptError:
    gallery = shlex.quote(str(path.parent.parent))
    return GalleryCorruptError(
        f"segment file {path}: {fault}. `python -m engine verify --gallery {gallery}` leaves it out, so that the rest "
        "can be searched, and says how to repair it"
    )
