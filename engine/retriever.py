"""`Retriever`: photos in, sketches in, the nearest photos out."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, overload

from PIL import Image

from engine.certified import Answer, CertifiedSearch
from engine.checks import (
    candidates_allowed,
    check_maps,
    check_query,
    check_top_k,
    metadata_by_id,
    metadata_in_order,
)
from engine.encoders import Encoder
from engine.encoders.opening import open_encoder
from engine.encoding import encode, feature_block
from engine.errors import ConfigError, FeatureShapeError
from engine.exact import ExactSearch
from engine.filters import Filter, check_index_key
from engine.gallery import FeatureBlock, Gallery
from engine.ingest import Ingest, Progress
from engine.keeper import Keeper
from engine.model_check import EXTERNAL
from engine.optimize import optimize
from engine.plan import Plan
from engine.results import make_results
from engine.sources import expand
from engine.types import AddReport, SearchReport, SearchResult
from mlrm.cli import progress_bar
from mlrm.devices import find_device
from mlrm.features import Features
from mlrm.images import ImageSource, load_image

Where = Mapping[str, Any]


class Retriever(Keeper):
    """Finds the photos that a sketch shows. Safe to share between threads.

    model: a checkpoint, an `.onnx` file of `python -m export.to_onnx` or an `.engine` of `python -m export.to_trt`;
    None for the trained one of the package.
    gallery: the directory of the gallery; made by the first `add`.
    device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1".
    backend: what runs the model, a name of `engine.encoders.backends`; "auto" takes the fastest of those that passed
    the parity check of `model`. The attribute `backend` says which it was, and why.
    memory: "codes" keeps short codes in memory and reads the features of few photos a search (`optimize` makes them);
    "features" reads all features; "auto" takes the codes where there are some. Answers are the same.

    Raises `CheckpointError`, `ConfigError` (a device that isn't there, a model that can't be indexed),
    `NotAGalleryError`, `GalleryVersionError`, `GalleryCorruptError`, and `ModelMismatchError` for a gallery of another
    model (all in `engine.errors`).
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        gallery: str | os.PathLike[str] = "my.gallery",
        device: str = "auto",
        backend: str = "auto",
        memory: str = "auto",
    ) -> None:
        self.device = find_device(device)
        self.backend = open_encoder(model, self.device, backend)
        self.encoder: Encoder = self.backend.encoder
        self._find = CertifiedSearch(ExactSearch(self.device), memory)
        super().__init__(gallery)
        if self._gallery is not None and self._gallery.meta.model_fingerprint != EXTERNAL:
            self._check_model(self._gallery)

    def __repr__(self) -> str:
        runs = f"model {self.encoder.name}, {self.backend.name}, {self.device}"
        return f"Retriever({self.path}, {len(self)} photos, {runs})"

    def add(
        self,
        photos: Any,
        *,
        ids: Sequence[str] | None = None,
        metadata: Mapping[str, Mapping[str, Any]] | str | os.PathLike[str] | None = None,
        replace: bool = False,
        index_keys: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> AddReport:
        """Add photos; what can't be used is skipped and reported, what is there already is left alone.

        photos: a folder (all images below it; ids are their paths relative to it), a file (its name), a PIL image, an
        array [H, W, 3] or [H, W] (uint8, or float in 0..1), encoded bytes, or a list of these. Images from memory get
        an id made of their content unless `ids` are given, one for each photo.
        metadata: for some ids, a dict that JSON can hold; or a .csv or .jsonl file (`engine.metadata_file`).
        replace: whether a photo takes the place of another one with its id, and the metadata given for a photo that is
        there already the place of what it has.
        index_keys: metadata keys that filters will often use; the gallery gets an index for each, and keeps it.
        progress: called with the number of photos handled and their total; default: a bar, where there is a terminal.

        There already is a file that the gallery knows (under any id, unless `ids` are given), and the same picture
        under the same id; if its old file is gone, the gallery notes the new place. A file that was changed since it
        was added is skipped, unless `replace` is true.

        Interrupted at any moment, at most the last 512 photos are lost; the same call again goes on from there.
        Raises `NoImagesError` for a folder without images, `ImageError` for a path that isn't there,
        `InvalidPhotoError` for ids or metadata that don't fit the photos or JSON, `FilterError` for a key that can't be
        indexed, `ModelMismatchError` for a gallery of another model and `GalleryLockedError` if another process is
        writing.
        """
        expanded = expand(photos, ids)
        entries, unmatched = metadata_by_id(metadata, expanded.sources)
        for key in index_keys:
            check_index_key(key)
        bar = progress_bar() if progress is None else nullcontext(_untold)
        with self._writing, bar as show:
            if (gallery := self.gallery) is not None:
                self._check_model(gallery)
            made_by = self.backend.artefact
            with Ingest(self.encoder, gallery, self._gallery_for, entries, replace, index_keys, made_by) as ingest:
                report = ingest.run(expanded, progress or partial(show, "add photos"))
            self._keep_up(partial(show, "short codes"))
        return dataclasses.replace(report, unmatched=unmatched)

    def add_features(
        self,
        features: Features,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        replace: bool = False,
        fingerprint: str | None = None,
        region_weight_power: int | None = None,
    ) -> AddReport:
        """Add photos by features computed elsewhere, of any R, L, C_l; all of them or, on an error, none.

        ids: one for each photo; default "0", "1", ... counted on from all photos the gallery ever had.
        metadata: a list as long as ids, of dicts that JSON can hold, or None.
        replace: whether photos that are there under these ids go.
        fingerprint: `MLRM.fingerprint()` of the model that computed them, checked against the gallery's. Without one
        nothing is checked but the shapes: they are taken into a model's gallery too, and if another model computed
        them, their distances mean nothing. A gallery that starts without one can be searched by features only.
        region_weight_power: p of the distance, 1 or 2, which a gallery keeps; default: what it has, and for one that
        starts here 1, or the model's own where `fingerprint` is this model's.
        Raises `FeatureShapeError` where shapes differ from the gallery's (maps, or none, included),
        `FeatureValueError` for NaN, infinity, values beyond float16 and weights below 0, `InvalidPhotoError`,
        `DuplicateIdError`, `ModelMismatchError`, and `ConfigError` for another p.
        """
        block = feature_block(features)
        if region_weight_power not in (None, 1, 2):
            raise ConfigError(f"region_weight_power is {region_weight_power!r}; expected 1 or 2")
        with self._writing:
            ids = self._next_ids(len(block)) if ids is None else list(ids)
            block.validate(ids)
            metadata = metadata_in_order(metadata, ids)
            gallery = self._gallery_for(block, fingerprint or EXTERNAL, region_weight_power)
            if fingerprint is not None:
                gallery.check_model(fingerprint)
            if region_weight_power not in (None, power := gallery.meta.region_weight_power):
                raise ConfigError(f"region_weight_power is {region_weight_power}; expected {self.path}'s, {power}")
            check_maps(features, block.shapes, gallery)
            with gallery.writer() as writer:
                writer.add(block, ids, metadata=metadata, replace=replace)
            self._keep_up()
        return AddReport(tuple(ids), 0, ())

    def optimize(self, sketches: Sequence[ImageSource] = (), progress: Progress | None = None) -> Plan:
        """Choose short codes by measuring, and make them: exact searches then read a tenth of the bytes or less.

        sketches: some like those to come, which the choice is then tried by (64 will do). Done by itself for large
        galleries; `engine.optimize` says when. progress: called with the photos done and their total.
        """
        images = [load_image(one) for one in sketches]
        features = encode(self.encoder, images, "sketch").to("cpu") if images else None
        with self._writing:
            return optimize(Gallery.open(self.path), features, progress)

    @overload
    def search(
        self,
        sketch: ImageSource,
        top_k: int = 10,
        *,
        where: Where | None = None,
        subset: Iterable[str] | None = None,
        exact: bool = True,
        max_candidates: int | None = None,
    ) -> SearchResult: ...
    @overload
    def search(
        self,
        sketch: list[ImageSource],
        top_k: int = 10,
        *,
        where: Where | None = None,
        subset: Iterable[str] | None = None,
        exact: bool = True,
        max_candidates: int | None = None,
    ) -> list[SearchResult]: ...
    def search(
        self,
        sketch: Any,
        top_k: int = 10,
        *,
        where: Where | None = None,
        subset: Iterable[str] | None = None,
        exact: bool = True,
        max_candidates: int | None = None,
    ) -> SearchResult | list[SearchResult]:
        """The `top_k` photos nearest to a sketch, exact, by (distance, id); all of them if there are fewer.

        sketch: a path, a PIL image, an array or encoded bytes; a list of these gives a list of results.
        where: conditions on the metadata, all of which must hold: `{"category": "shoe", "price": {"lt": 100}, "tag":
        {"in": ["new", "sale"]}}`; also eq, ne, le, gt, ge, exists. A list in the metadata matches by membership: with
        one of its items. `engine.filters` says more.
        subset: ids of photos; those that the gallery doesn't hold match nothing.
        Both are applied before anything is scored, to the metadata of the same commit that is searched.
        exact: False bounds the work: the features of at most `max_candidates` photos (default 1,000) are read, those
        that short codes find likely; `result.certified` says whether that proved the answer, `result.report` what was
        read.
        Raises `ImageError` for a sketch that can't be decoded, `QueryError` for a `top_k` below 1, `FilterError` for
        `where` or `subset` of another form, `FeatureValueError` for a model whose features aren't finite, and
        `ModelMismatchError` for a gallery of features computed elsewhere.
        """
        check_top_k(top_k)
        most = candidates_allowed(exact, max_candidates)
        chosen = Filter.parse(where, subset)
        many = isinstance(sketch, (list, tuple))
        images = [load_image(one) for one in (sketch if many else [sketch])]
        if (gallery := self.gallery) is not None:
            self._check_model(gallery)
        results = self._search(encode(self.encoder, images, "sketch"), top_k, chosen, images, most) if images else []
        return results if many else results[0]

    def search_features(
        self,
        features: Features,
        top_k: int = 10,
        *,
        where: Where | None = None,
        subset: Iterable[str] | None = None,
        exact: bool = True,
        max_candidates: int | None = None,
    ) -> list[SearchResult]:
        """As `search`, for features of Q sketches computed elsewhere; a list of one result for each.

        Raises `FeatureShapeError` where shapes differ from the gallery's and `FeatureValueError` for NaN, infinity and
        weights below 0.
        """
        check_top_k(top_k)
        queries = features.map(lambda tensor: tensor.detach().float())
        most = candidates_allowed(exact, max_candidates)
        return self._search(queries, top_k, Filter.parse(where, subset), [None] * len(queries), most)

    def _search(
        self,
        queries: Features,
        top_k: int,
        where: Filter | None,
        images: Sequence[Image.Image | None],
        most: int | None,
    ) -> list[SearchResult]:
        # For checks and explanations alone: what a GPU encoded is searched for where it is.
        shown = queries.to("cpu")
        gallery, found = self.gallery, feature_block(shown).shapes
        check_query(shown)
        if gallery is None:
            return make_results(None, shown, [Answer([], SearchReport())] * len(images), images)
        expected = gallery.meta.shapes
        if (expected.regions, expected.level_dims) != (found.regions, found.level_dims):
            raise FeatureShapeError(f"the query has {found}; {self.path} holds {expected}: use the gallery's model")
        answers = self._find(gallery, gallery.select(where), queries, top_k, max_candidates=most)
        return make_results(gallery, shown, answers, images)

    def _gallery_for(
        self, block: FeatureBlock, fingerprint: str | None = None, region_weight_power: int | None = None
    ) -> Gallery:
        """The gallery, created for these shapes if this is the first photo; by default one of this model."""
        gallery = self.gallery
        if gallery is None:
            own = fingerprint in (None, self.encoder.fingerprint)
            gallery = self._gallery = Gallery.create(
                self.path,
                shapes=block.shapes,
                model_fingerprint=fingerprint or self.encoder.fingerprint,
                model_name=self.encoder.name if own else "",
                region_weight_power=region_weight_power or (self.encoder.region_weight_power if own else 1),
            )
        elif fingerprint is None:  # another process may have made it meanwhile
            self._check_model(gallery)
        return gallery

    def _check_model(self, gallery: Gallery) -> None:
        gallery.check_model(self.encoder.fingerprint, self.encoder.name)


def _untold(stage: str, done: int, total: int) -> None:
    """Progress of which the caller has a display of its own."""
