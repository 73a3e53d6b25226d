"""Photos of the gallery: their pictures, additions, removals. Where their files are stays in the gallery."""

from __future__ import annotations

import asyncio
import io
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from PIL import Image
from pydantic import Field

from engine.errors import ImageError
from engine.gallery_writer import check_id
from engine.results import stored_picture
from engine.server.forms import fields, form_of, from_json, parsed
from engine.server.replies import RefusedError, refusals
from engine.server.schemas import AddedOut, Strict
from engine.server.service import Service
from engine.sources import content_id
from mlrm.images import content_hash

SIDE = 512
QUALITY = 88
_PHOTO = {
    "type": "object",
    "required": ["photo"],
    "additionalProperties": False,
    "properties": {
        "photo": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "format": "binary"},
            "description": "Image files.",
        },
        "id": {
            "type": "array",
            "items": {"type": "string"},
            "description": "For each photo its id; default: made of its content.",
        },
        "metadata": {
            "type": "string",
            "description": "For each photo an object or null, as a JSON list.",
            "examples": ['[{"category": "shoe"}]'],
        },
        "replace": {"type": "boolean", "default": False, "description": "Take the place of photos with these ids."},
    },
}
_BODY = {"required": True, "content": {"multipart/form-data": {"schema": _PHOTO}}}


class Upload(Strict):
    """What stands beside the files of an upload."""

    id: list[str] | None = None
    metadata: list[dict[str, Any] | None] | None = None
    replace: Annotated[bool, Field(strict=False)] = False


def photo_routes(service: Service) -> APIRouter:
    """The routes of one service."""
    routes = APIRouter(tags=["photos"])

    @routes.get(
        "/v1/photos/{id:path}/image",
        operation_id="image",
        responses=refusals(404, 422, 503) | {200: {"content": {"image/jpeg": {}}}, 304: {"description": "As it was."}},
        response_class=Response,
    )
    async def image(id: str, request: Request, side: Annotated[int, Query(ge=16, le=2048)] = SIDE) -> Response:
        """A photo's picture as JPEG, at most `side` pixels wide and high.

        Always encoded anew: nothing of the file but its pixels leaves this machine, no place and no camera.
        """
        record = await service.thread(service.gallery.record, id)
        tag = f'"{record.content_hash}-{side}"'
        headers = {"Cache-Control": "private, no-cache", "ETag": tag}
        if record.content_hash is not None and request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        content = await service.thread(_jpeg, service, id, record.path, side)
        return Response(content, media_type="image/jpeg", headers=headers)

    @routes.post(
        "/v1/photos",
        operation_id="add",
        status_code=201,
        responses=refusals(400, 408, 409, 413, 415, 422, 429, 503),
        openapi_extra={"requestBody": _BODY},
    )
    async def add(request: Request) -> AddedOut:
        """Add photos, as one commit. The gallery keeps their features, and a small picture to show.

        Nothing is added where one of them can't be decoded, or has the id of another photo (409).
        """
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise RefusedError(415, "ContentType", "expected multipart/form-data")
        if service.adding.locked():
            raise RefusedError(429, "TooManyRequests", "another upload is being added; try again", retry=True)
        async with service.adding, form_of(request, files=service.limits.files) as form:
            values, files = fields(form, file="photo", repeated=("id",))
            if "metadata" in values:
                values["metadata"] = from_json("metadata", values["metadata"])
            upload = parsed(Upload, values)
            pictures: list[Image.Image] = []
            for file in files:
                pictures.append(await service.picture(await file.read()))
                if sum(one.width * one.height for one in pictures) > (most := service.limits.pixels):
                    text = f"the pictures have more than {most:,} pixels together; send fewer at once"
                    raise RefusedError(422, "TooManyPixels", text)
            # Not by `service.thread`, whose few threads searches wait for: this may take seconds.
            return await asyncio.to_thread(_add, service, pictures, upload)

    @routes.delete("/v1/photos/{id:path}", operation_id="remove", status_code=204, responses=refusals(404, 503))
    async def remove(id: str) -> None:
        """Remove a photo for good."""
        await service.thread(service.retriever.remove, id)

    return routes


def _jpeg(service: Service, id_: str, path: str | None, side: int) -> bytes:
    try:
        picture = stored_picture(service.gallery, id_, path, max_pixels=service.limits.pixels)
    except ImageError:
        picture = None
    if picture is None:
        raise RefusedError(404, "NoPicture", "the photo's file is gone or can't be read")
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _add(service: Service, pictures: list[Image.Image], upload: Upload) -> AddedOut:
    """Add decoded photos as one commit."""
    for name, given in (("photo", pictures), ("id", upload.id), ("metadata", upload.metadata)):
        if given is not None and len(given) != max(1, len(pictures)):
            raise RefusedError(422, "InvalidRequest", f"{name}: found {len(given)} for {len(pictures)} photos")
    hashes = [content_hash(picture) for picture in pictures]
    ids = upload.id or [content_id(digest) for digest in hashes]
    if len(set(ids)) < len(ids):
        raise RefusedError(422, "InvalidRequest", "id: found one twice, or one picture twice; expected each once")
    for id_ in ids:
        check_id(id_)
    held = service.gallery.records(ids)
    taken = [id_ for id_, digest in zip(ids, hashes, strict=True) if id_ in held and held[id_].content_hash != digest]
    if taken and not upload.replace:
        raise RefusedError(409, "IdTaken", f"the id {taken[0]!r} is another photo's; give other ids, or replace=true")
    entries = upload.metadata or [None] * len(ids)
    report = service.retriever.add(
        pictures,
        ids=ids,
        metadata={id_: entry for id_, entry in zip(ids, entries, strict=True) if entry is not None},
        replace=upload.replace,
        progress=lambda done, total: None,
    )
    skipped = {skip.source: skip.reason for skip in report.skipped}
    already = [id_ for id_ in ids if id_ not in report.added and id_ not in skipped]
    return AddedOut(added=list(report.added), already=already, skipped=list(skipped.values()))
