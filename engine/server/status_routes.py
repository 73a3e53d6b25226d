"""What operators and the page ask: health, readiness, numbers, what can be searched; and the page itself."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from engine.server.replies import RefusedError, refusals
from engine.server.schemas import GalleryOut, Health
from engine.server.service import Service

STATIC = Path(__file__).parent.parent / "static"


def status_routes(service: Service) -> APIRouter:
    """The routes of one service."""
    routes = APIRouter()

    @routes.get("/health", operation_id="health", tags=["status"])
    async def health() -> Health:
        """Whether the process answers at all. Needs no token."""
        return Health(status="stopping" if service.stopping else "ok")

    @routes.get("/ready", operation_id="ready", tags=["status"], responses=refusals(503))
    async def ready() -> Health:
        """Whether searches are answered: the model is loaded, the gallery can be read. Needs no token."""
        if service.stopping:
            raise RefusedError(503, "Stopping", "the service is stopping", retry=True)
        await service.thread(lambda: service.gallery.snapshot())
        return Health(status="ok")

    @routes.get("/v1/gallery", operation_id="gallery", tags=["search"], responses=refusals(503))
    async def gallery() -> GalleryOut:
        """What can be searched: how many photos, and what their metadata can be filtered by."""
        return await service.thread(service.describe)

    @routes.get("/metrics", operation_id="metrics", tags=["status"], responses=refusals(), response_class=Response)
    async def metrics() -> Response:
        """Numbers for Prometheus."""
        service.metrics.photos.set(await service.thread(lambda: len(service.gallery.snapshot())))
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return routes


def add_page(app: FastAPI) -> None:
    """Serve the drawing page at / and its files below; after all other routes, because it takes every address left."""
    app.routes.append(_Rest("/", _Page(directory=STATIC, html=True), name="page"))


class _Rest(Mount):
    """Takes what no other route knows: a known address with another method is left to its route, which answers 405."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See the base class. Of routes that match in part, the first one answers."""
        match, found = super().matches(scope)
        return (Match.PARTIAL if match is Match.FULL else match), found


class _Page(StaticFiles):
    """Files of the page; a browser asks each time whether they changed, so that an upgrade is seen at once."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """See the base class."""
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"
        return response
