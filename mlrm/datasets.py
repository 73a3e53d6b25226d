"""Folders of sketches and photos -> pairs with an explicit split, everything unpaired or missing named.

Layouts (`LAYOUTS` has them by name):
- `qmul_v1`: `{train,test}/{sketches,images}/`, sketch and photo of the same stem (sketches named as in
  `folder` are read too).
- `qmul_v2`: `<name>_photo/`, `<name>_sketch/` and lists `{photo,sketch}_{train,test}.txt`; sketch
  `<photo>_<n>`.
- `sketchy`: `{photo,sketch}/tx_000000000000_ready/<class>/`; sketch `<photo>-<n>`; of a class's photos in
  sorted order the 1st, 11th, 21st, ... are test.
- `folder`: one's own pairs, `sketches/` and `photos/` (or `images/`), at the top (then all of it is training
  data) or in `train/` and `test/`; sketch of the photo's stem, or `<photo>_<n>`, or `<photo>-<n>`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Literal, get_args

from mlrm.decoding import decode
from mlrm.errors import ConfigError, DatasetError, ImageError
from mlrm.images import IMAGE_SUFFIXES, find_images

Split = Literal["train", "test"]


@dataclass(frozen=True)
class PairDataset:
    """Sketches and the photos they belong to.

    Attributes:
        root: the folder it was read from.
        name: that folder's name, used as the category.
        layout: one of `LAYOUTS`.
        split: "train" or "test", or "validation" for what `split_validation` set aside.
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
        named = [f"  {what}: {_some(self.relative(paths))}" for what, paths in left_over.items() if paths]
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


