"""Photos on their way into a gallery: decoded ahead, encoded in batches, committed in segments."""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from PIL import Image

from engine.encoders import Encoder
from engine.errors import ImageError
from engine.gallery import FeatureBlock, Gallery, GalleryWriter
from engine.sources import Photo, Source, decode
from engine.types import AddReport, Skipped
from mlrm.features import Features
from mlrm.transforms import image_to_tensor

SEGMENT_PHOTOS = 512
"""Photos committed at a time: what a kill may cost."""
ENCODE_BATCH = 16

Progress = Callable[[int, int], None]
GalleryFor = Callable[[FeatureBlock], Gallery]


class Ingest:
    """Adds photos while it holds the gallery's lock; a context manager for one `add`.

    gallery: the gallery, or None if the first photos are to create it with `gallery_for`.
    """

    def __init__(self, encoder: Encoder, gallery: Gallery | None, gallery_for: GalleryFor) -> None:
        self._encoder, self._gallery, self._gallery_for = encoder, gallery, gallery_for
        self._writer: GalleryWriter | None = None
        self._stack = ExitStack()
        # The segment in the making: its photos, the features of those encoded, the images of the others.
        self._photos: list[Photo] = []
        self._features: list[Features] = []
        self._images: list[Image.Image] = []

    def __enter__(self) -> Self:
        if self._gallery is not None:
            self._writer = self._stack.enter_context(self._gallery.writer())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self, sources: list[Source], metadata: Mapping[str, Mapping[str, Any]], progress: Progress) -> AddReport:
        """Add what isn't there already; report what was skipped and why."""
        known = {} if self._gallery is None else self._gallery.existing()
        # A file under its id at the same path is not decoded again: this is how an interrupted `add` goes on.
        new = [s for s in sources if s.path is None or s.id not in known or known[s.id].path != s.path]
        already, added = len(sources) - len(new), list[str]()
        skipped: list[Skipped] = []
        paths = {id_: record.path for id_, record in known.items()}
        decoded = decode(new, self._encoder.image_size, 4 * ENCODE_BATCH, os.cpu_count() or 1)
        for done, (source, photo) in enumerate(decoded, already + 1):
            if isinstance(photo, ImageError):
                skipped.append(Skipped(str(source), photo.reason))
            elif photo.id in known and known[photo.id].content_hash == photo.content_hash:
                already += 1
            elif photo.id in paths:
                holder = paths[photo.id] or "an image from memory"
                skipped.append(
                    Skipped(str(source), f"the id {photo.id!r} is taken by {holder}; rename it or give ids=[...]")
                )
            else:
                paths[photo.id] = source.path
                added += self._take(photo, metadata)
            progress(done, len(sources))
        added += self._commit(metadata)
        return AddReport(tuple(added), already, tuple(skipped))

    def _take(self, photo: Photo, metadata: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Encode the photo with others, as soon as a batch is full; returns the ids committed by that, if any."""
        self._photos.append(photo)
        self._images.append(photo.image)
        if len(self._photos) == SEGMENT_PHOTOS:
            return self._commit(metadata)
        if len(self._images) == ENCODE_BATCH:
            self._encode()
        return []

    def _encode(self) -> None:
        self._features.append(encode(self._encoder, self._images, "photo"))
        self._images.clear()

    def _commit(self, metadata: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Store the photos taken since the last commit; returns their ids."""
        if not self._photos:
            return []
        if self._images:
            self._encode()
        photos, block = self._photos, feature_block(Features.cat(self._features))
        self._photos, self._features = [], []
        if self._writer is None:
            self._writer = self._stack.enter_context(self._gallery_for(block).writer())
        ids = [photo.id for photo in photos]
        self._writer.add(
            block,
            ids,
            paths=[photo.source.path for photo in photos],
            content_hashes=[photo.content_hash for photo in photos],
            metadata=[metadata.get(id_) for id_ in ids],
            previews=[photo.preview for photo in photos],
        )
        return ids


def encode(encoder: Encoder, images: Iterable[Image.Image], domain: Any) -> Features:
    """Features of RGB images, in batches."""
    tensors = [image_to_tensor(image, encoder.image_size) for image in images]
    starts = range(0, len(tensors), ENCODE_BATCH)
    return Features.cat(encoder.encode(torch.stack(tensors[s : s + ENCODE_BATCH]), domain) for s in starts)


def feature_block(features: Features) -> FeatureBlock:
    """Features as the arrays a gallery stores; without maps, one empty cell stands for them."""

    def array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
        return tensor.detach().to("cpu", torch.promote_types(tensor.dtype, torch.float32)).numpy()

    regions = features.region_weights
    maps = np.zeros((*regions.shape, 1, 1), np.uint8) if features.maps is None else array(features.maps)
    return FeatureBlock(
        tuple(array(level) for level in features.levels), array(regions), array(features.level_weights), maps
    )
