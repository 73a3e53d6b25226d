"""What the routes share: one gallery, one model, the batches, the numbers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import anyio
from anyio.to_thread import run_sync
from PIL import Image

from engine.errors import ImageError
from engine.gallery import Gallery
from engine.retriever import Retriever
from engine.server.batching import Batcher
from engine.server.metrics import Metrics
from engine.server.replies import RefusedError, refuse_image
from engine.server.schemas import GalleryOut, KeyOut, Options, SearchAnswer, ValueOut
from engine.server.searching import Search, run_batch
from engine.server.settings import Settings
from mlrm.images import MIN_SIDE, load_image

P = ParamSpec("P")
T = TypeVar("T")


class Service:
    """One running service.

    retriever: of a gallery that is there, made by its model: checked by the caller.
    """

    def __init__(self, retriever: Retriever, settings: Settings) -> None:
        self.retriever, self.settings, self.limits = retriever, settings, settings.limits
        self.metrics = Metrics()
        self.stopping = False
        self.searches: Batcher[Search, SearchAnswer] = Batcher(
            self._run, size=self.limits.batch, wait=self.limits.batch_wait, queue=self.limits.queue
        )
        self.metrics.waiting.set_function(lambda: len(self.searches))
        # A picture of the largest size takes a few times 48 MB while it is decoded: one at a time for each core.
        self._decoders = anyio.CapacityLimiter(os.cpu_count() or 1)
        self.adding = asyncio.Lock()
        """Held by the one upload that is decoded and added: several would fill the memory with their pictures."""
        self._described: GalleryOut | None = None

    @property
    def gallery(self) -> Gallery:
        """The gallery; raises `RefusedError` where it is gone."""
        if (found := self.retriever.gallery) is None:
            raise RefusedError(503, "NoGallery", "the gallery is gone", retry=True)
        return found

    async def start(self) -> None:
        """Search batches of 1, 2, 4 ... and a full one, so that no caller waits for code to be compiled; then begin."""
        blank = Search(Image.new("RGB", (MIN_SIDE, MIN_SIDE), "white"), Options(top_k=1))
        sizes = {2**power for power in range(self.limits.batch.bit_length())} | {self.limits.batch}
        for size in sorted(sizes):
            for answer in await self.thread(run_batch, self.retriever, [blank] * size, lambda stage, seconds: None):
                if isinstance(answer, Exception):
                    raise answer
        self.searches.start()

    async def stop(self) -> None:
        """Answer what was accepted, then stop."""
        self.stopping = True
        await self.searches.close()

    async def search(self, search: Search) -> SearchAnswer:
        """One search, run with others."""
        return await self.searches.submit(search, asyncio.get_running_loop().time() + self.limits.seconds)

    async def picture(self, content: bytes) -> Image.Image:
        """A picture of a request, decoded; raises `RefusedError` for what is none."""
        try:
            return await self.thread(load_image, content, max_pixels=self.limits.pixels)
        except ImageError as error:
            raise refuse_image(error) from error

    async def thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what takes the processor or the disk for a moment beside the event loop."""
        return await run_sync(lambda: function(*args, **kwargs), limiter=self._decoders)

    def describe(self) -> GalleryOut:
        """What can be searched; read once for each commit."""
        info = self.gallery.info()
        if self._described is None or self._described.commit != info.generation:
            keys = [
                KeyOut(
                    key=one.key,
                    photos=one.photos,
                    values=[ValueOut(value=value, photos=photos) for value, photos in one.values],
                    more_values=one.more_values,
                    lowest=one.lowest,
                    highest=one.highest,
                )
                for one in self.gallery.facets()
            ]
            self._described = GalleryOut(
                photos=info.photos,
                commit=info.generation,
                model=info.meta.model_fingerprint,
                top_k=self.limits.top_k,
                body_bytes=self.limits.body_bytes,
                metadata=keys,
            )
        return self._described

    def _run(self, searches: Sequence[Search]) -> list[SearchAnswer | Exception]:
        self.metrics.batch.observe(len(searches))
        return run_batch(
            self.retriever, searches, lambda stage, seconds: self.metrics.stage.labels(stage).observe(seconds)
        )
