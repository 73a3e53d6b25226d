"""`F.parity.json`, which the export leaves beside a file: by which backends that file ranks like its original."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def report_path(file: Path) -> Path:
    """Where the parity report of a file lies."""
    return file.with_name(file.name + ".parity.json")


def file_hash(file: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def read_report(file: Path) -> dict[str, Any]:
    """The report beside `file`; empty where there is none that can be read."""
    try:
        report = json.loads(report_path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def ranks_right(file: Path) -> bool:
    """Whether this very file passed its comparison with the original."""
    report = read_report(file)
    return report.get("passed") is True and report.get("sha256") == file_hash(file)


def compared_runtimes(file: Path) -> dict[str, bool]:
    """What `file` was compared with its original by (`Backend.runtime`), and whether it passed.

    Empty for another file's report.
    """
    report = read_report(file)
    found = report.get("backends")
    if report.get("sha256") != file_hash(file) or not isinstance(found, Mapping):
        return {}
    return {str(one.get("runtime")): bool(one.get("passed")) for one in found.values() if isinstance(one, Mapping)}
