"""The comparison's result page, in Markdown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benches.cases import TRUNKS
from benches.machine import Machine
from benches.page import machine_table, table
from benches.searches import REGIONS
from benches.table2 import published
from benches.table2.accuracy import AccuracyFile
from benches.table2.published import Method
from benches.table2.rows import Row, Table2Run
from benches.table2.sizes import Size
from benches.table2.ways import BASELINE, WAYS


def table2_page(run: Table2Run, accuracy: AccuracyFile, shipped: str, plot: str) -> str:
    """The whole page. shipped: fingerprint of the shipped weights; plot: file name of the plot beside the page."""
    how = f"{_HOW} {_features(run)}"
    parts = [f"# The paper's table 2 on {run.machine.device}", how, f"![Seconds and ratios]({plot})"]
    parts += ["## This engine's MLRM against one vector", _GOAL, _goal(run), _LIMITS]
    for size in run.sizes:
        parts += [f"## {_title(size)}", _size(run, size)]
        parts += [_STATED] if size.name in published.SECONDS else []
    parts += ["## Accuracy on real test pairs", _accuracy_text(accuracy, shipped), _accuracy(run, accuracy)]
    parts += ["## The ways", table(("method", "way", ""), [(way.method, way.name, way.what) for way in WAYS])]
    parts += ["## Machine", table(("", ""), machine_table(run.machine))]
    return "\n\n".join(parts) + "\n"


_HOW = (
    "Four methods search the same gallery, each size in one run: TC-Net's way (one global vector), LA's (local "
    "features at the same position of the grid), DLA's (each position of the sketch with the nearest position of the "
    "photo) and MLRM's (three regions at three levels). Seconds are for all sketches of a size, k = 10, from features "
    "in memory to the numbers of the nearest photos: no encoding. In **bold**: this engine, exact. A `~` means that "
    "only so many sketches were measured and the time scaled up. `x` is the ratio to TC-Net's by `torch.cdist`; "
    "`published x` the ratio of the paper's seconds, on one GPU."
)
_SHAPE = (
    "Features are drawn, of DenseNet-169's shape (a vector of 1,664; a grid of 64 x 1,664; nine vectors, 10,368 values)"
)
_REAL = "sizes named after a data set's folder are real pairs by the shipped light trunk."
_APART = (
    f"{_SHAPE}, with the statistics of `benches/cases.py`; {_REAL} Drawn sketches are drawn apart from "
    "the photos, so none has a clear nearest photo: for this engine, which skips what it can prove far, that is harder "
    "than real pairs."
)
_LIKE = (
    f"{_SHAPE}, like the real ones of {{names}}; {_REAL} Drawn photos have the mean and covariance of the real photos' "
    "features by that trunk, regions and levels together; a drawn sketch is its own photo and a residual with the mean "
    "and covariance of the real pairs'. Their 6,144 values are filled up with zeros, which leaves distances as they "
    "are. Real residuals depend on their photos, so drawn sketches find theirs more easily, while more photos survive "
    "the codes. Rows of this engine say how many sketches found their own photo first. Grids, on whose values no time "
    "depends, have the statistics of `benches/cases.py`."
)
_GOAL = (
    "The goal: this engine's MLRM, exact, is faster than TC-Net's single vector as PyTorch searches it "
    "(`torch.cdist`), and, harder, than the fastest float32 form of it. `values` is how many times more values MLRM "
    "compares a pair; `products` what their multiplications alone take at the machine's fastest measured rates: "
    "TC-Net's in float32, MLRM's in bfloat16 where there is some."
)
_LIMITS = (
    "What limits ours: in galleries of about 100 photos a tenth of all pairs is returned, and each gets its float64 "
    "distance, so exactness costs more than the search. At Sketchy's size the multiplications alone (`products`) "
    "take MLRM, at the rate of bfloat16 on matrix units, about as long as they take TC-Net in float32, and six times "
    "as long without bfloat16; each sketch's float64 distances come on top. In a large gallery memory decides: a "
    "float32 vector is 6.6 KB a photo, all of MLRM's float16 features 20.7 KB, its codes 0.5 KB. The machine is shared "
    "with others: single rows vary by a third."
)
_STATED = (
    "The published seconds hold more than comparing: from ChairV2 to Sketchy the pairs grow 290 times, and TC-Net's "
    "seconds 1.5, DLA's 2.7 times. So compare the ratios' order, not their size."
)


def _features(run: Table2Run) -> str:
    """Where the features are from."""
    names = next((size.drawn_like for size in run.sizes if size.drawn_like), "")
    return _LIKE.format(names=names) if names else _APART


def _title(size: Size) -> str:
    drawn = ", drawn like the real ones" if size.drawn_like else ""
    return f"{size.name}: {size.sketches:,} x {size.photos:,}{drawn}"


@dataclass(frozen=True)
class GoalReached:
    """The goal at one size: our fastest row, the baseline's, and the fastest float32 row of one vector."""

    ours: Row
    baseline: Row
    best: Row

    @property
    def met(self) -> bool:
        """Whether ours is faster than the baseline."""
        return self.ours.seconds <= self.baseline.seconds


