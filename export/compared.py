"""What a comparison with the original found, made just now or read from the report beside a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.encoders.parity_file import file_hash, read_report
from export.parity import Parity


@dataclass(frozen=True)
class Compared:
    """A comparison by backend, the one that counts first; empty where there was none. is_new: made just now."""

    reports: Mapping[str, Parity] = field(default_factory=dict)
    is_new: bool = False

    @property
    def passed(self) -> bool:
        """Whether there was one, and the first backend passed."""
        return bool(self.reports) and next(iter(self.reports.values())).passed


def stored(files: Sequence[Path], images: str | None = None) -> Compared:
    """What `export.onnx_file.settle` wrote beside these very files, on images of that name; None: on any."""
    found = [_report(file) for file in files]
    if not all(found) or (images is not None and any(report.get("images") != images for report in found)):
        return Compared()
    try:
        return Compared({name: Parity.from_dict(one) for name, one in found[0]["backends"].items()})
    except (KeyError, TypeError, AttributeError):  # written by something else, or another version
        return Compared()


def _report(file: Path) -> dict[str, Any]:
    """The report of this very file; empty where there is none."""
    report = read_report(file) if file.is_file() else {}
    return report if report and report.get("sha256") == file_hash(file) else {}


def summary(file: Path) -> dict[str, Any]:
    """The report of this very file, without single outputs and other backends; empty where there is none."""
    return {name: value for name, value in _report(file).items() if name not in ("outputs", "backends")}
