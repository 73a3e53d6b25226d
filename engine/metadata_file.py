"""Metadata of photos from a file: CSV with a header, or JSON lines. Each row names its photo by `id` or by `path`.

    id,category,price            {"path": "photos/7.jpg", "category": "shoe", "tag": ["new", "sale"]}
    7.jpg,shoe,59.9

A path is relative to the metadata file's folder. The other columns are the metadata. A CSV cell that is a number as
JSON writes numbers becomes one (`59.9`; `007` and `1e5` stay text), an empty cell is left out.
"""

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import InvalidPhotoError
from engine.gallery_writer import check_metadata
from engine.sources import Source

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_EXPECTED = "expected a .csv file with a header, or a .jsonl file with an object on each line"


@dataclass(frozen=True)
class MetadataFile:
    """What a metadata file holds, by the id or by the absolute path that each row names."""

    by_id: Mapping[str, dict[str, Any]]
    by_path: Mapping[str, dict[str, Any]]

    @classmethod
    def read(cls, file: str | os.PathLike[str]) -> "MetadataFile":
        """Read a file; raises `InvalidPhotoError` with the line at fault."""
        path = Path(file)
        readers = {".csv": _csv_rows, ".jsonl": _json_rows, ".ndjson": _json_rows}
        if (reader := readers.get(path.suffix.lower())) is None:
            raise InvalidPhotoError(f"metadata file {path}: {_EXPECTED}")
        by_id: dict[str, dict[str, Any]] = {}
        by_path: dict[str, dict[str, Any]] = {}
        try:
            with path.open(encoding="utf-8-sig", newline="") as lines:
                for number, row in reader(path, lines):
                    place = f"metadata file {path}, line {number}"
                    target, name = _named(place, row, by_id, by_path, path.parent.resolve())
                    if name in target:
                        raise InvalidPhotoError(f"{place}: {name!r} has a row before this one; expected one each")
                    check_metadata(name, row)
                    target[name] = row
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InvalidPhotoError(f"can't read the metadata file {path}: {error}; {_EXPECTED}, in UTF-8") from error
        return cls(by_id, by_path)

    def of(self, sources: Sequence[Source]) -> tuple[dict[str, dict[str, Any]], int]:
        """The metadata of some photos by id, and how many rows name none of them."""
        found: dict[str, dict[str, Any]] = {}
        used = 0
        ids = {source.id for source in sources}
        for source in sources:
            if source.id is not None and source.path is not None and source.path in self.by_path:
                found[source.id] = self.by_path[source.path]
                used += 1
        for id_, row in self.by_id.items():
            if id_ in ids:
                found[id_] = found.get(id_, {}) | row
                used += 1
        return found, len(self.by_id) + len(self.by_path) - used


def _named(
    place: str, row: dict[str, Any], by_id: dict[str, Any], by_path: dict[str, Any], folder: Path
) -> tuple[dict[str, Any], str]:
    """Take the photo's name out of its row: where it belongs, and under which key."""
    for key, target in (("id", by_id), ("path", by_path)):
        if key in row:
            name = row.pop(key)
            if not isinstance(name, str) or not name:
                raise InvalidPhotoError(f"{place}: found the {key} {name!r}; expected a string that is not empty")
            if key == "path":
                full = folder / name
                name = str(full.parent.resolve() / full.name)
            return target, name
    raise InvalidPhotoError(f"{place}: found {', '.join(map(repr, row)) or 'nothing'}; expected a column id or path")


def _csv_rows(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(lines, strict=True)
    for cells in reader:
        place = f"metadata file {path}, line {reader.line_num}"
        if None in cells or None in cells.values():
            raise InvalidPhotoError(f"{place}: expected {len(reader.fieldnames or ())} cells, as many as in the header")
        row = {key: cell if key in ("id", "path") else _value(cell) for key, cell in cells.items() if cell}
        yield reader.line_num, row


def _json_rows(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidPhotoError(f"metadata file {path}, line {number}: {error}; {_EXPECTED}") from error
        if not isinstance(row, dict):
            raise InvalidPhotoError(f"metadata file {path}, line {number}: found {line.strip():.40}; {_EXPECTED}")
        yield number, row


def _value(cell: str) -> Any:
    return json.loads(cell) if _NUMBER.fullmatch(cell) else cell
