"""The service as an ASGI application: routes, refusals, and what every request passes on its way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.errors import MLRMError
from engine.retriever import Retriever
from engine.server.access import Access
from engine.server.body import BoundedBody
from engine.server.metrics import Measured
from engine.server.photo_routes import photo_routes
from engine.server.replies import RefusedError, on_engine_error, on_fault, on_http_error, on_invalid, on_refusal
from engine.server.schemas import SearchRequest
from engine.server.search_routes import search_routes
from engine.server.service import Service
from engine.server.settings import Settings
from engine.server.status_routes import add_page, status_routes

_DESCRIPTION = """Search photos by sketch. Distances are exact, and lower is nearer.

Every refusal has the same form: `{"error": {"reason": ..., "message": ...}}`."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def make_app(retriever: Retriever, settings: Settings) -> FastAPI:
    """The service of a retriever's gallery, ready to be run by an ASGI server.

    Raises `NotAGalleryError`, `GalleryCorruptError`, and `ModelMismatchError` for a gallery of another model's
    features.
    """
    service = Service(retriever, settings)
    service.gallery.check_model(retriever.encoder.fingerprint, retriever.encoder.name)

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    # No /docs: that page comes from another host.
    app = FastAPI(title="MLRM engine", description=_DESCRIPTION, docs_url=None, redoc_url=None, lifespan=running)
    app.include_router(status_routes(service))
    app.include_router(search_routes(service))
    app.include_router(photo_routes(service))
    _document(app, settings)
    add_page(app)
    app.add_exception_handler(RefusedError, on_refusal)
    app.add_exception_handler(MLRMError, on_engine_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(Exception, on_fault)
    # The last one added is the first that a request meets.
    app.add_middleware(BoundedBody, limits=settings.limits)
    app.add_middleware(Access, settings=settings)
    app.add_middleware(Measured, metrics=service.metrics)
    app.add_middleware(_Headers)
    return app


def _document(app: FastAPI, settings: Settings) -> None:
    """Complete the OpenAPI document by what the framework can't see: bodies read by hand, and the token."""
    document = app.openapi()
    schemas = document["components"]["schemas"]
    asked = SearchRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= asked.pop("$defs") | {"SearchRequest": asked}
    if settings.token is not None:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, operations in document["paths"].items():
            if path.startswith(("/v1/", "/metrics")):
                for operation in operations.values():
                    operation["security"] = [{"token": []}]
    app.openapi_schema = document


class _Headers:
    """What tells a browser to load nothing from elsewhere and to guess no types."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)
