"""What `add` takes: folders, files, images and arrays -> decoded photos with their ids."""

import io
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.errors import ImageError, InvalidPhotoError, NoImagesError
from mlrm.errors import ImageUnreadableError
from mlrm.images import content_hash, find_images, load_image, unreadable
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

    def __str__(self) -> str:
        name = self.path or self.id or f"{type(self.content).__name__} from memory"
        # A file's name may be bytes that no encoding explains; people have to be able to print it.
        return name.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class Photo:
    """A decoded photo: RGB image of the model's size, id, and the hash of its pixels as they were."""

    source: Source
    id: str
    image: Image.Image
    content_hash: str
    preview: bytes | None
    """A small JPEG of a photo that has no file, so that results can show it."""


def expand(photos: Any, ids: Sequence[str] | None) -> list[Source]:
    """The photos in what a caller of `add` gave.

    A file in a folder gets its path relative to that folder as id, with forward slashes; a file given by itself its
    name. Raises `NoImagesError` for a folder without images, `ImageError` for a path that isn't there,
    `InvalidPhotoError` for ids of another number.
    """
    many = isinstance(photos, Iterable) and not isinstance(photos, _ONE)
    sources = [source for item in (photos if many else [photos]) for source in _expand_one(item)]
    if ids is None:
        return sources
    if len(ids) != len(sources):
        raise InvalidPhotoError(f"{len(ids)} ids were given for {len(sources)} photos; expected one id for each")
    return [Source(id_, source.path, source.content) for id_, source in zip(ids, sources, strict=True)]


def _expand_one(item: Any) -> list[Source]:
    if not isinstance(item, _ONE):
        raise InvalidPhotoError(f"can't add a {type(item).__name__}; expected {_EXPECTED}")
    if not isinstance(item, (str, os.PathLike)):
        return [Source(None, None, item)]
    path = Path(item)
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            # Resolved, so that "../photos" and "photos" are one place; a linked file keeps its own name.
            path = path.parent.resolve() / path.name
            return [Source(path.name, str(path), path)]
        path = path.resolve()
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise unreadable(str(path), error) from error
    found = find_images(path)
    if not found:
        raise NoImagesError(
            f"no images in {path}: found no file that ends like one (.jpg, .png, .webp, ...); give another folder"
        )
    return [Source(file.relative_to(path).as_posix(), str(file), file) for file in found]


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
    image = load_image(source.content)
    digest = content_hash(image)
    preview = _preview(image) if source.path is None else None
    id_ = f"image-{digest[:16]}" if source.id is None else source.id
    return Photo(source, id_, to_square(image, size), digest, preview)


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
