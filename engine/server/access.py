"""Who may call: the bearer token, and requests that a browser sends for another site.

A service without a token trusts this machine, not every page that its browser shows. So it answers only under
names of this machine (a name of somebody else's that points here is DNS rebinding), and no service answers requests
that say they come from another site.
"""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.server.replies import RefusedError, reply
from engine.server.settings import LOOPBACK_NAMES, Settings

GUARDED = ("/v1/", "/metrics")
"""What needs the token. The page holds no data, and health checks come from machines that have no token."""


class Access:
    """Refuses with 401 or 403 what may not pass."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] == "http" and (refusal := self._refusal(scope["path"], Headers(scope=scope))) is not None:
            await reply(refusal)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> RefusedError | None:
        host = headers.get("host", "")
        if self._settings.token is None and _name(host) not in LOOPBACK_NAMES:
            return RefusedError(403, "ForeignHost", f"this service answers as {', '.join(sorted(LOOPBACK_NAMES))} only")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return RefusedError(403, "ForeignOrigin", "requests of other sites' pages are not answered")
        if self._settings.token is None or not path.startswith(GUARDED):
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # compare_digest takes the same time for every wrong token; as bytes, because of any header's characters.
        same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._settings.token.encode())
        if scheme.lower() == "bearer" and same:
            return None
        return RefusedError(
            401, "Unauthorized", "expected the header `Authorization: Bearer TOKEN` with the service's token"
        )


def _name(host: str) -> str:
    """A Host header without its port."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
