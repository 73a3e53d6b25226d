"""Sketches and the photos they belong to: what every layout of folders is read into (`mlrm.datasets`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path


@dataclass(frozen=True)
class PairDataset:
    """Sketches and the photos they belong to.

    Attributes:
        root: the folder it was read from.
        name: that folder's name, used as the category.
        layout: one of `mlrm.layouts.LAYOUTS`.
        split: "train" or "test", or "validation" for what `mlrm.datasets.split_validation` set aside.
        photos: the gallery, photos without a sketch included.
        keys: for each photo the name by which sketches are paired with it: its path in the folder of photos,
            without suffix ("12", "cat/n01_3").
        sketches: the sketches that have a photo.
        photo_of: for each sketch the index of its photo in `photos`.
        unpaired_sketches: sketches without a photo in this split; in no other field.
        unpaired_photos: photos without a sketch; they are in `photos` too.
        missing: files that a list names and that don't exist.
    """

    root: Path
    name: str
    layout: str
    split: str
    photos: list[Path]
    keys: list[str]
    sketches: list[Path]
    photo_of: list[int]
    unpaired_sketches: list[Path]
    unpaired_photos: list[Path]
    missing: list[Path]

    def summary(self) -> str:
        """Return one line of counts, and a line of names for each kind of file that has no partner or is missing."""
        counts = (
            f"{self.name} ({self.layout}, {self.split}): {len(self.sketches)} sketches of "
            f"{len(self.photos) - len(self.unpaired_photos)} photos, {len(self.photos)} photos in all; "
            f"unpaired: {len(self.unpaired_sketches)} sketches, {len(self.unpaired_photos)} photos; "
            f"missing: {len(self.missing)} files"
        )
        left_over = {
            "unpaired sketches": self.unpaired_sketches,
            "unpaired photos": self.unpaired_photos,
            "missing": self.missing,
        }
        named = [f"  {what}: {some(self.relative(paths))}" for what, paths in left_over.items() if paths]
        return "\n".join([counts, *named])

    def relative(self, paths: Iterable[Path]) -> list[str]:
        """Return files of this data set as they are called within its root, wherever that lies."""
        return [path.relative_to(self.root).as_posix() for path in paths]

    def subset(self, photos: Collection[int], split: str) -> PairDataset:
        """Return the part with these photos (indices) and all their sketches, in this data set's order.

        What the whole lacked (unpaired sketches, missing files) is not repeated in its parts.
        """
        kept = sorted(set(photos))
        place = {old: new for new, old in enumerate(kept)}
        of_kept = [i for i, photo in enumerate(self.photo_of) if photo in place]
        kept_photos = [self.photos[i] for i in kept]
        unpaired = set(self.unpaired_photos)
        return replace(
            self,
            split=split,
            photos=kept_photos,
            keys=[self.keys[i] for i in kept],
            sketches=[self.sketches[i] for i in of_kept],
            photo_of=[place[self.photo_of[i]] for i in of_kept],
            unpaired_sketches=[],
            unpaired_photos=[photo for photo in kept_photos if photo in unpaired],
            missing=[],
        )


def some(names: Iterable[str], shown: int = 5) -> str:
    """The first few of many names, for a message."""
    first = list(islice(names, shown + 1))
    return ", ".join(first[:shown]) + (", ..." if len(first) > shown else "")
