"""The encoders' part of a run as data: read from pytest-benchmark's JSON, kept as the results' own smaller JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benches.encodings import Encoding, Part
from benches.machine import Machine
from benches.rows import damaged, unreadable


@dataclass(frozen=True)
class EncoderRow:
    """One encoder on one batch, measured.

    seconds: median of `rounds`; spread: interquartile range in seconds. fingerprint: of the weights. rms: worst RMS
    error of any output, and top1, top10: shares of PyTorch float32's nearest photos that are found; trained: whether
    the ranking means something, and so is judged. judged_as: the precision whose tolerances apply; failures: what is
    beyond them, one sentence each.
    """

    encoding: Encoding
    seconds: float
    spread: float
    rounds: int
    fingerprint: str
    trained: bool
    rms: float
    top1: float
    top10: float
    judged_as: str
    failures: tuple[str, ...]

    @property
    def images_per_second(self) -> float:
        """Of the whole batch."""
        return self.encoding.batch / self.seconds


@dataclass(frozen=True)
class PartRow:
    """One part of a search, measured: median and interquartile range of `rounds`, in seconds."""

    part: Part
    seconds: float
    spread: float
    rounds: int


@dataclass(frozen=True)
class NotMeasured:
    """What has no time, by its name, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class EncoderRun:
    """All of one run on one device."""

    machine: Machine
    rows: tuple[EncoderRow, ...]
    parts: tuple[PartRow, ...]
    absent: tuple[NotMeasured, ...]

    def to_json(self) -> str:
        """What `read_encoder_run` reads back."""
        return json.dumps(asdict(self), indent=1) + "\n"


def read_encoder_run(file: Path) -> EncoderRun:
    """The encoders in pytest-benchmark's JSON of the benches, or in a results file; else raises `ConfigError`."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        machine = Machine(**found["machine"])
        if "benchmarks" not in found and "parts" not in found:
            return EncoderRun(machine, (), (), ())  # results of searches
        if "parts" in found:
            return EncoderRun(
                machine,
                tuple(_stored(one) for one in found["rows"]),
                tuple(PartRow(**one | {"part": Part(**one["part"])}) for one in found["parts"]),
                tuple(NotMeasured(**one) for one in found["absent"]),
            )
        infos = [(one["extra_info"], one["stats"]) for one in found["benchmarks"] if "encoder" in one["extra_info"]]
        return EncoderRun(
            machine,
            tuple(_row(info, stats) for info, stats in infos if "batch" in info),
            tuple(PartRow(_named(Part, info), *_times(stats)) for info, stats in infos if "part" in info),
            tuple(_absent(one) for one in found.get("encoders_not_measured", [])),
        )
    except OSError as error:
        raise unreadable(file, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(file, error) from error


def _stored(found: Mapping[str, Any]) -> EncoderRow:
    changed = {"encoding": Encoding(**found["encoding"]), "failures": tuple(found["failures"])}
    return EncoderRow(**{**found, **changed})


def _row(info: Mapping[str, Any], stats: Mapping[str, Any]) -> EncoderRow:
    seconds, spread, rounds = _times(stats)
    told = {name: info[name] for name in ("fingerprint", "trained", "rms", "top1", "top10", "judged_as")}
    return EncoderRow(_named(Encoding, info), seconds, spread, rounds, **told, failures=tuple(info["failures"]))


def _times(stats: Mapping[str, Any]) -> tuple[float, float, int]:
    return stats["median"], stats["iqr"], stats["rounds"]


def _absent(found: Mapping[str, Any]) -> NotMeasured:
    what = _named(Encoding, found) if "batch" in found else _named(Part, found)
    return NotMeasured(str(what), found["reason"])


def _named(kind: type[Any], found: Mapping[str, Any]) -> Any:
    return kind(**{field.name: found[field.name] for field in fields(kind)})