def read_pairs(folder: str | Path, split: Split, layout: str = "auto") -> PairDataset:
    """Read one split of a folder of sketches and photos; no image is decoded (see `check`).

    Args:
        folder: the data set's root.
        split: "train" or "test".
        layout: one of `LAYOUTS`, or "auto" to recognise it by its folders.

    Raises:
        DatasetError: no layout matches, the split isn't there, a list is unreadable, two images share a
            name, or no sketch has a photo.
        ConfigError: `split` or `layout` isn't one of the known.
    """
    root = Path(folder)
    if split not in get_args(Split):
        raise ConfigError(f"split is {split!r}, expected one of {', '.join(get_args(Split))}")
    if layout not in LAYOUTS and layout != "auto":
        raise ConfigError(f"layout is {layout!r}, expected auto or one of {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise DatasetError(f"{root} isn't a folder; give the folder of a data set")
    tried = LAYOUTS if layout == "auto" else {layout: LAYOUTS[layout]}
    for name, reader in tried.items():
        if (dataset := reader(root, split, name)) is not None:
            return dataset
    raise DatasetError(_unknown_layout(root, split, list(tried)))


def check(dataset: PairDataset, progress: Callable[[int, int], None] | None = None) -> list[ImageError]:
    """Decode every photo and sketch of a data set.

    Args:
        dataset: what `read_pairs` returned.
        progress: called after each image with the number done and the number in all.

    Returns:
        One error for each image that can't be used, naming its file; empty if all can.
    """
    _, errors = decode([*dataset.photos, *dataset.sketches], lambda image: None, progress)
    return errors


def split_validation(dataset: PairDataset, photos: int, seed: int) -> tuple[PairDataset, PairDataset]:
    """Set photos with all their sketches aside; which ones depends on their names and the seed alone.

    Args:
        dataset: the training pairs.
        photos: how many photos, each with at least one sketch, go to the validation part.
        seed: another seed, another choice.

    Returns:
        The remaining training part and the validation part. Photos without a sketch stay in training.

    Raises:
        ConfigError: `photos` is below 1, or leaves no paired photo to train on.
    """
    paired = sorted(set(dataset.photo_of))
    if not 1 <= photos < len(paired):
        raise ConfigError(
            f"validation of {photos} photos asked of {dataset.name}, which has {len(paired)} photos with a "
            f"sketch; choose 1 to {len(paired) - 1}"
        )

    def lot(index: int) -> str:
        # A hash of the name, not a shuffle of positions: the order of files doesn't matter.
        name = dataset.photos[index].relative_to(dataset.root).with_suffix("").as_posix()
        return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()

    chosen = set(sorted(paired, key=lot)[:photos])
    rest = [index for index in range(len(dataset.photos)) if index not in chosen]
    return dataset.subset(rest, "train"), dataset.subset(chosen, "validation")


_SAME_STEM = re.compile(r"(.+)")
_NUMBERED = re.compile(r"(.+)_\d+")
_NUMBERED_BY_DASH = re.compile(r"(.+)-\d+")
_ANY_NAME = (_SAME_STEM, _NUMBERED, _NUMBERED_BY_DASH)


def _read_qmul_v1(root: Path, split: Split, layout: str) -> PairDataset | None:
    sketches, photos = root / split / "sketches", root / split / "images"
    if not (sketches.is_dir() and photos.is_dir()):
        return None
    return _pair_folders(root, split, layout, sketches, photos, _ANY_NAME)


def _read_folder(root: Path, split: Split, layout: str) -> PairDataset | None:
    splits = [name for name in get_args(Split) if (root / name / "sketches").is_dir()]
    base = root / split if splits else root
    photos = [base / name for name in ("photos", "images") if (base / name).is_dir()]
    if len(photos) != 1 or not (base / "sketches").is_dir():
        return None
    if split == "test" and not splits:
        raise DatasetError(
            f"{root} has no test split: its pairs aren't divided; move some pairs to test/sketches and "
            f"test/{photos[0].name} and the others to train/ likewise"
        )
    return _pair_folders(root, split, layout, base / "sketches", photos[0], _ANY_NAME)


def _read_qmul_v2(root: Path, split: Split, layout: str) -> PairDataset | None:
    names = [path.name.removesuffix("_photo") for path in sorted(root.glob("*_photo")) if path.is_dir()]
    names = [name for name in names if (root / f"{name}_sketch").is_dir()]
    if len(names) != 1:
        return None
    missing: list[Path] = []
    photos = _listed(root / f"{names[0]}_photo", root / f"photo_{split}.txt", missing)
    sketches = _listed(root / f"{names[0]}_sketch", root / f"sketch_{split}.txt", missing)
    return _pair(root, split, layout, sketches, dict(photos), [_NUMBERED], missing)


def _read_sketchy(root: Path, split: Split, layout: str) -> PairDataset | None:
    # The images as published are in tx_000000000000; "_ready" is the same set as others redistribute it.
    for version in ("tx_000000000000_ready", "tx_000000000000"):
        photo_root, sketch_root = root / "photo" / version, root / "sketch" / version
        if photo_root.is_dir() and sketch_root.is_dir():
            break
    else:
        return None
    photos = _unique(_by_key(photo_root))
    test: set[str] = set()
    for _, keys in groupby(sorted(photos), key=lambda key: key.rpartition("/")[0]):
        test.update(list(keys)[::10])
    here = {key: path for key, path in photos.items() if (key in test) == (split == "test")}
    # A sketch of the other split's photo isn't unpaired; one of no photo at all is named in both splits.
    elsewhere = photos.keys() - here.keys()
    sketches = [
        (key, path)
        for key, path in _by_key(sketch_root)
        if not ((match := _NUMBERED_BY_DASH.fullmatch(key)) and match[1] in elsewhere)
    ]
    return _pair(root, split, layout, sketches, here, [_NUMBERED_BY_DASH], [])


LAYOUTS: dict[str, Callable[[Path, Split, str], PairDataset | None]] = {
    "qmul_v1": _read_qmul_v1,
    "qmul_v2": _read_qmul_v2,
    "sketchy": _read_sketchy,
    "folder": _read_folder,
}


def _pair_folders(
    root: Path, split: Split, layout: str, sketches: Path, photos: Path, patterns: Sequence[re.Pattern[str]]
) -> PairDataset:
    return _pair(root, split, layout, _by_key(sketches), _unique(_by_key(photos)), patterns, [])


def _pair(
    root: Path,
    split: Split,
    layout: str,
    sketches: Iterable[tuple[str, Path]],
    photos: dict[str, Path],
    patterns: Sequence[re.Pattern[str]],
    missing: list[Path],
) -> PairDataset:
    """Give each sketch the photo that the first fitting pattern names."""
    place = {key: index for index, key in enumerate(photos)}
    paired: list[tuple[Path, int]] = []
    unpaired: list[Path] = []
    for key, path in sketches:
        owners = (match[1] for pattern in patterns if (match := pattern.fullmatch(key)))
        owner = next((owner for owner in owners if owner in place), None)
        if owner is None:
            unpaired.append(path)
        else:
            paired.append((path, place[owner]))
    if not paired:
        raise DatasetError(
            f"{root} ({layout}, {split}): none of {len(unpaired)} sketches "
            f"({_some(path.name for path in unpaired)}) names one of {len(photos)} photos "
            f"({_some(path.name for path in photos.values())}); name each sketch after its photo, as the "
            "layout asks"
        )
    drawn = {index for _, index in paired}
    gallery = list(photos.values())
    return PairDataset(
        root=root,
        name=root.resolve().name,
        layout=layout,
        split=split,
        photos=gallery,
        keys=list(photos),
        sketches=[path for path, _ in paired],
        photo_of=[index for _, index in paired],
        unpaired_sketches=unpaired,
        unpaired_photos=[path for index, path in enumerate(gallery) if index not in drawn],
        missing=missing,
    )


def _by_key(folder: Path) -> list[tuple[str, Path]]:
    """List a folder's images by their path within it, without suffix: what pairing compares."""
    return [(path.relative_to(folder).with_suffix("").as_posix(), path) for path in find_images(folder)]


def _unique(images: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    by_key: dict[str, Path] = {}
    for key, path in images:
        if key in by_key:
            raise DatasetError(
                f"two images share a name, so pairing can't tell them apart: {by_key[key]} and {path}; "
                "rename or remove one"
            )
        by_key[key] = path
    return by_key


def _listed(folder: Path, names: Path, missing: list[Path]) -> list[tuple[str, Path]]:
    """Find the images that a list names, one a line; what isn't there is added to `missing`."""
    try:
        lines = names.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{names} can't be read ({error}), expected a list of file names") from error
    there = _unique(_by_key(folder))
    found = []
    for name in dict.fromkeys(line.strip() for line in lines if line.strip()):
        # Copies of these sets differ in the files' format, so the suffix in the list decides nothing.
        key = name[: -len(suffix)] if (suffix := Path(name).suffix).lower() in IMAGE_SUFFIXES else name
        if key in there:
            found.append((key, there[key]))
        else:
            missing.append(folder / name)
    return found


def _unknown_layout(root: Path, split: Split, layouts: Sequence[str]) -> str:
    expected = {
        "qmul_v1": "{train,test}/{sketches,images}/",
        "qmul_v2": "<name>_photo/, <name>_sketch/ and {photo,sketch}_{train,test}.txt",
        "sketchy": "{photo,sketch}/tx_000000000000_ready/<class>/",
        "folder": "sketches/ and photos/ (or images/), at the top or in train/ and test/",
    }
    known = "; ".join(f"{name}: {expected[name]}" for name in layouts)
    found = _some(sorted(path.name + "/" * path.is_dir() for path in root.iterdir())) or "nothing"
    return (
        f"{root} holds no {split} pairs in a known layout: found {found}; expected {known}; give the folder "
        "that holds these"
    )


def _some(names: Iterable[str], shown: int = 5) -> str:
    first = list(islice(names, shown + 1))
    return ", ".join(first[:shown]) + (", ..." if len(first) > shown else "")
