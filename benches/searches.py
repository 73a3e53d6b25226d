"""The declared searches that benches measure, and what one of them has to read and compute at least."""

from dataclasses import dataclass

from benches.cases import TRUNKS

REGIONS = 3
QUERIES = (1, 8, 64, 1000)
TOP_KS = (10, 100)


@dataclass(frozen=True)
class Search:
    """The nearest `top_k` of `photos` float16 photos for each of some queries; reads densenet169-Q8-G1000-k10."""

    trunk: str
    photos: int
    queries: int
    top_k: int

    def __str__(self) -> str:
        return f"{self.trunk}-Q{self.queries}-G{self.photos}-k{self.top_k}"

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the levels."""
        return TRUNKS[self.trunk]

    @property
    def values(self) -> int:
        """Feature values of one photo."""
        return REGIONS * sum(self.channels)

    @property
    def pairs(self) -> int:
        """Distances that are compared."""
        return self.queries * self.photos

    @property
    def stored_bytes(self) -> int:
        """The gallery as it is stored, float16 with float32 weights: what an exact search reads once at least."""
        weights = REGIONS * (1 + len(self.channels))
        return self.photos * (2 * self.values + 4 * weights)

    @property
    def flop(self) -> int:
        """One multiplication and one addition for each value of each pair."""
        return 2 * self.pairs * self.values


def searches(device_type: str, sweep: bool) -> tuple[Search, ...]:
    """What is measured on a "cpu" or "cuda" device, gallery by gallery; with `sweep` every size.

    The default galleries are beyond every cache, and on a CPU the size that the goals' baseline was stated for.
    """
    if sweep:
        galleries = [(trunk, photos) for trunk in TRUNKS for photos in (1_000, 10_000, 100_000)]
        if device_type == "cuda":
            galleries += [(trunk, 1_000_000) for trunk in TRUNKS]
        top_ks: tuple[int, ...] = TOP_KS
    else:
        large = {"cpu": (10_000, 20_000), "cuda": (100_000, 100_000)}[device_type]
        galleries = list(zip(TRUNKS, large, strict=True))
        top_ks = TOP_KS[:1]
    return tuple(
        Search(trunk, photos, queries, top_k) for trunk, photos in galleries for queries in QUERIES for top_k in top_ks
    )
