"""The safetensors format, as segments use it: written in one stream, read without a copy. No torch here.

    8 bytes   H, the header's length (little-endian)
    H bytes   JSON: {name: {"dtype": "F16", "shape": [...], "data_offsets": [begin, end]}}, spaces at its end
    rest      the data; offsets count from its beginning, and the arrays fill it without a gap

Every array begins at a multiple of 64 bytes of the file, a cache line and the widest vector load: the header is filled
up with spaces, and where an array doesn't end there, a U8 entry ``padding_{n}`` follows it, because the format allows
no gaps. The library's own writer aligns nothing and builds the whole file in memory; its reader reads these files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import Any

import numpy as np

from engine.features import Array

ALIGNMENT = 64  # bytes
_LENGTH_BYTES = 8
_DTYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "U8": np.dtype(np.uint8)}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class StoredTensor:
    """An array in a file: its type, its shape, and where its first byte is, from the file's beginning."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        """The number of its elements."""
        return math.prod(self.shape)


def write_tensors(write: Callable[[bytes | memoryview], object], arrays: Mapping[str, Array]) -> None:
    """Pass a file of C-contiguous arrays (little-endian float16, float32, or uint8) to ``write``, piece by piece."""
    header: dict[str, Any] = {}
    pieces: list[bytes | memoryview] = []
    end = 0

    def append(name: str, dtype: str, shape: tuple[int, ...], data: bytes | memoryview) -> None:
        nonlocal end
        begin, end = end, end + len(data)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        pieces.append(data)

    for name, array in arrays.items():
        append(name, _NAMES[array.dtype], array.shape, array.reshape(-1).view(np.uint8).data)
        if fill := -end % ALIGNMENT:
            append(f"padding_{len(pieces)}", "U8", (fill,), bytes(fill))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(_LENGTH_BYTES + len(text)) % ALIGNMENT)
    write(len(text).to_bytes(_LENGTH_BYTES, "little"))
    for piece in (text, *pieces):
        write(piece)


def read_header(file: bytes | mmap) -> dict[str, StoredTensor]:
    """Which arrays a whole file holds, by name, each inside the file; raises ValueError, saying what is wrong."""
    length = int.from_bytes(file[:_LENGTH_BYTES], "little")
    data = _LENGTH_BYTES + length
    if len(file) < data:
        raise ValueError(f"its header of {length} bytes ends beyond the file's {len(file)}")
    try:
        entries = json.loads(file[_LENGTH_BYTES:data])
        return {
            name: _tensor(name, entry, data, len(file)) for name, entry in entries.items() if name != "__metadata__"
        }
    except (AttributeError, KeyError, TypeError, OverflowError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"its header is damaged ({type(error).__name__}: {error})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"its header is no JSON ({error})") from error


def _tensor(name: str, entry: Mapping[str, Any], data: int, size: int) -> StoredTensor:
    dtype, (begin, end) = _DTYPES[entry["dtype"]], map(int, entry["data_offsets"])
    tensor = StoredTensor(dtype, tuple(int(length) for length in entry["shape"]), data + begin)
    inside = 0 <= begin <= end <= size - data and min(tensor.shape, default=1) >= 0
    if not inside or end - begin != tensor.size * dtype.itemsize:
        raise ValueError(
            f"its header says that {name} of shape {tensor.shape} lies at {begin} to {end} of {size - data}"
        )
    return tensor
