"""Whether photos added after a plan was made are like those it was made for: how much its codes leave unknown of them.

Photos are counted until they are as many as a new plan is worth, however few are added at a time; then they are judged
together, and counting begins anew. No torch here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.short.codes import CUT, ERROR, ShortCodes, filled

LOOSE = 1.25
"""A plan is made anew once new photos leave so many times as much unknown as those it was made for, on average."""
JUDGED = 2048
"""Photos that are judged together."""
JUDGED_SHARE = 16
"""Or one photo in so many of the gallery: a new plan makes the codes of all of them."""
LOOSEST = 16.0
"""More than this many times as loose counts as this: a photo of which nothing is known survives every screen, and does
so only once."""


@dataclass(frozen=True)
class Drift:
    """Photos counted since they were last judged, and the sum of how loose they are, in units of the plan's."""

    photos: int = 0
    loose: float = 0.0

    def after(self, loose: NDArray[np.float64], expected: float) -> Drift:
        """With more photos, as loose as `looseness` says. expected: the mean of the photos the plan was made for."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.nan_to_num(loose / expected, nan=0, posinf=np.inf)
        return Drift(self.photos + len(loose), self.loose + float(ratio.clip(max=LOOSEST).sum()))

    def enough(self, gallery: int) -> bool:
        """Whether they are enough to be judged, in a gallery of so many photos."""
        return self.photos >= max(JUDGED, gallery // JUDGED_SHARE)

    @property
    def due(self) -> bool:
        """Whether they call for a new plan."""
        return self.loose > LOOSE * self.photos

    def to_json(self) -> str:
        """What `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Drift:
        """Raises TypeError or ValueError on anything else."""
        return cls(**json.loads(text))


def looseness(codes: ShortCodes) -> NDArray[np.float64]:
    """What codes leave unknown of each of N photos, float64 [N]: norms of cuts and errors, weighted as distances are.

    Infinite where a term with a weight bounds nothing.
    """
    regions, terms = codes.basis.regions, len(codes.basis.terms)
    unknown = codes.sides[:, :, CUT].astype(np.float64) + codes.sides[:, :, ERROR]
    unknown = np.nan_to_num(unknown, nan=np.inf, posinf=np.inf) * codes.basis.units[:, None]
    weights = codes.weights.astype(np.float64)
    weights = np.repeat(weights[:, :regions], terms // regions, 1) * weights[:, regions:]
    loose = np.multiply(unknown, weights, out=np.zeros_like(unknown), where=weights > 0).sum(1)
    found: NDArray[np.float64] = loose.ravel()[filled(np.diff(codes.ends, prepend=0))]
    return found
