"""The plan of a gallery's searches: which short codes, and what was measured when they were chosen. No torch here.

Entries of the catalogue's table `meta`, written in one commit: the plan, as JSON; the sketches it was tried by; what
was counted of the photos that came later.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.catalogue import Catalogue
from engine.drift import Drift
from engine.schema import CATALOGUE, next_generation

PLAN, SKETCHES, DRIFT = "short_codes", "short_codes_sketches", "short_codes_drift"
"""In `meta`."""
RANDOM_COST = 3.0
"""A byte of a survivor's features against one of the codes: measured, 100,000 photos on two cores. Rows are read one by
one."""
FIXED_COST = 40e6
"""Bytes of features that a scan reads in what a search by codes takes however few photos there are: 2.5 to 4 ms."""
SCAN_COST = 1 / 3
"""A byte of features in a scan, once that has 8-bit codes of its own: after some sketches, where memory allows."""
FURTHER_FIXED, FURTHER_SCREEN, FURTHER_ROW = 4e6, 1 / 3, 1.0
"""Of a sketch searched together with another, in the same units: what calls take, a byte of the codes, which are read
for both at once, and a byte of its survivors' features, which are read in their order. Measured with 64 sketches of
20,000 to 100,000 photos."""
MUST_SAVE = 0.8
"""Codes are kept where a search by them is to cost at most this share of a scan: survivors are estimated."""


@dataclass(frozen=True)
class Measured:
    """One allocation of coordinates, tried on a sample.

    kept: coordinates of each term. photo_bytes: memory of a photo. survivors: mean, of `sample` photos. expected: that
    carried over to the gallery's size. cost: bytes a search reads, survivors' features at `RANDOM_COST`, and
    `FIXED_COST`.
    """

    kept: tuple[int, ...]
    photo_bytes: int
    sample: int
    survivors: float
    expected: float
    cost: float


@dataclass(frozen=True)
class Second:
    """A second screen of what the first one leaves, by more bytes, tried on the same sample.

    kept: the first screen's coordinates with which both cost least. photo_bytes: of the second. survivors, expected:
    rows that both would leave to read, those that give the first threshold among them. cost: of both, as in `Measured`.
    Searches have no second screen of codes: this says what it would save.
    """

    kept: tuple[int, ...]
    photo_bytes: int
    survivors: float
    expected: float
    cost: float


@dataclass(frozen=True)
class Plan:
    """basis: the name of the chosen codes' basis; None where codes don't pay.

    photos: in the gallery when it was made. sketches: whether the sample was searched by sketches; else by photos left
    out of it. looseness: what the codes leave unknown of a photo, on average (`engine.drift`): photos added later for
    which it is much larger call for a new plan. evidence: what was tried. second: and behind it, a second screen.
    """

    basis: str | None
    photos: int
    sketches: bool
    looseness: float
    evidence: tuple[Measured, ...]
    second: Second | None = None

    @property
    def chosen(self) -> Measured | None:
        """The evidence of what was chosen."""
        return min(self.evidence, key=lambda one: one.cost) if self.basis and self.evidence else None

    def pays_for(self, queries: int, row_bytes: int, further_scan: float) -> bool:
        """Whether so many sketches at once are to cost less by codes than by one scan for all of them.

        row_bytes: of a photo's features. further_scan: what each sketch adds to a scan for one, a share of it.
        """
        if (best := self.chosen) is None:
            return False
        screened, read = FURTHER_SCREEN * self.photos * best.photo_bytes, FURTHER_ROW * best.expected * row_bytes
        by_codes = best.cost + (queries - 1) * (FURTHER_FIXED + screened + read)
        return by_codes <= scan_cost(self.photos, row_bytes) * (1 + (queries - 1) * further_scan)

    def __str__(self) -> str:
        if (best := self.chosen) is None:
            return f"no short codes: on {self.photos} photos they don't pay; searches read all features"
        share = best.expected / max(1, self.photos)
        return (
            f"{best.photo_bytes} bytes a photo ({sum(best.kept)} coordinates); of {self.photos} photos some "
            f"{best.expected:.0f} ({share:.1%}) are to be read, measured by "
            f"{'sketches' if self.sketches else 'photos, for want of sketches'}"
        )

    def to_json(self) -> str:
        """What `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Raises KeyError, TypeError or ValueError on anything else."""
        found = json.loads(text)
        evidence = tuple(Measured(**one | {"kept": tuple(one["kept"])}) for one in found.pop("evidence"))
        if (second := found.pop("second", None)) is not None:
            second = Second(**second | {"kept": tuple(second["kept"])})
        return cls(**found, evidence=evidence, second=second)


def choose(evidence: Sequence[Measured], photos: int, row_bytes: int) -> Measured | None:
    """The cheapest; None where a scan of `photos` rows of so many bytes costs little more."""
    best = min(evidence, key=lambda one: one.cost, default=None)
    return best if best is not None and best.cost <= MUST_SAVE * scan_cost(photos, row_bytes) else None


def screen_cost(photos: int, photo_bytes: int, survivors: float, row_bytes: int) -> float:
    """Of a search by codes: bytes, and what takes as long."""
    return FIXED_COST + photos * photo_bytes + RANDOM_COST * survivors * row_bytes


def scan_cost(photos: int, row_bytes: int) -> float:
    """Of a search by all features."""
    return SCAN_COST * photos * row_bytes


def cheapest_second(
    evidence: Sequence[Measured], photos: int, photo_bytes: int, counts: Sequence[tuple[int, float]], row_bytes: int
) -> Second:
    """The first screen of those tried with which a second one costs least.

    photo_bytes: of the second. counts: the rows it leaves to read of samples of two sizes (`expected_survivors`).
    """
    expected = expected_survivors(counts, photos)

    def cost(one: Measured) -> float:
        left = min(one.expected, expected)
        return screen_cost(photos, one.photo_bytes, one.expected, photo_bytes) + RANDOM_COST * left * row_bytes

    best = min(evidence, key=cost)
    return Second(best.kept, photo_bytes, counts[-1][1], expected, cost(best))


def expected_survivors(counts: Sequence[tuple[int, float]], photos: int) -> float:
    """Survivors among `photos`, from those counted in samples of two sizes (photos, survivors), the smaller first.

    A power of the size; its exponent is kept between 0.4 and 1: two points are no law.
    """
    (small, few), (large, many) = counts
    exponent = 1.0
    if few > 0 and many > 0 and small < large:
        exponent = min(1.0, max(0.4, _log_ratio(many, few) / _log_ratio(large, small)))
    found: float = many * (photos / large) ** exponent if large else 0.0
    return min(found, float(photos))


def _log_ratio(one: float, other: float) -> float:
    return math.log(one / other)


def read_plan(gallery: Path) -> Plan | None:
    """The gallery's plan; None where it has none, or one of another release."""
    found = _read(gallery, PLAN)
    try:
        return None if found is None else Plan.from_json(found)
    except (KeyError, TypeError, ValueError):
        return None


def read_sketches(gallery: Path) -> str | None:
    """The sketches that a plan was last tried by (`engine.tried_sketches`); None where there were none."""
    return _read(gallery, SKETCHES)


def read_drift(gallery: Path) -> Drift:
    """What was counted of the photos that came after the plan."""
    found = _read(gallery, DRIFT)
    try:
        return Drift() if found is None else Drift.from_json(found)
    except (TypeError, ValueError):
        return Drift()


def write_plan(gallery: Path, plan: Plan, drift: Drift, sketches: str | None = None) -> None:
    """Replace the gallery's plan and what was counted, in one commit. The caller holds the gallery's lock.

    sketches: in place of those there; None leaves these.
    """
    entries = {PLAN: plan.to_json(), DRIFT: drift.to_json()} | ({} if sketches is None else {SKETCHES: sketches})
    with Catalogue(gallery / CATALOGUE).transaction("IMMEDIATE") as connection:
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", entries.items())
        next_generation(connection)


def _read(gallery: Path, key: str) -> str | None:
    with Catalogue(gallery / CATALOGUE).transaction() as connection:
        found = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if found is None else str(found[0])
