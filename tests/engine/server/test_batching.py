"""Jobs of many callers in batches: each gets its own answer, and no more wait than may."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from engine.server.batching import Batcher
from engine.server.replies import RefusedError

LATE = 1e9  # on the event loop's clock


class Runs:
    """A function that doubles numbers and notes its batches; it waits while the gate is closed."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, jobs: Sequence[int]) -> list[int | Exception]:
        self.gate.wait(10)
        self.batches.append(list(jobs))
        return [2 * job if job >= 0 else ValueError(f"job {job}") for job in jobs]


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0.001)


def test_every_caller_gets_the_answer_to_its_own_job() -> None:
    async def main() -> None:
        batcher = Batcher(runs := Runs(), size=8, wait=0.002, queue=1000)
        batcher.start()
        answers = await asyncio.gather(*(batcher.submit(job, LATE) for job in range(100)))
        await batcher.close()
        assert answers == [2 * job for job in range(100)]
        assert [job for batch in runs.batches for job in batch] == list(range(100))
        assert max(map(len, runs.batches)) == 8

    asyncio.run(main())


def test_who_comes_while_others_are_served_is_served_with_the_next_batch() -> None:
    async def main() -> None:
        batcher = Batcher(runs := Runs(), size=8, wait=0, queue=1000)
        batcher.start()
        runs.gate.clear()
        first = asyncio.create_task(batcher.submit(1, LATE))
        await settled()
        others = [asyncio.create_task(batcher.submit(job, LATE)) for job in (2, 3, 4)]
        await settled()
        runs.gate.set()
        await asyncio.gather(first, *others)
        await batcher.close()
        assert runs.batches == [[1], [2, 3, 4]]

    asyncio.run(main())


def test_a_size_of_one_runs_each_alone() -> None:
    async def main() -> None:
        batcher = Batcher(runs := Runs(), size=1, wait=0.05, queue=1000)
        batcher.start()
        await asyncio.gather(*(batcher.submit(job, LATE) for job in range(5)))
        await batcher.close()
        assert runs.batches == [[0], [1], [2], [3], [4]]

    asyncio.run(main())


def test_an_error_is_the_answer_of_its_job_alone() -> None:
    async def main() -> None:
        batcher = Batcher(Runs(), size=8, wait=0.01, queue=1000)
        batcher.start()
        answers = await asyncio.gather(*(batcher.submit(job, LATE) for job in (1, -1, 2)), return_exceptions=True)
        await batcher.close()
        assert [answers[0], answers[2]] == [2, 4]
        assert isinstance(answers[1], ValueError)

    asyncio.run(main())


def test_a_batch_that_fails_does_not_stop_the_next() -> None:
    def run(jobs: Sequence[int]) -> list[int | Exception]:
        if 0 in jobs:
            raise RuntimeError("failed")
        return list(jobs)

    async def main() -> None:
        batcher = Batcher(run, size=8, wait=0, queue=1000)
        batcher.start()
        with pytest.raises(RuntimeError):
            await batcher.submit(0, LATE)
        assert await batcher.submit(1, LATE) == 1
        await batcher.close()

    asyncio.run(main())


def test_one_more_than_may_wait_is_told_to_try_again() -> None:
    async def main() -> None:
        batcher = Batcher(runs := Runs(), size=1, wait=0, queue=2)
        batcher.start()
        runs.gate.clear()
        running = asyncio.create_task(batcher.submit(0, LATE))
        await settled()
        waiting = [asyncio.create_task(batcher.submit(job, LATE)) for job in (1, 2)]
        await settled()
        with pytest.raises(RefusedError) as refused:
            await batcher.submit(3, LATE)
        assert (refused.value.status, refused.value.retry) == (429, True)
        runs.gate.set()
        assert await asyncio.gather(running, *waiting) == [0, 2, 4]
        await batcher.close()

    asyncio.run(main())


def test_a_job_that_waited_too_long_is_never_run() -> None:
    async def main() -> None:
        batcher = Batcher(runs := Runs(), size=8, wait=0, queue=8)
        batcher.start()
        runs.gate.clear()
        first = asyncio.create_task(batcher.submit(1, LATE))
        await settled()
        with pytest.raises(RefusedError) as refused:
            await batcher.submit(2, asyncio.get_running_loop().time() + 0.01)
        assert (refused.value.status, refused.value.retry) == (503, True)
        runs.gate.set()
        assert await first == 2
        await batcher.close()
        assert runs.batches == [[1]]

    asyncio.run(main())


def test_closing_answers_what_was_accepted_and_takes_no_more() -> None:
    async def main() -> None:
        batcher = Batcher(runs := Runs(), size=2, wait=0.01, queue=1000)
        batcher.start()
        runs.gate.clear()
        accepted = [asyncio.create_task(batcher.submit(job, LATE)) for job in range(7)]
        await settled()
        closing = asyncio.create_task(batcher.close())
        await settled()
        with pytest.raises(RefusedError) as refused:
            await batcher.submit(9, LATE)
        assert refused.value.reason == "Stopping"
        runs.gate.set()
        assert await asyncio.gather(*accepted) == [2 * job for job in range(7)]
        await closing

    asyncio.run(main())


def test_closing_with_nothing_to_do_ends() -> None:
    async def main() -> None:
        batcher = Batcher(Runs(), size=2, wait=0.01, queue=10)
        batcher.start()
        await batcher.close()

    asyncio.run(main())