def goals_reached(run: Table2Run) -> Iterator[GoalReached]:
    """What the run says of the goal, size by size."""
    for size in run.sizes:
        ours = [row for row in run.rows if row.size == size and row.ours]
        base = run.row(size, BASELINE.method, BASELINE.name)
        tuned = run.row(size, Method.TC_NET, "matmul-fp32")
        if ours and base is not None:
            best = min([base, *([tuned] if tuned else [])], key=lambda row: row.seconds)
            yield GoalReached(min(ours, key=lambda row: row.seconds), base, best)


def _goal(run: Table2Run) -> str:
    rows = [
        (
            one.ours.size.name,
            one.ours.way,
            _seconds(one.ours),
            _seconds(one.baseline),
            _reached(one.baseline, one.ours),
            _reached(one.best, one.ours),
            *_products(one.ours.size, run.machine),
        )
        for one in goals_reached(run)
    ]
    columns = (
        "size",
        "fastest of ours",
        "ours",
        "`torch.cdist`",
        "goal",
        "against its best form",
        "values",
        "products",
    )
    return table(columns, rows)


def _reached(other: Row, ours: Row) -> str:
    factor = other.seconds / ours.seconds
    return f"met, {factor:.2f}x faster" if factor >= 1 else f"missed, {1 / factor:.2f}x slower"


def _products(size: Size, machine: Machine) -> tuple[str, str]:
    """How many times more values MLRM compares, and the least time of the products of both."""
    channels = TRUNKS[size.trunk]
    one, all_ = channels[-1], REGIONS * sum(channels)
    matrix = machine.matrix
    least = [2 * size.pairs * one / matrix["float32"], 2 * size.pairs * all_ / max(matrix.values())]
    return f"{all_ / one:.1f}x", " and ".join(duration(seconds) for seconds in least)


def _size(run: Table2Run, size: Size) -> str:
    columns = ("method", "way", "seconds", "x TC-Net", "published x", "published s", "measured", "rounds", "note")
    rows = [_cells(run, row) for row in run.rows if row.size == size]
    rows += [
        (one.method, one.way, "", "", "", "", "", "", f"not measured: {one.reason}")
        for one in run.absent
        if one.size == size
    ]
    return table(columns, rows)


def _cells(run: Table2Run, row: Row) -> Sequence[str]:
    ratio, stated = run.ratio(row), published.ratio(row.size.name, row.method)
    seconds = published.SECONDS.get(row.size.name, {}).get(row.method)
    return (
        row.method,
        f"**{row.way}**" if row.ours else row.way,
        _seconds(row),
        "" if ratio is None else f"{ratio:,.2f}",
        "" if stated is None else f"{stated:.1f}",
        "" if seconds is None else f"{seconds:.1f}",
        f"{row.measured_sketches:,} of {row.size.sketches:,}" if row.scaled else "all",
        str(row.rounds),
        row.note,
    )


def _seconds(row: Row) -> str:
    return ("~" if row.scaled else "") + duration(row.seconds)


def duration(seconds: float) -> str:
    """2,954.8 s, 2.04 s, 74.61 ms."""
    return f"{seconds:,.1f} s" if seconds >= 10 else f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.2f} ms"


def _accuracy_text(accuracy: AccuracyFile, shipped: str) -> str:
    text = (
        "Shares in % of sketches whose own photo is among the nearest. All methods read the shipped model's maps. Its "
        "trunk is trained for MLRM: the rows of TC-Net, LA and DLA say what their way to compare finds in these maps, "
        "not what their own networks reach; `published` is that, with DenseNet-169. Seconds are for the whole test "
        "set, where the run had the pairs."
    )
    if accuracy.model != shipped:
        text += (
            f" **These numbers are of earlier weights** ({accuracy.model[:12]}; shipped: {shipped[:12]}): run "
            "`python -m benches.table2.accuracy --data FOLDER`."
        )
    return text


def _accuracy(run: Table2Run, accuracy: AccuracyFile) -> str:
    times = {(row.size.name, row.method, row.way): row for row in run.rows}
    rows = []
    for one in accuracy.rows:
        timed, stated = times.get((one.data, one.method, one.way)), published.ACC1.get(one.data, {}).get(one.method)
        shares = [f"{100 * share:.1f}" for share in (one.acc1, one.acc5, one.acc10)]
        rows.append(
            (one.data, one.method, one.way, *shares, "" if timed is None else _seconds(timed), f"{stated or ''}")
        )
    return table(("data", "method", "way", "acc@1", "acc@5", "acc@10", "seconds", "published acc@1"), rows)
