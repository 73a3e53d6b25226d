"""`POST /v1/search`: a sketch as a file, as base64 or as strokes; the nearest photos."""

from __future__ import annotations

from fastapi import APIRouter, Request
from PIL import Image

from engine.filters import Filter
from engine.server.forms import fields, form_of, from_json, parsed
from engine.server.replies import RefusedError, refusals
from engine.server.schemas import Drawing, Options, SearchAnswer, SearchRequest
from engine.server.searching import Search, is_blank, too_little
from engine.server.service import Service
from mlrm.strokes import Stroke, fitted, render

_OPTIONS = Options.model_json_schema()["properties"]
_MULTIPART = {
    "type": "object",
    "required": ["sketch"],
    "additionalProperties": False,
    "properties": {
        "sketch": {"type": "string", "format": "binary", "description": "An image file."},
        "top_k": _OPTIONS["top_k"],
        "where": {"type": "string", "description": "Conditions on the metadata, as JSON.", "examples": ["{}"]},
        "subset": {"type": "string", "description": "Ids of photos, as a JSON list.", "examples": ["[]"]},
        "explain": _OPTIONS["explain"],
    },
}
_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/SearchRequest"}},
        "multipart/form-data": {"schema": _MULTIPART},
    },
}


def search_routes(service: Service) -> APIRouter:
    """The routes of one service."""
    routes = APIRouter(tags=["search"])

    @routes.post(
        "/v1/search", operation_id="search", responses=refusals(400, 408, 413, 415, 422, 429, 503),
        openapi_extra={"requestBody": _BODY},
    )  # fmt: skip
    async def search(request: Request) -> SearchAnswer:
        """The photos nearest to a sketch, exact, nearest first.

        A small drawing on a canvas is moved and enlarged to fill its frame, as the sketches are that models learn from.
        Sketches of several callers are searched together; none sees the others' filters or results.
        """
        options, sketch = await _asked(request)
        _check(options, service)
        if isinstance(sketch, Drawing):
            lines = sketch.lines()
            image = None if too_little(lines) else await service.thread(_render, service, lines)
        else:
            image = await service.picture(sketch)
            image = None if await service.thread(is_blank, image) else image
        if image is None:
            return await _calm(service)
        answer = await service.search(Search(image, options))
        if isinstance(sketch, Drawing) and answer.sketch is not None:
            answer.sketch.frame = sketch.frame()
        return answer

    return routes


async def _asked(request: Request) -> tuple[Options, Drawing | bytes]:
    """What is asked, and the sketch: a drawing, or the bytes of an image file."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        asked = parsed(SearchRequest, await request.body())
        return asked, asked.drawing or _decoded(asked)
    if content_type == "multipart/form-data":
        return await _from_form(request)
    raise RefusedError(415, "ContentType", "expected application/json or multipart/form-data")


def _render(service: Service, lines: list[Stroke]) -> Image.Image:
    return render(fitted(lines), service.retriever.encoder.image_size)


async def _calm(service: Service) -> SearchAnswer:
    """The answer to an almost empty canvas: no photo, instead of those that happen to be nearest to nothing."""
    photos = await service.thread(lambda: len(service.gallery.snapshot()))
    return SearchAnswer(status="too_little_ink", matches=[], photos=photos)


def _check(asked: Options, service: Service) -> None:
    """Refuse what is beyond the limits, or malformed, before it waits for its batch."""
    if asked.top_k > (most := service.limits.top_k):
        raise RefusedError(422, "QueryError", f"top_k is {asked.top_k}; expected 1 to {most}")
    if asked.explain and asked.top_k > (most := service.limits.explained):
        raise RefusedError(422, "QueryError", f"top_k is {asked.top_k} with explain; expected 1 to {most}")
    Filter.parse(asked.where, asked.subset)


def _decoded(asked: SearchRequest) -> bytes:
    try:
        return asked.picture() or b""
    except ValueError as error:
        raise RefusedError(422, "InvalidRequest", f"image: {error}") from error


async def _from_form(request: Request) -> tuple[Options, bytes]:
    async with form_of(request, files=1) as form:
        values, files = fields(form, file="sketch", repeated=())
        if not files:
            raise RefusedError(422, "InvalidRequest", "sketch: expected a file in this field")
        picture = await files[0].read()
    values |= {name: from_json(name, values[name]) for name in ("where", "subset") if name in values}
    return parsed(Options, values), picture
