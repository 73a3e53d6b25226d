"""Short codes beside a gallery's segments: derived data, in files that never change. No torch here.

    my.gallery/codes/
      basis-{basis}-{hash}.safetensors           centre, axes and steps of every term (kernels/short/basis.py)
      {segment}-{basis}-{hash}.safetensors       the codes of one segment (kernels/short/codes.py)

`hash` is the beginning of the file's own SHA-256: a reader checks it, because a changed byte would be a wrong bound. A
file is written aside, flushed and renamed. Whatever is missing or damaged may be deleted at any time: the features of
such a segment are screened instead, until the codes are made again.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engine.features import Array
from engine.segments import sync_directory
from kernels.short.basis import GROUP, Basis, Term
from kernels.short.codes import TILE_PHOTOS, Scales, ShortCodes

CODES = "codes"  # the directory, in the gallery's
_TEMPORARY_PREFIX = ".tmp-"
_BASIS = "basis"
_HASH_DIGITS = 16


@dataclass(frozen=True)
class DamagedCodes:
    """A damaged file: the codes of a segment, or (None) the basis of all."""

    file: Path
    segment: str | None

    def __str__(self) -> str:
        whose = "the basis of all short codes" if self.segment is None else f"the short codes of segment {self.segment}"
        return f"{self.file}, {whose}"


class ShortCodeFiles:
    """The files of one gallery. Writing is for who holds the gallery's lock; raises OSError."""

    def __init__(self, gallery: Path) -> None:
        self._directory = gallery / CODES

    def write_basis(self, basis: Basis) -> None:
        """Store a basis, if it isn't there."""
        if not self._find(_BASIS, basis.name):
            arrays: dict[str, Array] = {"regions": np.array([basis.regions])}
            for number, term in enumerate(basis.terms):
                arrays |= {f"centre_{number}": term.centre, f"axes_{number}": term.axes, f"steps_{number}": term.steps}
                arrays[f"unit_{number}"] = np.array([term.unit])
            self._write(_BASIS, basis.name, arrays)

    def read_basis(self, name: str) -> Basis | None:
        """A basis; None where it is missing or damaged."""
        if (arrays := self._read(_BASIS, name)) is None:
            return None
        terms = [
            Term(
                arrays[f"centre_{number}"],
                arrays[f"axes_{number}"],
                arrays[f"steps_{number}"],
                float(arrays[f"unit_{number}"][0]),
            )
            for number in range((len(arrays) - 1) // 4)
        ]
        return Basis(int(arrays["regions"][0]), tuple(terms))

    def write(self, segment: str, codes: ShortCodes) -> None:
        """Store the codes of a segment."""
        arrays: dict[str, Array] = {name: getattr(codes, name) for name in ("ends", "codes", "sides", "weights")}
        self._write(segment, codes.basis.name, arrays | codes.scales._asdict())

    def read(self, segment: str, basis: Basis) -> ShortCodes | None:
        """The codes of a segment; None where they are missing or damaged."""
        if (found := self._read(segment, basis.name)) is None:
            return None
        scales = Scales(*(found[name] for name in Scales._fields))
        return ShortCodes(basis, found["ends"], found["codes"], found["sides"], found["weights"], scales)

    def coded(self, basis: str) -> set[str]:
        """Names of the segments whose codes of a basis are there, whole or not."""
        return {path.name.split("-")[0] for path in self._files() if path.name.split("-")[1] == basis}

    def delete_damaged(self) -> tuple[DamagedCodes, ...]:
        """Read every file, and delete those whose content isn't what was written."""
        found = []
        for path in sorted(self._files()):
            if not _whole(path.name, path.read_bytes()):
                path.unlink()
                first = path.name.split("-")[0]
                found.append(DamagedCodes(path, None if first == _BASIS else first))
        return tuple(found)

    def keep(self, segments: Collection[str], basis: str | None) -> None:
        """Delete all but the codes of some segments of one basis, and that basis; and what killed writers left."""
        for path in self._directory.glob(f"{_TEMPORARY_PREFIX}*"):
            path.unlink(missing_ok=True)
        for path in self._files():
            segment, of_basis, _ = path.name.split("-")
            if of_basis != basis or (segment != _BASIS and segment not in segments):
                path.unlink(missing_ok=True)

    def _files(self) -> Iterator[Path]:
        return (path for path in self._directory.glob("[!.]*.safetensors") if path.name.count("-") == 2)

    def _find(self, first: str, basis: str) -> list[Path]:
        return list(self._directory.glob(f"{first}-{basis}-*.safetensors"))

    def _read(self, first: str, basis: str) -> dict[str, Array] | None:
        for path in self._find(first, basis):
            try:
                data = path.read_bytes()
                if _whole(path.name, data):
                    return dict(load(data))
            except (FileNotFoundError, SafetensorError):
                continue
        return None

    def _write(self, first: str, basis: str, arrays: dict[str, Array]) -> None:
        data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        self._directory.mkdir(exist_ok=True)
        temporary = self._directory / f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._directory / f"{first}-{basis}-{_digits(data)}.safetensors")
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(self._directory)


def gathered(basis: Basis, sizes: Sequence[int], parts: Iterable[ShortCodes]) -> ShortCodes:
    """Runs of photos of one basis as one, like `kernels.short.codes.join`; each is let go before the next is asked for.

    sizes: the photos of all runs that may come; a run that doesn't come takes no memory. So the codes of a gallery are
    never in memory twice.
    """
    terms, tiles = len(basis.terms), sum(-(-size // TILE_PHOTOS) for size in sizes)
    codes = np.empty((tiles, int(basis.groups[-1]), TILE_PHOTOS, GROUP), np.uint8)
    sides = np.empty((tiles, terms, 3, TILE_PHOTOS), np.float16)
    weights = np.empty((tiles, basis.regions + terms, TILE_PHOTOS), np.float16)
    ends, scales = [np.empty(0, np.int64)], [Scales(np.zeros(terms), np.zeros(terms), np.zeros(2))]
    used = photos = 0
    for part in parts:
        place = slice(used, used + len(part.ends))
        codes[place], sides[place], weights[place] = part.codes, part.sides, part.weights
        ends.append(part.ends + photos)
        scales.append(part.scales)
        used, photos = place.stop, photos + len(part)
    largest = Scales(*(np.max(one, 0) for one in zip(*scales, strict=True)))
    return ShortCodes(basis, np.concatenate(ends), codes[:used], sides[:used], weights[:used], largest)


def _digits(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_HASH_DIGITS]


def _whole(name: str, data: bytes) -> bool:
    return name.split("-")[2].removesuffix(".safetensors") == _digits(data)
