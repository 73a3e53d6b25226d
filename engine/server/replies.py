"""What the service answers when it can't do what was asked: one form of JSON, and no path of this machine in it.

Messages of the engine's errors name galleries and files. Those of `_OPEN` speak of the request alone and are passed
on; all others are logged here and answered in words of their own.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from engine.errors import (
    FilterError,
    GalleryLockedError,
    ImageError,
    InvalidPhotoError,
    MLRMError,
    QueryError,
    UnknownIdError,
)
from engine.server.schemas import ErrorOut

log = logging.getLogger("engine.server")
RETRY_SECONDS = 1

_OPEN: tuple[type[MLRMError], ...] = (FilterError, QueryError, InvalidPhotoError)
_MEANING = {
    400: "The body is not what its content type says.",
    401: "The bearer token is missing or wrong.",
    403: "The request comes from another site.",
    404: "There is no such photo.",
    408: "The body did not arrive in time.",
    409: "The id is taken by another photo.",
    413: "The body is too large.",
    415: "Another content type was expected.",
    422: "The request is not of the documented form, or the picture can't be used.",
    429: "Too many searches are waiting.",
    503: "The service is stopping, or the answer took too long.",
}
_EXPECTED = {
    404: "there is nothing here; see /openapi.json for what there is",
    405: "this address takes another method; see /openapi.json",
    415: "expected application/json or multipart/form-data",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of a route's refusals; 401 and 403 may come of any."""
    return {status: {"model": ErrorOut, "description": _MEANING[status]} for status in (401, 403, *statuses)}


class RefusedError(Exception):
    """A request that is answered with ``status`` and a reason; ``retry``: the same request may work in a moment."""

    def __init__(self, status: int, reason: str, message: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.retry = status, reason, message, retry


def refuse_image(error: ImageError) -> RefusedError:
    """The refusal of a picture that came in a request."""
    return RefusedError(422, type(error).__name__, f"the picture {error.reason}")


def reply(refusal: RefusedError) -> JSONResponse:
    """A refusal as a response."""
    headers = {"Retry-After": str(RETRY_SECONDS)} if refusal.retry else {}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = {"error": {"reason": refusal.reason, "message": refusal.message}}
    return JSONResponse(body, refusal.status, headers)


def on_refusal(_: Request, error: Exception) -> JSONResponse:
    """Answer a `RefusedError`."""
    assert isinstance(error, RefusedError)
    return reply(error)


def on_engine_error(_: Request, error: Exception) -> JSONResponse:
    """Answer one of the engine's errors without the paths in it."""
    assert isinstance(error, MLRMError)
    name = type(error).__name__
    if isinstance(error, _OPEN):
        return reply(RefusedError(422, name, str(error)))
    if isinstance(error, UnknownIdError):
        return reply(RefusedError(404, name, "the gallery holds no photo with this id; check the id"))
    if isinstance(error, GalleryLockedError):
        return reply(RefusedError(503, name, "another process is writing to the gallery; try again", retry=True))
    log.error("%s: %s", name, error)
    return reply(
        RefusedError(503, name, "the gallery can't be used at the moment; the server's log says why", retry=True)
    )


def on_invalid(_: Request, error: Exception) -> JSONResponse:
    """Answer a request that is not of the documented form."""
    assert isinstance(error, RequestValidationError)
    return reply(invalid(list(error.errors())))


def invalid(errors: list[dict[str, object]]) -> RefusedError:
    """The refusal of what pydantic found wrong, the first few places of it."""
    places = [": ".join(filter(None, (".".join(map(str, _items(one["loc"]))), str(one["msg"])))) for one in errors[:3]]
    more = f" (and {len(errors) - 3} more)" if len(errors) > 3 else ""
    return RefusedError(422, "InvalidRequest", "; ".join(places) + more)


def on_http_error(_: Request, error: Exception) -> JSONResponse:
    """Answer what the framework refuses by itself."""
    assert isinstance(error, HTTPException)
    message = _EXPECTED.get(error.status_code, str(error.detail))
    answer = reply(RefusedError(error.status_code, "HTTPError", message))
    answer.headers.update(error.headers or {})
    return answer


def on_fault(_: Request, error: Exception) -> JSONResponse:
    """Answer a fault of the service itself; the log has its traceback."""
    log.error("a request failed", exc_info=error)
    return reply(RefusedError(500, "InternalError", "the server failed at this request; its log says how"))


def _items(place: object) -> tuple[object, ...]:
    return place if isinstance(place, tuple) else (place,)
