"""What `add` takes: folders, files, images and arrays -> decoded photos with their ids."""

import io
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.errors import ImageError, InvalidPhotoError, NoImagesError
from engine.types import left_out_text
from mlrm.errors import ImageUnreadableError
from mlrm.images import IMAGE_SUFFIXES, content_hash, find_images, load_image, unreadable
from mlrm.transforms import to_square

PREVIEW_SIDE = 256
_ONE = (str, os.PathLike, bytes, Image.Image, np.ndarray)
_EXPECTED = "a folder, a file, a PIL image, an array, bytes, or a list of these"


@dataclass(frozen=True)
class Source:
    """A photo to be added: an id (None: made of its content), where it is on disk, and what to decode."""

    id: str | None
    path: str | None
    content: Any
    id_given: bool = False
    """Whether the caller chose the id; otherwise it is the file's name."""

    def __str__(self) -> str:
        name = self.path or self.id or f"{type(self.content).__name__} from memory"
        # A file's name may be bytes that no encoding explains; people have to be able to print it.
        return name.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class Expanded:
    """The photos to be added, and how many other files were found beside them, by ending."""

    sources: list[Source]
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Photo:
    """A decoded photo: RGB image of the model's size, id, the hash of its pixels as they were, its file's stamp."""

    source: Source
    id: str
    image: Image.Image
    content_hash: str
    file_stamp: str | None
    preview: bytes | None
    """A small JPEG of a photo that has no file, so that results can show it."""


def expand(photos: Any, ids: Sequence[str] | None) -> Expanded:
    """The photos in what a caller of `add` gave.

    A file in a folder gets its path relative to that folder as id, with forward slashes; a file given by itself its
    name. Without `ids`, a file is one photo however often it is named. Raises `NoImagesError` for a folder without
    images, `ImageError` for a path that isn't there, `InvalidPhotoError` for ids of another number or type.
    """
    many = isinstance(photos, Iterable) and not isinstance(photos, _ONE)
    sources: list[Source] = []
    left_out = Counter[str]()
    for item in photos if many else [photos]:
        found = _expand_one(item)
        sources += found.sources
        left_out.update(found.left_out)
    if ids is None:
        return Expanded(_once(sources), left_out)
    if len(ids) != len(sources):
        raise InvalidPhotoError(f"{len(ids)} ids were given for {len(sources)} photos; expected one id for each")
    if other := [id_ for id_ in ids if not isinstance(id_, str)]:
        raise InvalidPhotoError(f"found the id {other[0]!r}; expected strings")
    return Expanded([replace(s, id=id_, id_given=True) for id_, s in zip(ids, sources, strict=True)], left_out)


def _once(sources: list[Source]) -> list[Source]:
    """The sources, each file where it comes first."""
    first: dict[object, Source] = {}
    for source in sources:
        first.setdefault(source.path or object(), source)
    return list(first.values())


def _expand_one(item: Any) -> Expanded:
    if not isinstance(item, _ONE):
        raise InvalidPhotoError(f"can't add a {type(item).__name__}; expected {_EXPECTED}")
    if not isinstance(item, (str, os.PathLike)):
        return Expanded([Source(None, None, item)])
    path = Path(item)
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            # Resolved, so that "../photos" and "photos" are one place; a linked file keeps its own name.
            path = path.parent.resolve() / path.name
            return Expanded([Source(path.name, str(path), path)])
        path = path.resolve()
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise unreadable(str(path), error) from error
    found, left_out = find_images(path), _left_out(path)
    if not found:
        others = f" ({left_out_text(left_out)})" if left_out else ""
        raise NoImagesError(
            f"no images in {path}: found no file that ends like one (.jpg, .png, .webp, ...){others}; give another "
            "folder, or save the images as one of these"
        )
    return Expanded([Source(file.relative_to(path).as_posix(), str(file), file) for file in found], left_out)


def _left_out(folder: Path) -> Counter[str]:
    """How many files below a folder `find_images` leaves out, by ending; hidden ones, nobody asks for."""
    endings = Counter[str]()
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        endings.update(Path(name).suffix.lower() or "no ending" for name in files if not name.startswith("."))
    return Counter({ending: count for ending, count in endings.items() if ending not in IMAGE_SUFFIXES})


def file_stamp(path: str | Path) -> str | None:
    """Size and time of change of a file: another stamp, perhaps another content. None if it can't be had."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):  # ValueError: a name with a null character
        return None
    return f"{status.st_size}:{status.st_mtime_ns}"


def decode(
    sources: Iterable[Source], size: int, ahead: int, workers: int
) -> Iterator[tuple[Source, Photo | ImageError]]:
    """Decode in order, some photos ahead of their use; a photo that can't be decoded comes as its error.

    Each is brought to [size, size] by the worker that decoded it: only `workers` photos are in memory at full size.
    """
    remaining = iter(sources)
    with ThreadPoolExecutor(workers) as pool:
        pending: list[tuple[Source, Future[Photo]]] = []
        try:
            while True:
                pending += [(s, pool.submit(_decode, s, size)) for s in islice(remaining, ahead - len(pending))]
                if not pending:
                    return
                source, future = pending.pop(0)
                try:
                    yield source, future.result()
                except ImageError as error:
                    yield source, error
        finally:
            pool.shutdown(cancel_futures=True)


def _decode(source: Source, size: int) -> Photo:
    if source.path is not None and not _is_text(source.path):
        raise ImageUnreadableError(str(source), "has a name that is not valid Unicode; rename the file")
    stamp = None if source.path is None else file_stamp(source.path)  # before reading: later is too late to notice
    image = load_image(source.content)
    digest = content_hash(image)
    preview = _preview(image) if source.path is None else None
    id_ = content_id(digest) if source.id is None else source.id
    return Photo(source, id_, to_square(image, size), digest, stamp, preview)


def content_id(digest: str) -> str:
    """The id of a photo that has no other, by the hash of its pixels."""
    return f"image-{digest[:16]}"


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _preview(image: Image.Image) -> bytes:
    small = image.copy()
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
