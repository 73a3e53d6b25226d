"""`python -m benches.gpu`: what only a GPU can show, in one command: correctness, tuning, times, the page.

Step by step, the most telling first, and each is kept: a run that was cut off goes on with the step it was at. The page
is written anew after every step that measured something, so it always shows what there is.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benches.cases import TRUNKS
from benches.names import OURS, TUNED
from benches.report import RESULTS
from benches.searches import searches
from kernels.dispatch import ImplementationError, pick_for
from kernels.gpu.tiles import tuned_path
from mlrm.cli import errors_shown, run, say
from mlrm.errors import ConfigError

EXAMPLE = "Example: python -m benches.gpu --sweep     (without a GPU, --dry-run lists the steps)"
ROOT = Path(__file__).parent.parent
WORK = ROOT / "runs" / "gpu"
REST = (
    "tests/benches/test_cuda_timer.py",
    "tests/benches/test_providers.py",
    "tests/engine/test_certified_on_a_gpu.py",
    "tests/engine/test_compiled_encoder.py",
    "tests/engine/test_torch_encoder.py",
    "tests/export/test_encoders.py",
    "tests/export/test_engine_check.py",
    "tests/mlrm/training/test_on_a_gpu.py",
)
"""By name: others import what a machine with a GPU need not have, a browser for one."""


@dataclass(frozen=True)
class Step:
    """One command of the whole, run in the project's folder with this Python.

    vital: nothing after it means anything if it fails. measures: it writes <name>.json, a part of the page.
    """

    name: str
    text: str
    arguments: tuple[str, ...]
    vital: bool = False
    measures: bool = False

    def __str__(self) -> str:
        return f"{self.text}: python {shlex.join(self.arguments)}"


def steps(work: Path, sweep: bool) -> tuple[Step, ...]:
    """What is run, the most telling first. work: where runs' JSON goes."""
    checks = ("-m", "pytest", "-q", "-m", "gpu")
    ours, tuned = (f"({' or '.join(names)})" for names in (OURS, TUNED))
    return (
        Step("correct", "correctness of every kernel on this GPU", (*checks, "tests/kernels"), vital=True),
        Step("tuned", "the fastest configuration of every kernel", ("-m", "kernels.gpu.tuning")),
        *(
            _measuring(work, sweep, trunk, photos, name, which)
            for trunk, photos in _galleries(sweep)
            for name, which in (("ours", ours), ("tuned-torch", tuned), ("others", f"not {ours} and not {tuned}"))
        ),
        *(_encoding(work, sweep, trunk) for trunk in TRUNKS),
        Step("rest", "what else has tests for a GPU", (*checks, *REST)),
    )


def _galleries(sweep: bool) -> Iterable[tuple[str, int]]:
    """The declared galleries: those measured by default first, then by size, the published model's before the other."""
    default, declared = ({(one.trunk, one.photos) for one in searches("cuda", which)} for which in (False, sweep))
    return sorted(declared, key=lambda one: (one not in default, one[1], one[0] != "densenet169"))


def _measuring(work: Path, sweep: bool, trunk: str, photos: int, name: str, which: str) -> Step:
    name = f"{trunk}-{photos}-{name}"
    benches = ["-m", "pytest", "benches/test_retrieval.py", "--benchmark-only", "--device=cuda"]
    benches += ["--sweep"] if sweep else []
    benches += [f"--benchmark-json={work / name}.json", "-k", f"{trunk} and G{photos}-k and {which}"]
    return Step(name, f"times of {name}", tuple(benches), measures=True)


def _encoding(work: Path, sweep: bool, trunk: str) -> Step:
    """The encoders of a trunk and the parts of a search by them; the exported models are kept beside the runs."""
    name = f"encoders-{trunk}"
    benches = ["-m", "pytest", "benches/test_encoders.py", "--benchmark-only", "--device=cuda"]
    benches += ["--sweep"] if sweep else []
    benches += [f"--models={work / 'models'}", f"--benchmark-json={work / name}.json", "-k", trunk]
    return Step(name, f"times of the encoders of {trunk}", tuple(benches), measures=True)


