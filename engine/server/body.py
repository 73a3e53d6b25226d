"""Bodies are read whole before anything looks at them: of bounded size, in bounded time."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.server.replies import RefusedError, reply
from engine.server.settings import Limits


class BoundedBody:
    """Refuses a body that is too large with 413, and one that doesn't arrive with 408."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(Headers(scope=scope), receive)
        except RefusedError as refusal:
            await reply(refusal)(scope, receive, send)
            return
        except ClientDisconnect:
            return
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        largest = self._limits.body_bytes
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length[:20]) > largest:  # told beforehand: refused before it is sent
            raise _too_large(largest)
        parts, size, more = [], 0, True
        try:
            async with asyncio.timeout(self._limits.seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    parts.append(message.get("body", b""))
                    more = message.get("more_body", False)
                    size += len(parts[-1])
                    if size > largest:
                        raise _too_large(largest)
        except TimeoutError:
            text = f"the body did not arrive within {self._limits.seconds:g} s; send it again"
            raise RefusedError(408, "SlowBody", text) from None
        return b"".join(parts)


def _too_large(largest: int) -> RefusedError:
    return RefusedError(413, "TooLarge", f"the body is larger than {largest:,} bytes; send a smaller picture")
