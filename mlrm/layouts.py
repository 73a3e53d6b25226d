"""How data sets lie on the disk. Each layout is read into pairs with an explicit split.

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

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal, get_args

from mlrm.errors import DatasetError
from mlrm.images import IMAGE_SUFFIXES, find_images
from mlrm.pairs import PairDataset, some

Split = Literal["train", "test"]

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
            f"({some(path.name for path in unpaired)}) names one of {len(photos)} photos "
            f"({some(path.name for path in photos.values())}); name each sketch after its photo, as the "
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


def unknown_layout(root: Path, split: Split, layouts: Sequence[str]) -> str:
    """What to say of a folder that is in none of these layouts."""
    expected = {
        "qmul_v1": "{train,test}/{sketches,images}/",
        "qmul_v2": "<name>_photo/, <name>_sketch/ and {photo,sketch}_{train,test}.txt",
        "sketchy": "{photo,sketch}/tx_000000000000_ready/<class>/",
        "folder": "sketches/ and photos/ (or images/), at the top or in train/ and test/",
    }
    known = "; ".join(f"{name}: {expected[name]}" for name in layouts)
    found = some(sorted(path.name + "/" * path.is_dir() for path in root.iterdir())) or "nothing"
    return (
        f"{root} holds no {split} pairs in a known layout: found {found}; expected {known}; give the folder "
        "that holds these"
    )
