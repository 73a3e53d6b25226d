"""Photos on their way into a gallery: decoded, encoded in batches and committed in segments, all at the same time."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from engine.artefacts import Artefact
from engine.encode_ahead import BATCHES_AHEAD, EncodeAhead
from engine.encoders import Encoder
from engine.encoding import ENCODE_BATCH, encode, feature_block
from engine.errors import FeatureValueError, ImageError, InvalidPhotoError
from engine.gallery import FeatureBlock, Gallery, GalleryWriter
from engine.gallery_writer import check_id
from engine.records import PhotoFile
from engine.sources import Expanded, Photo, Source, decode, file_stamp
from engine.types import AddReport, Skipped
from mlrm.features import Features

SEGMENT_PHOTOS = 512
"""Photos committed at a time: what a kill may cost."""

Progress = Callable[[int, int], None]
GalleryFor = Callable[[FeatureBlock], Gallery]


@dataclass(frozen=True)
class _Held:
    """A photo that is in the gallery or on its way there."""

    id: str
    path: str | None
    content_hash: str | None
    file_stamp: str | None


class Ingest:
    """Adds photos while it holds the gallery's lock; a context manager for one `add`.

    Three things go on at once: threads decode the photos to come (Pillow lets go of Python's lock for that), one thread
    encodes, and the caller's thread decides what becomes of each photo and commits what is encoded.

    gallery: the gallery, or None if the first photos are to create it with `gallery_for`.
    metadata: of some photos, by id.
    replace: whether a photo replaces what is there under its id, and its metadata that of a photo that is there.
    index_keys: metadata keys that are to have an index.
    made_by: what `encoder` runs, for the gallery's record.
    """

    def __init__(
        self,
        encoder: Encoder,
        gallery: Gallery | None,
        gallery_for: GalleryFor,
        metadata: Mapping[str, Mapping[str, Any]],
        replace: bool = False,
        index_keys: Sequence[str] = (),
        made_by: Artefact | None = None,
    ) -> None:
        self._encoder, self._gallery, self._gallery_for, self._metadata = encoder, gallery, gallery_for, metadata
        self._replace, self._index_keys, self._made_by = replace, index_keys, made_by
        self._writer: GalleryWriter | None = None
        self._stack = ExitStack()
        self._held: dict[str, _Held] = {}
        self._by_path: dict[str, _Held] = {}  # of those in the gallery before
        # The segments in the making: photos that wait for a full batch, batches in the encoder's hands, and photos
        # that are encoded, with their features.
        self._waiting: list[Photo] = []
        self._encoding = EncodeAhead(self._features_of)
        self._pending: set[str] = set()  # ids of the former two: it isn't known yet whether they can be stored
        self._in_segment = 0
        self._photos: list[Photo] = []
        self._features: list[Features] = []
        self._files: list[PhotoFile] = []  # of photos in the gallery: to be recorded
        self._described: dict[str, Mapping[str, Any]] = {}  # the same: their new metadata
        self._taken: set[str] = set()
        self._replacing: set[str] = set()
        self._added: list[str] = []
        self._skipped: list[Skipped] = []
        self._already = self._moved = 0
        self._done = self._total = 0
        self._progress: Progress = lambda done, total: None

    def __enter__(self) -> Self:
        self._stack.enter_context(self._encoding)
        if self._gallery is not None:
            self._open(self._gallery)
            for record in self._gallery.existing().values():
                held = _Held(record.id, record.path, record.content_hash, record.file_stamp)
                self._held[held.id] = held
                if held.path is not None:
                    self._by_path[held.path] = held
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _open(self, gallery: Gallery) -> GalleryWriter:
        self._writer = self._stack.enter_context(gallery.writer())
        self._writer.index_metadata(self._index_keys)
        return self._writer

    def run(self, photos: Expanded, progress: Progress) -> AddReport:
        """Add what isn't there already; report what was skipped and why.

        progress: called for each photo once it is encoded, or needs no encoding; the last of a segment once that is
        committed. So a kill costs fewer than `SEGMENT_PHOTOS` of those it was called for.
        """
        sources = photos.sources
        new = [source for source in sources if not self._settled(source)]
        self._done, self._total, self._progress = len(sources) - len(new), len(sources), progress
        for source, photo in decode(new, self._encoder.image_size, 4 * ENCODE_BATCH, os.cpu_count() or 1):
            if isinstance(photo, ImageError):
                self._skip(source, photo.reason)
                self._advance(1)
            elif not self._receive(photo):
                self._advance(1)
        self._encode_all()
        self._commit()
        self._commit_files()
        if self._described and self._writer is not None:
            self._writer.update_metadata(self._described)
        return AddReport(
            tuple(self._added),
            self._already,
            tuple(self._skipped),
            self._moved,
            photos.left_out,
            replaced=len(self._replacing.intersection(self._added)),
            described=len(self._described),
        )

    def _settled(self, source: Source) -> bool:
        """Whether a photo needs no decoding: its id can't be kept, or its file is there as it was when it was added.

        The latter is how an interrupted `add` goes on.
        """
        if source.id is not None:
            try:
                check_id(source.id)
            except InvalidPhotoError as error:
                self._skip(source, str(error))
                return True
        held = self._holder(source, source.id)
        if held is None or source.path is None:
            return False
        if (held.path, held.file_stamp) != (source.path, file_stamp(source.path)):
            return False
        self._leave(held)
        return True

    def _holder(self, source: Source, id_: str | None) -> _Held | None:
        """The photo that has the id, or else the file if its id is not the caller's choice: a file is one photo."""
        same_id = None if id_ is None else self._held.get(id_)
        if source.id_given or source.path is None or (same_id is not None and same_id.path == source.path):
            return same_id
        return self._by_path.get(source.path, same_id)

    def _advance(self, photos: int) -> None:
        for _ in range(photos):
            self._done += 1
            self._progress(self._done, self._total)

    def _receive(self, photo: Photo) -> bool:
        """Take a photo in, unless it, or another one under its id, is there; whether it was taken."""
        source, held = photo.source, self._holder(photo.source, photo.id)
        if held is not None and held.id in self._pending:
            self._encode_all()
            held = self._holder(source, photo.id)
        if held is None:
            self._take(photo)
            return True
        if held.content_hash == photo.content_hash:
            self._leave(held)
            self._follow(held, photo)
        elif self._replace and held.id not in self._taken:
            self._replacing.add(held.id)
            self._take(replace(photo, id=held.id))
            return True
        elif held.path == source.path and source.path is not None:
            self._skip(source, f"changed since it was added as {held.id!r}; add it with replace=True (`--replace`)")
        else:
            holder = held.path or "an image from memory"
            self._skip(
                source,
                f"the id {photo.id!r} is taken by {holder}; rename it, give ids=[...], or add it with replace=True",
            )
        return False

    def _leave(self, held: _Held) -> None:
        """Count a photo that is there, and note the metadata it is to have from now on."""
        self._already += 1
        if self._replace and held.id in self._metadata and held.id not in self._taken:
            self._described[held.id] = self._metadata[held.id]

    def _follow(self, held: _Held, photo: Photo) -> None:
        """Note the file of a photo that is there, if it was moved, or written again with the same picture."""
        path = photo.source.path
        if held.path is None or path is None or (held.path, held.file_stamp) == (path, photo.file_stamp):
            return
        if held.path != path:
            if file_stamp(held.path) is not None:  # a copy
                return
            self._moved += 1
        self._files.append(PhotoFile(held.id, path, photo.file_stamp))
        if len(self._files) == SEGMENT_PHOTOS:
            self._commit_files()

    def _take(self, photo: Photo) -> None:
        """Encode the photo with others, as soon as a batch is full."""
        self._taken.add(photo.id)
        self._pending.add(photo.id)
        self._held[photo.id] = _Held(photo.id, photo.source.path, photo.content_hash, photo.file_stamp)
        self._waiting.append(photo)
        self._in_segment += 1
        full = self._in_segment == SEGMENT_PHOTOS
        if full or len(self._waiting) == ENCODE_BATCH:
            self._encode(closes=full)

    def _encode(self, closes: bool = False) -> None:
        """Hand the waiting photos to the encoder's thread, and take back those of earlier batches if many are there."""
        photos, self._waiting = self._waiting, []
        if closes:
            self._in_segment = 0
        self._encoding.put(photos, closes)
        while len(self._encoding) > BATCHES_AHEAD:
            self._collect()

    def _features_of(self, photos: list[Photo]) -> Features:
        return encode(self._encoder, (photo.image for photo in photos), "photo").to("cpu")

    def _encode_all(self) -> None:
        """Wait until every photo taken so far is encoded."""
        if self._waiting:
            self._encode()
        while self._encoding:
            self._collect()

    def _collect(self) -> None:
        """Take back the oldest batch, skip its photos whose features can't be stored, and commit a full segment."""
        batch = self._encoding.take()
        features = batch.features.result()
        good = []
        for number, photo in enumerate(batch.photos):
            self._pending.discard(photo.id)
            try:
                feature_block(features[number : number + 1]).validate([photo.id])
                good.append(number)
            except FeatureValueError as error:
                del self._held[photo.id]
                self._skip(photo.source, str(error))
        self._photos += [batch.photos[number] for number in good]
        self._features.append(features[good])
        if batch.closes:
            self._commit()
        self._advance(len(batch.photos))

    def _commit(self) -> None:
        """Store the photos encoded since the last commit."""
        photos, features = self._photos, self._features
        self._photos, self._features = [], []
        if not photos:
            return
        block = feature_block(Features.cat(features))
        writer = self._writer or self._open(self._gallery_for(block))
        ids = [photo.id for photo in photos]
        writer.add(
            block,
            ids,
            paths=[photo.source.path for photo in photos],
            content_hashes=[photo.content_hash for photo in photos],
            file_stamps=[photo.file_stamp for photo in photos],
            metadata=[self._metadata.get(id_) for id_ in ids],
            previews=[photo.preview for photo in photos],
            replace=self._replace,
            made_by=self._made_by,
        )
        self._added += ids

    def _commit_files(self) -> None:
        files, self._files = self._files, []
        if files and self._writer is not None:
            self._writer.update_files(files)

    def _skip(self, source: Source, reason: str) -> None:
        self._skipped.append(Skipped(str(source), reason))
