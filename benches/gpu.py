"""`python -m benches.gpu`: what only a GPU can show, in one command: correctness, tuning, times, the page."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer

from benches.report import RESULTS
from kernels.dispatch import ImplementationError, pick_for
from mlrm.cli import errors_shown, run, say
from mlrm.errors import ConfigError

EXAMPLE = "Example: python -m benches.gpu --sweep     (without a GPU, --dry-run lists the steps)"
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Step:
    """One command of the whole, run in the project's folder with this Python; it must succeed before the next."""

    text: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.text}: python {' '.join(self.arguments)}"


def steps(measured: Path, out: Path, sweep: bool) -> tuple[Step, ...]:
    """What is run, in order. measured: where the run's JSON goes; out: the folder of the results."""
    benches = ["-m", "pytest", "benches", "--benchmark-only", "--device=cuda", f"--benchmark-json={measured}"]
    return (
        Step("correctness of every kernel on this GPU", ("-m", "pytest", "-m", "gpu", "tests")),
        Step("tuning: the fastest configuration of every kernel", ("-m", "kernels.gpu.tuning")),
        Step("every provider's time", (*benches, *(["--sweep"] if sweep else []))),
        Step("the result page", ("-m", "benches.report", str(measured), "--out", str(out))),
    )


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


def run_steps(planned: Sequence[Step]) -> None:
    """Run the steps one after the other; raises `ConfigError` naming the first that fails."""
    for number, step in enumerate(planned, 1):
        say(f"step {number} of {len(planned)}, {step}")
        code = subprocess.run([sys.executable, *step.arguments], cwd=ROOT, check=False).returncode
        if code:
            raise ConfigError(f"step {number}, {step.text}, failed with exit code {code}; its output above says why")


@errors_shown
def main(
    out: Annotated[Path, typer.Option(help="Folder for <device>.json, .md and .png.", file_okay=False)] = RESULTS,
    sweep: Annotated[bool, typer.Option("--sweep", help="Measure every declared size: an hour or more.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the steps and run none.")] = False,
) -> None:
    """Check, tune and measure on this machine's GPU; write the results and the tuned configurations."""
    if dry_run:
        for number, step in enumerate(steps(Path("run.json"), out, sweep), 1):
            say(f"step {number}, {step}")
        return
    require_gpu()
    with tempfile.TemporaryDirectory() as folder:
        run_steps(steps(Path(folder) / "run.json", out.absolute(), sweep))


if __name__ == "__main__":
    run(main, EXAMPLE)