def require_gpu() -> None:
    """Raise `ConfigError` that says what is missing for our kernels to run on a GPU here."""
    if not torch.cuda.is_available():
        raise ConfigError(
            f"torch {torch.__version__} sees no CUDA device: this needs an NVIDIA GPU, its driver (check nvidia-smi) "
            "and a CUDA build of torch. GPU results stay 'not yet measured'; --dry-run lists the steps"
        )
    try:
        pick_for("triton", torch.device("cuda"))
    except ImplementationError as error:
        raise ConfigError(str(error)) from error


def run_steps(planned: Sequence[Step], work: Path, out: Path, only: Sequence[str] | None = None) -> None:
    """Run the steps that `work` doesn't know as done, one after the other; the page goes to `out`.

    only: names of the steps to run; default all. Raises `ConfigError` naming what failed: a vital step at once,
    others after the last.
    """
    work.mkdir(parents=True, exist_ok=True)
    failed = []
    for number, step in enumerate(planned, 1):
        if only and step.name not in only:
            continue
        if _done(work, step).exists():
            say(f"step {number} of {len(planned)}, {step.text}: done before")
            continue
        say(f"step {number} of {len(planned)}, {step}")
        if code := _python(*step.arguments):
            failed.append(f"step {number}, {step.text}, failed with exit code {code}")
            if step.vital:
                raise ConfigError(f"{failed[-1]}; its output above says why")
        else:
            _done(work, step).touch()
        if step.measures and write_page(planned, work, out):
            failed.append(f"the page after step {number} could not be written")
    if failed:
        raise ConfigError(f"{'; '.join(failed)}: the output above says why. Run it again to repeat what failed")


def write_page(planned: Sequence[Step], work: Path, out: Path) -> int:
    """The page of all parts there are; the exit code of `benches.report`, 0 where there is none to show."""
    parts = [work / f"{step.name}.json" for step in planned if step.measures]
    found = [json.loads(part.read_text()) for part in parts if part.exists() and part.stat().st_size]
    if not any(part["benchmarks"] for part in found):
        return 0
    whole = work / "run.json"
    whole.write_text(json.dumps(merged(found)))
    return _python("-m", "benches.report", str(whole), "--out", str(out))


def merged(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several runs of the benches on one machine as one: all rows, and the fastest rates the machine reached."""
    machines = [part["machine"] for part in parts]
    rates = {
        kind: {name: max(machine[kind][name] for machine in machines) for name in machines[0][kind]}
        for kind in ("bandwidth", "matrix")
    }
    lists = [key for key, value in parts[0].items() if isinstance(value, list)]
    rows = {key: [row for part in parts for row in part[key]] for key in lists}
    return parts[0] | {"machine": machines[0] | rates} | rows


def _done(work: Path, step: Step) -> Path:
    return work / f"{step.name}.done"


def _python(*arguments: str) -> int:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False).returncode


@errors_shown
def main(
    out: Annotated[Path, typer.Option(help="Folder for <device>.json, .md and .png.", file_okay=False)] = RESULTS,
    work: Annotated[
        Path, typer.Option(help="Folder for what is done; delete it to begin anew.", file_okay=False)
    ] = WORK,
    sweep: Annotated[bool, typer.Option("--sweep", help="Measure every declared size: an hour or more.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="The steps of this name alone; repeat.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the steps and run none.")] = False,
) -> None:
    """Check, tune and measure on this machine's GPU; write the results and the tuned configurations.

    Cut off, it goes on when run again.
    """
    work, out = work.absolute(), out.absolute()
    planned = steps(work, sweep)
    if only and (unknown := sorted(set(only).difference(step.name for step in planned))):
        raise ConfigError(f"no steps {unknown}; known are {[step.name for step in planned]}")
    if dry_run:
        for number, step in enumerate(planned, 1):
            say(f"step {number}{', done before' if _done(work, step).exists() else ''}, {step}")
        return
    require_gpu()
    if not tuned_path(torch.cuda.get_device_name()).exists():  # the file may be gone where `work` was kept
        (work / "tuned.done").unlink(missing_ok=True)
    run_steps(planned, work, out, only)


if __name__ == "__main__":
    run(main, EXAMPLE)
