"""The encoders' result page of a run, in Markdown, with the goals met and missed."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from benches.encoder_rows import EncoderRow, EncoderRun, NotMeasured
from benches.encodings import PARTS, SWEPT_WAYS, WAYS, Encoding, Part, encodings, parts
from benches.page import machine_table, table

REFERENCE = "torch"
_NAMES = [*dict.fromkeys(name for ways in (*WAYS.values(), *SWEPT_WAYS.values()) for name in ways)]


@dataclass(frozen=True)
class EncoderGoal:
    """What the fastest encoder within its tolerances should reach at a batch, on all cores of a type of device.

    factor: times PyTorch eager's rate; milliseconds: at most so many an image. One of them is None.
    """

    text: str
    device_type: str
    trunk: str
    batch: int
    factor: float | None
    milliseconds: float | None


GOALS = (
    EncoderGoal("DenseNet-169, one image", "cpu", "densenet169", 1, 4.0, None),
    EncoderGoal("EfficientNet-Lite0, one sketch", "cpu", "lite0", 1, None, 15.0),
    EncoderGoal("DenseNet-169, one image", "cuda", "densenet169", 1, 5.0, None),
    EncoderGoal("EfficientNet-Lite0, one image", "cuda", "lite0", 1, 5.0, None),
    EncoderGoal("DenseNet-169, 64 images", "cuda", "densenet169", 64, 2.0, None),
    EncoderGoal("EfficientNet-Lite0, 64 images", "cuda", "lite0", 64, 2.0, None),
)


@dataclass(frozen=True)
class GoalReached:
    """The row that counts for a goal, and what it reached in the goal's unit."""

    goal: EncoderGoal
    row: EncoderRow
    reached: float

    @property
    def met(self) -> bool:
        """Whether it is enough."""
        if self.goal.factor is not None:
            return self.reached >= self.goal.factor
        return self.goal.milliseconds is not None and self.reached <= self.goal.milliseconds


def goals_reached(run: EncoderRun) -> Iterator[GoalReached]:
    """What the run says of each goal of its device."""
    for goal in GOALS:
        rows = [row for row in run.rows if (row.encoding.trunk, row.encoding.batch) == (goal.trunk, goal.batch)]
        rows = [row for row in rows if row.encoding.threads == max(one.encoding.threads for one in rows)]
        eager = [row for row in rows if row.encoding.encoder == REFERENCE]
        right = [row for row in rows if not row.failures and row.encoding.encoder != REFERENCE]
        if goal.device_type != run.machine.device_type or not eager or not right:
            continue
        best = min(right, key=lambda row: row.seconds)
        reached = best.seconds * 1e3 if goal.factor is None else eager[0].seconds / best.seconds
        yield GoalReached(goal, best, reached)


def encoder_page(run: EncoderRun) -> str:
    """The whole page."""
    text = [f"# Time of the encoders on {run.machine.device}", _HOW, *_weights(run), "## Goals", _goals(run)]
    for trunk, rows in groupby(sorted(run.rows, key=_place), lambda row: row.encoding.trunk):
        text += [f"## {trunk}", _encodings(list(rows))]
    text += ["## A search, part by part", _PARTS, _parts(run)]
    if absent := list(not_measured(run)):
        text += ["## Not measured", table(("what", "why"), [(one.name, one.reason) for one in absent])]
    text += ["## Machine", table(("", ""), machine_table(run.machine))]
    return "\n\n".join(text) + "\n"


_HOW = (
    "From uint8 pixels in memory to features in memory, on a GPU in its own; `median` of the rounds after a warm-up. A "
    "name is the exported file's type and the engine's backend: `bf16-openvino` is a file of `--dtype bf16` by backend "
    "`openvino`, `fp32-openvino-bf16` a float32 file by backend `openvino-bf16`. `torch` is PyTorch eager, float32, "
    "channels last, and `x torch` the factor to its row of the same batch and threads. `RMS` is the worst relative "
    "error of any output against PyTorch float32, `top-1` and `top-10` the share of its nearest photos that are found, "
    'on 64 drawn pairs. `parity`: whether all is within the tolerances of the precision named, as `backend="auto"` has '
    "it; only such rows reach a goal. lite0 is the shipped model. DenseNet-169's trained weights can't be shipped: its "
    "are random (with BatchNorm statistics of drawn images), its times are real, and of its parity only the outputs "
    "are judged; its rankings are noise, and shown in brackets."
)
_PARTS = (
    "A sketch's PNG file (800 x 800) searched for in a gallery of drawn features on disk, the 10 nearest, on all "
    "cores. `encode` includes the resizing to the model's size. `whole` is the one call `Retriever.search`, measured "
    "by itself."
)


