"""The JSON of requests and answers, with an example of each; OpenAPI is made of these."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.config import JsonDict

from mlrm.strokes import Stroke, frame

MOST_STROKES = 2_000
MOST_POINTS = 50_000

Coordinate = Annotated[float, Field(ge=-10_000, le=10_000, allow_inf_nan=False)]
Pressure = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Point = tuple[Coordinate, Coordinate] | tuple[Coordinate, Coordinate, Pressure]
_SHOE: JsonDict = {
    "size": 400,
    "strokes": [
        {"width": 3, "points": [[60, 250], [70, 180], [140, 170], [220, 215], [330, 235], [340, 262], [60, 265]]},
        {"width": 3, "points": [[60, 250], [55, 290], [345, 290], [340, 262]]},
    ],
}


class Documented(BaseModel):
    """Descriptions of fields are their docstrings."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Strict(Documented):
    """No other fields than those named."""

    model_config = ConfigDict(extra="forbid")


class StrokeIn(Strict):
    """One line of a pen."""

    points: Annotated[list[Point], Field(min_length=1, max_length=MOST_POINTS)]
    """x to the right, y down, and the pen's pressure where it is known (0..1)."""
    width: Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)] = 3.0
    """Of the pen, in the unit of the points."""


class Drawing(Strict):
    """A drawing as the strokes of a pen on a square canvas."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_SHOE]})
    size: Annotated[float, Field(ge=1, le=10_000, allow_inf_nan=False)] = 400.0
    """Side of the canvas, in the unit of the points."""
    strokes: Annotated[list[StrokeIn], Field(max_length=MOST_STROKES)]

    @field_validator("strokes")
    @classmethod
    def _bounded(cls, strokes: list[StrokeIn]) -> list[StrokeIn]:
        if (points := sum(len(stroke.points) for stroke in strokes)) > MOST_POINTS:
            raise ValueError(f"found {points} points; expected at most {MOST_POINTS} in all strokes")
        return strokes

    def lines(self) -> list[Stroke]:
        """The strokes in parts of the canvas's side."""
        return [
            Stroke(
                np.array([(x / self.size, y / self.size, *(pressure or (1.0,))) for x, y, *pressure in stroke.points]),
                stroke.width / self.size,
            )
            for stroke in self.strokes
        ]

    def frame(self) -> tuple[float, float, float]:
        """The part of the canvas that a model sees: left, top and side, in the unit of the points."""
        x, y, side = frame(self.lines())
        return x * self.size, y * self.size, side * self.size


class Options(Strict):
    """What is asked of a search."""

    top_k: Annotated[int, Field(ge=1)] = 10
    where: dict[str, Any] | None = None
    subset: list[str] | None = None
    explain: bool = False


class SearchRequest(Options):
    """A search by strokes, or by a picture in base64."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"drawing": _SHOE, "top_k": 5}, {"image": "iVBORw0KGgo...", "top_k": 5}]},
    )
    drawing: Drawing | None = None
    image: str | None = None
    """The bytes of an image file in base64; as a data URL too."""

    @model_validator(mode="after")
    def _one(self) -> SearchRequest:
        if (self.drawing is None) == (self.image is None):
            raise ValueError("expected a drawing or an image, one of the two")
        return self

    def picture(self) -> bytes | None:
        """The image's bytes; None for a drawing. Raises `ValueError` for what is no base64."""
        if self.image is None:
            return None
        text = self.image.partition(",")[2] if self.image.startswith("data:") else self.image
        try:
            return b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"expected the image in base64: {error}") from error


class Regions(Documented):
    """Where the model looked in one image."""

    weights: list[float]
    """How much each of the R regions counts."""
    maps: list[list[list[float]]]
    """[R, h, w] in 0..1: each covers the whole image, whatever its aspect ratio."""
    frame: tuple[float, float, float] | None = None
    """Of a drawing: the square of the canvas that the maps cover, as left, top and side in the unit of its points."""


class ExplanationOut(Documented):
    """Why a photo is near."""

    contributions: list[list[float]]
    """[R, L]: they sum to the distance."""
    photo: Regions


class MatchOut(Documented):
    """A photo found."""

    id: str
    rank: int
    distance: float
    metadata: dict[str, Any] | None
    explanation: ExplanationOut | None = None


class ReportOut(Documented):
    """How an answer was found."""

    certified: bool
    """Whether it is proven to be the ranking by the float64 distance: always, for this service's searches are exact."""
    read: Literal["codes", "features"]
    """Short codes, and the features of the photos they leave; or the features of all photos."""
    photos: int
    """Photos that could have been found: those that pass the filter."""
    survivors: int
    """Those that the first bounds left possible."""
    rescored: int
    """Those whose float64 distance was computed; all of them where all features were read."""
    bytes_read: int
    """Of codes and features."""
    note: str
    """Why features were read, where codes could have been."""


class SearchAnswer(Documented):
    """The photos nearest to a sketch, nearest first. Lower distance is nearer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "ok",
                    "matches": [{"id": "shoes/12.jpg", "rank": 1, "distance": 0.731, "metadata": {"category": "shoe"}}],
                    "photos": 300,
                    "report": {
                        "certified": True,
                        "read": "features",
                        "photos": 300,
                        "survivors": 300,
                        "rescored": 300,
                        "bytes_read": 3686400,
                        "note": "",
                    },
                    "sketch": None,
                }
            ]
        }
    )
    status: Literal["ok", "too_little_ink"]
    """too_little_ink: there is next to nothing on the canvas, and any ranking would be noise; no photo is given."""
    matches: list[MatchOut]
    photos: int
    """How many photos were in the gallery at that moment."""
    report: ReportOut | None = None
    """How they were found; null where nothing was searched for."""
    sketch: Regions | None = None
    """With ``explain``: where the model looked in the sketch."""


class ValueOut(Documented):
    """A value of a metadata key, and how many photos have it."""

    value: str | bool | None
    photos: int


class KeyOut(Documented):
    """A metadata key, and what can be filtered by it."""

    key: str
    photos: int
    values: list[ValueOut]
    """The texts and true or false that are there, the most common first; of very many the first few."""
    more_values: bool
    lowest: float | None
    highest: float | None
    """Of the numbers that are there."""


class GalleryOut(Documented):
    """What can be searched."""

    photos: int
    commit: int
    """Grows with every change."""
    model: str
    """Fingerprint of the model whose features the gallery holds."""
    top_k: int
    """Most photos of one search."""
    body_bytes: int
    """Largest request."""
    metadata: list[KeyOut]


class AddedOut(Documented):
    """What became of the photos of an upload."""

    added: list[str]
    """Ids of the photos added now."""
    already: list[str]
    """Ids of those that were there before, with this very picture."""
    skipped: list[str]
    """Why some were not added: the model's features of them can't be stored."""


class Health(Documented):
    """Whether the service works."""

    status: Literal["ok", "stopping"]


class ErrorBody(Documented):
    """Why a request was refused."""

    reason: str
    message: str


class ErrorOut(Documented):
    """Every answer that is no success."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"error": {"reason": "FilterError", "message": "where is a list; ..."}}]}
    )
    error: ErrorBody
