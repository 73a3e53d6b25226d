"""Jobs of many requests, run together: whoever comes while others are being served is served with the next batch.

The first job of a batch waits a few milliseconds for others. One thread runs batches one after another, so the
processor's cores work on one search at a time, and the queue, not the memory, grows under load.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from engine.server.replies import RefusedError

J = TypeVar("J")
R = TypeVar("R")


class Batcher(Generic[J, R]):
    """Collects jobs on an event loop and runs them by a function in a thread of its own.

    run: gets 1 to ``size`` jobs and returns for each its result, or the exception that is its answer.
    size: most jobs of a batch.
    wait: seconds that the first job of a batch waits for others.
    queue: most jobs that wait.
    """

    def __init__(
        self, run: Callable[[Sequence[J]], Sequence[R | Exception]], *, size: int, wait: float, queue: int
    ) -> None:
        self._run, self._size, self._wait, self._queue = run, size, wait, queue
        self._waiting: deque[tuple[J, asyncio.Future[R]]] = deque()
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._closing = False
        self._loop: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="search")

    def __len__(self) -> int:
        return len(self._waiting)

    def start(self) -> None:
        """Begin to run batches, on the running event loop."""
        self._loop = asyncio.create_task(self._serve())

    async def submit(self, job: J, deadline: float) -> R:
        """The result of a job, run with others.

        deadline: on the event loop's clock; a job that is still waiting then is never run.
        Raises `RefusedError` 429 where too many wait, 503 after the deadline or while the service stops, and what `run`
        returned for this job.
        """
        if self._closing:
            raise RefusedError(503, "Stopping", "the service is stopping; try again", retry=True)
        if len(self._waiting) >= self._queue:
            raise RefusedError(
                429, "TooManyRequests", f"{self._queue} searches are waiting already; try again", retry=True
            )
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, future))
        self._arrived.set()
        if len(self._waiting) >= self._size:
            self._full.set()
        try:
            async with asyncio.timeout_at(deadline):
                return await future
        except TimeoutError:
            raise RefusedError(503, "TooSlow", "the search took longer than it may; try again", retry=True) from None

    async def close(self) -> None:
        """Run what is waiting, then stop."""
        self._closing = True
        self._arrived.set()
        self._full.set()
        if self._loop is not None:
            await self._loop
        self._thread.shutdown()

    async def _serve(self) -> None:
        while True:
            await self._arrived.wait()
            if not self._closing and len(self._waiting) < self._size and self._wait > 0:
                try:
                    async with asyncio.timeout(self._wait):
                        await self._full.wait()
                except TimeoutError:
                    pass
            batch = [self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))]
            if not self._closing:
                if not self._waiting:
                    self._arrived.clear()
                if len(self._waiting) < self._size:
                    self._full.clear()
            # A future is done where its caller gave up: nobody waits for that answer.
            await self._answer([(job, future) for job, future in batch if not future.done()])
            if self._closing and not self._waiting:
                return

    async def _answer(self, batch: list[tuple[J, asyncio.Future[R]]]) -> None:
        if not batch:
            return
        answers: Sequence[R | Exception]
        try:
            running = asyncio.get_running_loop().run_in_executor(self._thread, self._run, [job for job, _ in batch])
            answers = await running
        except Exception as error:  # whatever it was, it is these requests' answer, and the next batch goes on
            answers = [error] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
