"""The declared sizes of the comparison."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """A test set: every sketch is searched for among all photos, all sketches at once.

    drawn_like: the data sets whose statistics drawn features have; empty of real ones, and of those drawn by default.
    """

    name: str
    trunk: str
    sketches: int
    photos: int
    top_k: int = 10
    drawn_like: str = ""

    def __str__(self) -> str:
        return f"{self.name}-Q{self.sketches}-G{self.photos}"

    @property
    def pairs(self) -> int:
        """Distances that are compared."""
        return self.sketches * self.photos

    @property
    def large(self) -> bool:
        """Whether only TC-Net's vectors and MLRM's regions are measured: grids of 100,000 photos would be 40 GB."""
        return self.photos >= LARGE


LARGE = 50_000
SIZES = (
    Size("ChairV2", "densenet169", 323, 100),
    Size("Sketchy", "densenet169", 7_500, 1_250),  # 125 classes of 100 photos, every 10th is test; 6 sketches of each
)
LARGE_SIZES = (
    Size("100,000 photos, one sketch", "densenet169", 1, 100_000),
    Size("100,000 photos, 64 sketches", "densenet169", 64, 100_000),
)
"""Of a sweep besides: half a minute, and 6 GB."""
