"""What the engine returns: results that explain themselves."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, overload

from PIL import Image

from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.explain import Explanation

ENDINGS_SHOWN = 8


@dataclass(frozen=True)
class Match:
    """A photo found. `rank` counts from 1; lower `distance` is nearer; `path` is None for a photo added from memory."""

    id: str
    distance: float
    rank: int
    path: str | None
    metadata: Mapping[str, Any] | None
    _explain: "Callable[[Match], Explanation]" = field(repr=False, compare=False)

    def explain(self) -> "Explanation":
        """Why it is near: the R x L contributions that sum to the distance, and both images' region heat maps."""
        return self._explain(self)

    def to_dict(self) -> dict[str, Any]:
        """Id, distance, rank, path and metadata, ready for JSON."""
        return {
            "id": self.id,
            "distance": self.distance,
            "rank": self.rank,
            "path": self.path,
            "metadata": self.metadata,
        }


@dataclass(frozen=True)
class SearchReport:
    """How one answer was found, and whether it is proven to be the float64 ranking.

    read: "codes" (short codes, then the features of those left) or "features" (of all photos). certified: proven. True
    for every exact search. photos: that could have been found. survivors: of these, as many as the screen left
    possible. rescored: photos whose float64 distance was computed, or all of them where all features were read.
    bytes_read: codes and features, these as often as they were read. gap: how much farther the photo after the last one
    is; None where there is none, and where the answer isn't proven. note: why features were read, where codes could
    have been.
    """

    read: str = "features"
    certified: bool = True
    photos: int = 0
    survivors: int = 0
    rescored: int = 0
    bytes_read: int = 0
    gap: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Every field by its name, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        gap = "" if self.gap is None else f", the next photo {self.gap:.6f} farther"
        return (
            f"{'proven' if self.certified else 'not proven'}: {self.photos} photos, {self.survivors} left by the "
            f"screen, {self.rescored} rescored, {self.bytes_read / 1e6:.1f} MB read{gap}"
            f"{'. ' * bool(self.note)}{self.note}"
        )


@dataclass(frozen=True)
class SearchResult(Sequence[Match]):
    """The matches of one sketch, nearest first, and how they were found."""

    matches: tuple[Match, ...]
    _draw: Callable[["SearchResult", str | None], Image.Image] = field(repr=False, compare=False)
    report: SearchReport = field(default=SearchReport(), compare=False)

    @property
    def certified(self) -> bool:
        """Whether the matches are proven to be the nearest by the float64 distance: always, unless `exact=False`."""
        return self.report.certified

    def __len__(self) -> int:
        return len(self.matches)

    @overload
    def __getitem__(self, index: int) -> Match: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Match, ...]: ...
    def __getitem__(self, index: int | slice) -> Match | tuple[Match, ...]:
        return self.matches[index]

    def __iter__(self) -> Iterator[Match]:
        return iter(self.matches)

    def __repr__(self) -> str:
        lines = [f"{match.rank:>4}  {match.distance:.6f}  {match.id}" for match in self.matches]
        return "\n".join([f"SearchResult of {len(self)} matches", *lines])

    def to_list(self) -> list[dict[str, Any]]:
        """The matches as dicts, ready for JSON."""
        return [match.to_dict() for match in self.matches]

    def draw(self, truth: str | None = None) -> Image.Image:
        """A picture of the sketch and the photos in order, with their region heat maps (as the paper's figure 6).

        truth: the id of the right photo, if known; it gets a green frame and the others a red one.
        """
        return self._draw(self, truth)

    def save(self, path: str | os.PathLike[str], truth: str | None = None) -> None:
        """Write `draw(truth)` to a file; raises `EngineError` where that can't be done."""
        save_picture(self.draw(truth), path)


@dataclass(frozen=True)
class Skipped:
    """A photo that was not added, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class AddReport:
    """What became of the photos given to `add`."""

    added: tuple[str, ...]
    """Ids of the photos added now."""
    already: int
    """Photos that were in the gallery before."""
    skipped: tuple[Skipped, ...]
    moved: int = 0
    """Those of `already` whose file was found at another place: the gallery knows the new one now."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """How many files in folders don't end like an image, by ending."""
    replaced: int = 0
    """Those of `added` that took the place of a photo with the same id."""
    described: int = 0
    """Those of `already` whose metadata were replaced."""
    unmatched: int = 0
    """Rows of the metadata file that name none of the photos."""

    def __repr__(self) -> str:
        return "\n".join([self.summary(), *(f"  {skip.source}: {skip.reason}" for skip in self.skipped)])

    def summary(self) -> str:
        """All counts, in a few lines."""
        replaced = f" ({self.replaced} of them in place of older ones)" if self.replaced else ""
        also = [
            f"{count} of them {what}"
            for count, what in ((self.moved, "moved"), (self.described, "with new metadata"))
            if count
        ]
        already = f" ({', '.join(also)})" if also else ""
        lines = [
            f"{len(self.added)} added{replaced}, {self.already} there already{already}, {len(self.skipped)} skipped"
        ]
        if self.left_out:
            lines.append(left_out_text(self.left_out))
        if self.unmatched:
            lines.append(f"rows of the metadata file that name none of these photos: {self.unmatched}")
        return "\n".join(lines)


def left_out_text(left_out: Mapping[str, int]) -> str:
    """Say how many files were left out, the most common endings first."""
    endings = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{ending}: {count}" for ending, count in endings[:ENDINGS_SHOWN]] + ["..."] * (
        len(endings) > ENDINGS_SHOWN
    )
    total = sum(left_out.values())
    return f"{total} other file{'s' * (total != 1)} left out ({', '.join(named)})"


def save_picture(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture to a file, of the kind its name ends in; raises `EngineError` where that can't be done."""
    try:
        picture.save(path)
    except (OSError, ValueError) as error:  # ValueError: an ending that Pillow doesn't know
        raise EngineError(
            f"can't write the picture {os.fspath(path)}: {error}; give a name that ends in .png or .jpg, in a folder "
            "that exists and may be written"
        ) from error
