"""Bodies of bounded size, in bounded time."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from engine.server.body import BoundedBody
from engine.server.settings import Limits
from tests.engine.server.conftest import LIMITS, reason

Message = dict[str, Any]


def exchange(parts: list[Message], limits: Limits, headers: dict[str, str] | None = None) -> tuple[list[Message], int]:
    """Send a body in parts; the answer's messages, and how many parts were read. A part {} never comes."""
    sent: list[Message] = []
    left = list(parts)

    async def receive() -> Message:
        if left[0] == {}:
            await asyncio.sleep(60)
        return left.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async def echo(scope: Any, receive: Callable[[], Awaitable[Message]], send: Any) -> None:
        message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"]})

    scope = {"type": "http", "headers": [(k.encode(), v.encode()) for k, v in (headers or {}).items()]}
    asyncio.run(BoundedBody(echo, limits)(scope, receive, send))  # type: ignore[arg-type]
    return sent, len(parts) - len(left)


def part(body: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def status(sent: list[Message]) -> int:
    return int(sent[0]["status"])


def test_a_body_arrives_whole() -> None:
    sent, _ = exchange([part(b"ab"), part(b""), part(b"c", False)], Limits())
    assert (status(sent), sent[1]["body"]) == (200, b"abc")


@pytest.mark.parametrize(("length", "expected"), [(10, 200), (11, 413)])
def test_the_limit_is_the_last_length_that_is_taken(length: int, expected: int) -> None:
    sent, _ = exchange([part(b"x" * length, False)], Limits(body_bytes=10))
    assert status(sent) == expected


def test_what_says_that_it_is_too_large_is_refused_unread() -> None:
    sent, read = exchange([part(b"x" * 11, False)], Limits(body_bytes=10), {"content-length": "11"})
    assert (status(sent), read) == (413, 0)


def test_what_does_not_say_so_is_refused_as_soon_as_it_is() -> None:
    sent, read = exchange([part(b"x" * 6)] * 100, Limits(body_bytes=10), {"content-length": "5"})
    assert (status(sent), read) == (413, 2)


def test_a_body_that_does_not_arrive_is_refused_in_time() -> None:
    sent, _ = exchange([part(b"x"), {}], Limits(seconds=0.05))
    assert status(sent) == 408
    assert json.loads(sent[1]["body"])["error"]["reason"] == "SlowBody"


def test_a_caller_who_left_gets_no_answer() -> None:
    assert exchange([part(b"x"), {"type": "http.disconnect"}], Limits())[0] == []


def test_the_service_has_this_limit(shared: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    response = shared.post("/v1/search", content=b" " * (LIMITS.body_bytes + 1), headers=headers)
    assert response.status_code == 413
    assert reason(response) == "TooLarge"
