"""Requests -> checked values. Multipart forms are read by hand: one route takes JSON and forms."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile

from engine.server.replies import RefusedError, invalid

M = TypeVar("M", bound=BaseModel)
_FIELDS = 8  # more than any form here has; of each file there may be one more


def form_of(request: Request, files: int) -> AbstractAsyncContextManager[FormData]:
    """The multipart body of a request, of so many files at most."""
    content_type = request.headers.get("content-type", "")
    if "boundary=" not in content_type:
        raise RefusedError(400, "Multipart", "the content type of the form names no boundary")
    return request.form(max_files=files, max_fields=_FIELDS + files)


def fields(form: FormData, *, file: str, repeated: Collection[str]) -> tuple[dict[str, Any], list[UploadFile]]:
    """The text fields of a form by name, those of ``repeated`` as lists, and the files in the field ``file``."""
    values: dict[str, Any] = {}
    files: list[UploadFile] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) != (name == file):
            expected = "a file" if name == file else "text; the file goes in " + file
            raise RefusedError(422, "InvalidRequest", f"{name:.80}: expected {expected}")
        if isinstance(value, UploadFile):
            files.append(value)
        elif name in repeated:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise RefusedError(422, "InvalidRequest", f"{name:.80}: found more than one; expected one")
        else:
            values[name] = value
    return values, files


def from_json(name: str, text: str) -> Any:
    """A field's JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RefusedError(422, "InvalidRequest", f"{name}: expected JSON ({error})") from error


def parsed(model: type[M], given: bytes | Mapping[str, Any]) -> M:
    """JSON, or the values of a form, as what they must be."""
    try:
        return model.model_validate_json(given) if isinstance(given, bytes) else model.model_validate(given)
    except ValidationError as error:
        raise invalid([dict(one) for one in error.errors()]) from error