def not_measured(run: EncoderRun) -> Iterator[NotMeasured]:
    """Everything declared for the device that has no time in this run, and why; alike rows of one encoder as one."""
    cores = max((row.encoding.threads for row in run.rows), default=1)
    declared: list[Encoding | Part] = [
        *encodings(run.machine.device_type, True, cores),
        *parts(run.machine.device_type, True),
    ]
    reasons = {one.name: one.reason for one in run.absent}
    there = {str(row.encoding) for row in run.rows} | {str(row.part) for row in run.parts}
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for one in declared:
        if (name := str(one)) not in there:
            what = f"B{one.batch}-T{one.threads}" if isinstance(one, Encoding) else one.part
            reason = reasons.pop(name, "declared, and not part of this run: `--sweep` measures all")
            grouped.setdefault((one.trunk, one.encoder, reason), []).append(what)
    for (trunk, encoder, reason), which in grouped.items():
        yield NotMeasured(f"{trunk}, {encoder}: {', '.join(which)}", reason)
    yield from (NotMeasured(name, reason) for name, reason in reasons.items())  # of a machine with other cores


def _weights(run: EncoderRun) -> list[str]:
    found = dict.fromkeys((row.encoding.trunk, row.fingerprint, row.trained) for row in run.rows)
    return [
        f"Weights of {trunk}: `{fingerprint[:16]}`, {'trained' if trained else 'untrained'}."
        for trunk, fingerprint, trained in found
    ]


def _goals(run: EncoderRun) -> str:
    rows = []
    for one in goals_reached(run):
        factor = one.goal.factor is not None
        expected = f"{one.goal.factor:g}x torch" if factor else f"{one.goal.milliseconds:g} ms or less"
        reached = f"{one.reached:.2f}x" if factor else f"{one.reached:.1f} ms"
        fastest = f"{one.row.encoding.encoder}, {_agreement(one.row)}"
        rows.append((one.goal.text, expected, reached, fastest, "met" if one.met else "missed"))
    if not rows:
        return "Not yet measured: the run has no row that a goal speaks of."
    return table(("goal", "expected", "reached", "fastest within its tolerances", ""), rows)


def _agreement(row: EncoderRow) -> str:
    """What can be said of a row beside the reference: of untrained weights nothing about rankings."""
    if row.trained:
        return f"top-10 {row.top10:.3f}"
    return f"outputs within an RMS error of {row.rms:.1e}; untrained, so an equal top-10 can't be shown"


def _order(row: EncoderRow) -> tuple[str, int, int]:
    return row.encoding.trunk, row.encoding.threads, row.encoding.batch


def _place(row: EncoderRow) -> tuple[str, int, int, int]:
    return *_order(row), _NAMES.index(row.encoding.encoder)


def _encodings(rows: list[EncoderRow]) -> str:
    eager = {_order(row): row.seconds for row in rows if row.encoding.encoder == REFERENCE}
    cells = [
        (
            str(row.encoding.threads),
            str(row.encoding.batch),
            row.encoding.encoder,
            f"{row.seconds * 1e3:,.1f} ms",
            f"{row.spread * 1e3:,.1f} ms",
            f"{row.images_per_second:,.1f}",
            f"{eager[_order(row)] / row.seconds:.2f}" if _order(row) in eager else "",
            f"{row.rms:.1e}",
            *(f"{share:.3f}" if row.trained else f"({share:.3f})" for share in (row.top1, row.top10)),
            f"fails as {row.judged_as}" if row.failures else f"as {row.judged_as}",
        )
        for row in rows
    ]
    columns = ("threads", "batch", "encoder", "median", "spread", "images/s", "x torch", "RMS", "top-1", "top-10")
    beyond = {row.encoding.encoder: "; ".join(row.failures) for row in rows if row.failures}
    failed = [f"\n- {encoder} fails: {failures}" for encoder, failures in beyond.items()]
    return table((*columns, "parity"), cells) + "\n" * bool(failed) + "".join(failed)


def _parts(run: EncoderRun) -> str:
    found = {(row.part.trunk, row.part.photos, row.part.encoder, row.part.part): row.seconds for row in run.parts}
    searches = dict.fromkeys(key[:3] for key in found)
    return table(
        ("trunk", "photos", "encoder", *PARTS),
        [
            (
                trunk,
                f"{photos:,}",
                encoder,
                *(
                    f"{found[trunk, photos, encoder, part] * 1e3:.2f} ms"
                    if (trunk, photos, encoder, part) in found
                    else ""
                    for part in PARTS
                ),
            )
            for trunk, photos, encoder in searches
        ],
    )
