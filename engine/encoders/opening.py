"""Which backend runs a model, and why that one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.artefacts import Artefact
from engine.encoders import Encoder
from engine.encoders.backends import BACKENDS, CHECKPOINT, ENGINE, ONNX, Backend, Model, file_kind
from engine.encoders.exported import halves
from engine.encoders.parity_file import compared_runtimes, file_hash
from engine.encoders.race import Race, race_key, remembered, run_race
from mlrm.errors import CheckpointError, ConfigError, MLRMError

AUTO, MEASURE = "auto", "measure"
"""In place of a backend's name: the fastest that ranks right, by the times remembered, or measured again."""


@dataclass(frozen=True)
class Opened:
    """An encoder, the name of the backend that runs it, and why it was chosen.

    artefact: what a gallery notes of it, of the file as it was when it was opened.
    """

    encoder: Encoder
    name: str
    reason: str
    artefact: Artefact

    @classmethod
    def of(cls, encoder: Encoder, name: str, reason: str) -> Opened:
        """Reads the encoder's whole file, for the artefact."""
        return cls(encoder, name, reason, Artefact(name, encoder.dtype, encoder.name, file_hash(encoder.file)))

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def open_encoder(model: Model, device: torch.device, backend: str = AUTO) -> Opened:
    """Open a checkpoint (None: the shipped one), an `.onnx` of `export.to_onnx` or an `.engine` of `export.to_trt`.

    backend: a name of `engine.encoders.backends`, or "auto": for a checkpoint PyTorch, for an engine TensorRT, and for
    an `.onnx` the backend that encodes a sketch fastest on this machine, of those that are installed and passed the
    parity check, by this version and on this type of device, whose report lies beside the file. The times are measured
    once and remembered; "measure" is "auto" that takes them again, for a machine that was busy the first time.
    Raises `CheckpointError` for a file that can't be read, and `ConfigError` for a backend that doesn't exist, doesn't
    take this file or can't run here, and for an `.onnx` that no installed backend is known to rank right with.
    """
    if backend not in (AUTO, MEASURE):
        return Opened.of(_asked(backend, model).opened(model, device), backend, "as asked")
    if model is not None and file_kind(model) == ONNX:
        return _fastest(Path(model), device, again=backend == MEASURE)
    name = "tensorrt" if file_kind(model) == ENGINE else "torch"
    reason = "what runs engines" if file_kind(model) == ENGINE else "the reference; export the model for a faster one"
    return Opened.of(BACKENDS[name].opened(model, device), name, reason)


def _asked(name: str, model: Model) -> Backend:
    """The backend of that name, if it takes the model's file."""
    backend = BACKENDS.get(name)
    if backend is None:
        raise ConfigError(f"backend is {name!r}; expected auto, measure, {', '.join(BACKENDS)}")
    if backend.takes != file_kind(model):
        found = "the shipped checkpoint" if model is None else str(model)
        way = {ONNX: "python -m export.to_onnx", ENGINE: "python -m export.to_trt"}.get(backend.takes)
        other = ", ".join(one.name for one in BACKENDS.values() if one.takes == file_kind(model))
        advice = "" if way is None or file_kind(model) == ENGINE else f": make one with {way}"
        raise ConfigError(
            f"backend {name!r} takes {'' if backend.takes == CHECKPOINT else 'an '}{backend.takes}"
            f"{'' if backend.takes == CHECKPOINT else ' file'}, and the model is {found}{advice}; or give backend "
            f"auto, {other}"
        )
    return backend


def _fastest(file: Path, device: torch.device, again: bool) -> Opened:
    """The fastest backend of those whose parity passed; again: whatever is remembered."""
    files = halves(file)
    if missing := [one for one in files if not one.is_file()]:
        raise CheckpointError(f"no model at {missing[0]}; expected a file that python -m export.to_onnx wrote")
    reports = [compared_runtimes(one) for one in files]
    verdicts = {name: all(one.get(name) for one in reports) for name in reports[0]} if all(reports) else {}
    able = [one for one in _for_onnx(device) if one.installed() and verdicts.get(one.runtime(device))]
    if not able:
        raise ConfigError(_none_able(file, verdicts, device))
    key = race_key(" ".join(map(file_hash, files)), [one.runtime(device) for one in able], device)
    race = None if again else remembered(key)
    if race is not None:
        with suppress(ConfigError, CheckpointError):  # it can't be opened any more: what else can runs again
            return Opened.of(BACKENDS[race.winner].opened(file, device), race.winner, _because(race, "remembered"))
    encoders, refused = _opened(able, file, device)
    if len(encoders) == 1:
        name = next(iter(encoders))
        return Opened.of(encoders[name], name, f"the only one here that passed its parity check{_without(refused)}")
    race = run_race(key, encoders)
    return Opened.of(encoders[race.winner], race.winner, _because(race, "measured now") + _without(refused))


def _opened(
    able: Sequence[Backend], file: Path, device: torch.device
) -> tuple[dict[str, Encoder], dict[str, MLRMError]]:
    """The encoders that can be opened here and, of the others, why not; raises the first reason if none can."""
    encoders: dict[str, Encoder] = {}
    refused: dict[str, MLRMError] = {}
    for one in able:
        try:
            encoders[one.name] = one.opened(file, device)
        except (ConfigError, CheckpointError) as error:
            refused[one.name] = error
    if not encoders:
        raise next(iter(refused.values()))
    return encoders, refused


def _without(refused: Mapping[str, Exception]) -> str:
    return "".join(f"; without {name}: {error}" for name, error in refused.items())


def _because(race: Race, when: str) -> str:
    times = ", ".join(f"{name} {ms:.1f} ms" for name, ms in sorted(race.milliseconds.items(), key=lambda item: item[1]))
    return f"fastest of those whose parity passed, for one sketch, {when}: {times}"


def _for_onnx(device: torch.device) -> list[Backend]:
    return [one for one in BACKENDS.values() if one.takes == ONNX and device.type in one.devices]


def _none_able(file: Path, verdicts: Mapping[str, bool], device: torch.device) -> str:
    here = _for_onnx(device)
    again = f"export it again on this machine: python -m export.to_onnx CHECKPOINT --out {file}"
    by_hand = f"or choose a backend yourself, which skips this check: {', '.join(one.name for one in here)}"
    if not verdicts:
        return (
            f"{file} has no parity report of this very file beside it, so nobody knows which backend ranks like the "
            f"original: {again}, {by_hand}"
        )
    passed = [runtime for runtime, good in verdicts.items() if good]
    if not passed:
        return f"{file} failed its parity check with {'; '.join(verdicts)}: export it with --dtype fp32, {by_hand}"
    ways = [f"{one.runtime(device)} ({_known(verdicts, one.runtime(device))})" for one in here if one.installed()]
    missing = {one.package for one in here if not one.installed() and any(_is_of(one, runtime) for runtime in passed)}
    advice = [f"pip install {' '.join(sorted(missing))}"] * bool(missing)
    if device.type != "cpu" and any(runtime.endswith(", CPU") for runtime in passed):
        advice.append("give device='cpu'")
    return (
        f"{file} passed its parity check with {'; '.join(passed)}; on {device} here {'; '.join(ways) or 'nothing'} "
        f"could run it: {', '.join([*advice, again, by_hand])}"
    )


def _known(verdicts: Mapping[str, bool], runtime: str) -> str:
    return "failed" if runtime in verdicts else "not checked"


def _is_of(backend: Backend, runtime: str) -> bool:
    return runtime.startswith(f"{backend.name} ")
