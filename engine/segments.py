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
import json
import os
import secrets
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.errors import FeatureShapeError, FeatureValueError, GalleryCorruptError

Array = NDArray[Any]

FLOAT16_MAX = 65504.0
_TEMPORARY_PREFIX = ".tmp-"
_HASH_CHUNK = 1 << 20  # bytes
_DIMENSIONS = {"region_weights": 2, "level_weights": 3, "maps": 4}  # a level has 3


@dataclass(frozen=True)
class FeatureShapes:
    """What all photos of a gallery have in common: R, (C_1 .. C_L) and (h, w)."""

    regions: int
    level_dims: tuple[int, ...]
    map_size: tuple[int, int]

    def __post_init__(self) -> None:
        if len(self.map_size) != 2 or min(self.regions, *self.map_size, *(self.level_dims or (0,))) < 1:
            raise FeatureShapeError(
                f"found features of {self}: expected at least one region, one level, one channel a level "
                "and one map cell; check the model that computed them"
            )

    def __str__(self) -> str:
        cells = " x ".join(str(size) for size in self.map_size)
        levels = f"{len(self.level_dims)} levels of {self.level_dims} channels"
        return f"{self.regions} regions, {levels}, maps of {cells}"

    def to_json(self) -> str:
        """Return the shapes as a JSON object."""
        return json.dumps({"regions": self.regions, "level_dims": self.level_dims, "map_size": self.map_size})

    @classmethod
    def from_json(cls, text: str) -> FeatureShapes:
        """Read what :meth:`to_json` wrote; raises KeyError, TypeError or ValueError on anything else."""
        found = json.loads(text)
        height, width = found["map_size"]
        return cls(
            regions=int(found["regions"]),
            level_dims=tuple(int(channels) for channels in found["level_dims"]),
            map_size=(int(height), int(width)),
        )


@dataclass(frozen=True, eq=False)
class FeatureBlock:
    """The features of N photos, before they are stored or as they are stored.

    Args:
        levels: L arrays [N, R, C_l], floating point.
        region_weights: [N, R], floating point, >= 0.
        level_weights: [N, R, L], floating point, >= 0.
        maps: [N, R, h, w], floating point in 0..1, or uint8 (255 is 1).

    Raises:
        FeatureShapeError: the arrays disagree on N, R or L, or have dtypes other than these.
    """

    levels: tuple[Array, ...]
    region_weights: Array
    level_weights: Array
    maps: Array

    def __post_init__(self) -> None:
        for name, array in self.arrays().items():
            kind, dimensions = array.dtype.kind, _DIMENSIONS.get(name, 3)
            if not (kind == "f" or (name == "maps" and array.dtype == np.uint8)):
                expected = "floating point or uint8" if name == "maps" else "floating point"
                raise FeatureShapeError(f"{name} is {array.dtype}; expected {expected}: convert it first")
            if array.ndim != dimensions:
                raise FeatureShapeError(f"{name} has shape {array.shape}; expected {dimensions} dimensions")
        photos, regions = self.region_weights.shape
        expected_weights = (photos, regions, len(self.levels))
        if self.level_weights.shape != expected_weights:
            raise FeatureShapeError(
                f"level_weights has shape {self.level_weights.shape}; expected [N, R, L] = "
                f"{expected_weights}: there are {len(self.levels)} levels, and region_weights is "
                f"[N, R] = {(photos, regions)}"
            )
        for name, array in self.arrays().items():
            if array.shape[:2] != (photos, regions):
                raise FeatureShapeError(
                    f"{name} has shape {array.shape}; expected it to begin with [N, R] = "
                    f"{(photos, regions)}, the shape of region_weights"
                )
        _ = self.shapes  # refuses dimensions of 0

    def __len__(self) -> int:
        return int(self.region_weights.shape[0])

    @property
    def shapes(self) -> FeatureShapes:
        """R, C_l, h and w of this block."""
        return FeatureShapes(
            regions=self.region_weights.shape[1],
            level_dims=tuple(level.shape[2] for level in self.levels),
            map_size=(self.maps.shape[2], self.maps.shape[3]),
        )

    def arrays(self) -> dict[str, Array]:
        """All arrays by name; a segment's files are called ``{name}.npy``."""
        levels = {f"level_{index}": level for index, level in enumerate(self.levels)}
        others = {
            "region_weights": self.region_weights,
            "level_weights": self.level_weights,
            "maps": self.maps,
        }
        return levels | others

    def validate(self, ids: Sequence[str]) -> None:
        """Refuse what can't be stored, before anything is written.

        Args:
            ids: N ids, to name the photo at fault.

        Raises:
            FeatureShapeError: not N ids.
            FeatureValueError: NaN, infinity, a level value beyond float16, a weight below 0 or beyond
                float32, a map outside 0..1.
        """
        if len(ids) != len(self):
            raise FeatureShapeError(
                f"found {len(ids)} ids for the features of {len(self)} photos; expected one each"
            )
        for index, level in enumerate(self.levels):
            _refuse(
                level, ~(np.abs(level) <= FLOAT16_MAX), ids, f"level {index}",
                f"finite values of at most {FLOAT16_MAX:.0f} (the gallery stores float16)",
            )  # fmt: skip
        for name in ("region_weights", "level_weights"):
            weights = self.arrays()[name]
            fits = (weights >= 0) & (weights <= np.finfo(np.float32).max)
            _refuse(weights, ~fits, ids, name, "finite weights of at least 0")
        if self.maps.dtype != np.uint8:
            inside = (self.maps >= 0) & (self.maps <= 1)
            _refuse(self.maps, ~inside, ids, "maps", "values from 0 to 1")

    def encoded(self) -> FeatureBlock:
        """Return the block in the dtypes it is stored in, C-contiguous; call :meth:`validate` first."""
        maps = self.maps
        if maps.dtype != np.uint8:
            # In float64: a float16 product would be rounded before it is rounded to a whole number.
            maps = np.rint(maps.astype(np.float64) * 255).astype(np.uint8)
        return FeatureBlock(
            levels=tuple(np.ascontiguousarray(level, dtype="<f2") for level in self.levels),
            region_weights=np.ascontiguousarray(self.region_weights, dtype="<f4"),
            level_weights=np.ascontiguousarray(self.level_weights, dtype="<f4"),
            maps=np.ascontiguousarray(maps),
        )


def _refuse(array: Array, bad: Array, ids: Sequence[str], name: str, expected: str) -> None:
    """Raise FeatureValueError for the first photo and region [n, r, ...] that ``bad`` marks."""
    if not bad.any():
        return
    where = tuple(int(index) for index in np.unravel_index(int(bad.argmax()), bad.shape))
    photo, region = where[:2]
    raise FeatureValueError(
        f"photo {ids[photo]!r}, {name}, region {region}: found {float(array[where])}; expected {expected}. "
        "Nothing of this batch was stored; leave the photo out or check the model that computed its features"
    )


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
            f"{name}.npy": _write_array(temporary / f"{name}.npy", array)
            for name, array in block.arrays().items()
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
        f"segment file {path}: {fault}. Restore it from a backup, or index the photos again into "
        "a new gallery"
    )
