"""`POST /v1/search`: what comes back is what the engine finds, whichever way the sketch came."""

import json
import math
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from engine.retriever import Retriever
from mlrm.strokes import Stroke, fitted, render
from tests.engine.server.conftest import DRAWING, form, png, reason


@pytest.fixture(scope="module")
def retriever(checkpoint: Path, described: Path) -> Retriever:
    return Retriever(checkpoint, described, "cpu")


def found(answer: dict[str, Any]) -> list[tuple[str, int, float]]:
    assert answer["status"] == "ok"
    return [(match["id"], match["rank"], match["distance"]) for match in answer["matches"]]


def test_a_file_and_base64_give_what_the_engine_finds(
    shared: TestClient, retriever: Retriever, sketches: list[Path]
) -> None:
    content = sketches[0].read_bytes()
    expected = [(match.id, match.rank, match.distance) for match in retriever.search(sketches[0], 4)]
    text = b64encode(content).decode()
    answers = [
        shared.post("/v1/search", files={"sketch": ("s.png", content)}, data=form(top_k=4)),
        shared.post("/v1/search", json={"image": text, "top_k": 4}),
        shared.post("/v1/search", json={"image": f"data:image/png;base64,{text}", "top_k": 4}),
    ]
    assert [found(answer.json()) for answer in answers] == [expected] * 3
    assert answers[0].json()["photos"] == 6
    report = retriever.search(sketches[0], 4).report.to_dict()
    del report["gap"]
    assert [answer.json()["report"] for answer in answers] == [report] * 3
    assert report["certified"] is True
    assert report["rescored"] == 6


def test_strokes_are_searched_as_the_picture_that_they_draw(shared: TestClient, retriever: Retriever) -> None:
    import numpy as np

    points = [np.array([[0.1, 0.6, 1], [0.4, 0.3, 1], [0.9, 0.6, 0.5]]), np.array([[0.1, 0.6, 1], [0.9, 0.6, 1]])]
    lines = [Stroke(points[0], 0.01), Stroke(points[1], 0.03)]
    picture = render(fitted(lines), retriever.encoder.image_size)
    expected = [(match.id, match.rank, match.distance) for match in retriever.search(picture, 6)]
    assert found(shared.post("/v1/search", json={"drawing": DRAWING, "top_k": 6}).json()) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"where": {"category": "shoe"}}, {"photo-0.png"}),
        ({"where": {"price": {"lt": 10}}}, set()),
        ({"where": {"tag": {"in": ["sale"]}}}, {"photo-0.png"}),
        ({"subset": ["photo-2.png", "photo-4.png", "gone"]}, {"photo-2.png", "photo-4.png"}),
        ({"where": {"category": "shoe"}, "subset": ["photo-2.png"]}, set()),
    ],
)
def test_filters_choose_among_the_photos(
    shared: TestClient, sketches: list[Path], options: dict[str, Any], expected: set[str]
) -> None:
    by_json = shared.post("/v1/search", json={"drawing": DRAWING, **options}).json()
    files = {"sketch": ("s.png", sketches[0].read_bytes())}
    by_form = shared.post("/v1/search", files=files, data=form(**options)).json()
    assert {id_ for id_, _, _ in found(by_json)} == {id_ for id_, _, _ in found(by_form)} == expected


def test_callers_at_once_get_their_own_answers(shared: TestClient, retriever: Retriever, sketches: list[Path]) -> None:
    asked: list[dict[str, Any]] = [
        {"top_k": 1 + number % 6, **({"where": {"category": "shoe"}} if number % 3 == 0 else {})}
        for number in range(18)
    ]

    def ask(number: int) -> list[tuple[str, int, float]]:
        files = {"sketch": ("s.png", sketches[number % 6].read_bytes())}
        return found(shared.post("/v1/search", files=files, data=form(**asked[number])).json())

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(18)))
    for number, answer in enumerate(answers):
        # Where they ran in another batch, features may differ in their last bits.
        expected = retriever.search(sketches[number % 6], asked[number]["top_k"], where=asked[number].get("where"))
        assert [id_ for id_, _, _ in answer] == [match.id for match in expected]
        for (_, _, distance), match in zip(answer, expected, strict=True):
            assert math.isclose(distance, match.distance, rel_tol=1e-4)


def test_an_explanation_sums_to_the_distance(shared: TestClient, retriever: Retriever) -> None:
    answer = shared.post("/v1/search", json={"drawing": DRAWING, "top_k": 2, "explain": True}).json()
    for match in answer["matches"]:
        parts = match["explanation"]["contributions"]
        assert [len(levels) for levels in parts] == [3, 3, 3]
        assert math.isclose(sum(map(sum, parts)), match["distance"], rel_tol=1e-9)
        assert math.isclose(sum(match["explanation"]["photo"]["weights"]), 1, rel_tol=1e-5)
    cells = [value for region in answer["sketch"]["maps"] for row in region for value in row]
    assert 0 <= min(cells) <= max(cells) <= 1
    assert answer["sketch"]["frame"] == [0, 0, 100]


def test_of_a_small_drawing_the_frame_that_was_looked_at_is_told(shared: TestClient) -> None:
    drawing = DRAWING | {"size": 200}
    answer = shared.post("/v1/search", json={"drawing": drawing, "top_k": 1, "explain": True}).json()
    left, top, side = answer["sketch"]["frame"]
    assert left + side / 2 == pytest.approx(50)
    assert top + side / 2 == pytest.approx(45)
    assert side == pytest.approx(200 / 2)


def test_without_being_asked_nothing_is_explained(shared: TestClient) -> None:
    answer = shared.post("/v1/search", json={"drawing": DRAWING}).json()
    assert answer["sketch"] is None
    assert {match["explanation"] is None for match in answer["matches"]} == {True}


def test_no_path_of_this_machine_is_in_an_answer(shared: TestClient, described: Path) -> None:
    text = shared.post("/v1/search", json={"drawing": DRAWING, "explain": True, "top_k": 3}).text
    assert str(described.parent) not in text
    assert "path" not in text


@pytest.mark.parametrize(
    "strokes", [[], [{"points": [[5, 5]]}], [{"points": [[5, 5], [15, 15]]}, {"points": [[5, 5]]}]]
)
def test_an_almost_empty_canvas_gets_a_calm_answer(shared: TestClient, strokes: list[Any]) -> None:
    answer = shared.post("/v1/search", json={"drawing": {"size": 100, "strokes": strokes}})
    assert answer.status_code == 200
    assert answer.json() == {"status": "too_little_ink", "matches": [], "photos": 6, "report": None, "sketch": None}


@pytest.mark.parametrize("colour", ["white", "black", (20, 130, 70)])
def test_a_blank_picture_gets_a_calm_answer(shared: TestClient, colour: Any) -> None:
    content = png(Image.new("RGB", (64, 64), colour))
    assert shared.post("/v1/search", files={"sketch": content}).json()["status"] == "too_little_ink"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "InvalidRequest"),
        (b"{", "InvalidRequest"),
        (b"[]", "InvalidRequest"),
        ({}, "InvalidRequest"),
        ({"drawing": DRAWING, "image": "AAAA"}, "InvalidRequest"),
        ({"drawing": DRAWING, "other": 1}, "InvalidRequest"),
        ({"drawing": {"strokes": [{"points": []}]}}, "InvalidRequest"),
        ({"drawing": {"strokes": [{"points": [[1]]}]}}, "InvalidRequest"),
        ({"drawing": {"strokes": [{"points": [[1, 2, 3, 4]]}]}}, "InvalidRequest"),
        ({"drawing": {"strokes": [{"points": [[1e9, 0]]}]}}, "InvalidRequest"),
        ({"drawing": {"strokes": [{"points": [[0, 0]], "width": -1}]}}, "InvalidRequest"),
        ({"drawing": {"size": 0, "strokes": []}}, "InvalidRequest"),
        (b'{"drawing": {"strokes": [{"points": [[NaN, 0]]}]}}', "InvalidRequest"),
        ({"image": "!"}, "InvalidRequest"),
        ({"image": ""}, "ImageDecodeError"),
        ({"image": "AAAA"}, "ImageDecodeError"),
        ({"drawing": DRAWING, "top_k": 0}, "InvalidRequest"),
        ({"drawing": DRAWING, "top_k": 21}, "QueryError"),
        ({"drawing": DRAWING, "top_k": 4, "explain": True}, "QueryError"),
        ({"drawing": DRAWING, "where": {"price": {"near": 3}}}, "FilterError"),
        ({"drawing": DRAWING, "where": []}, "InvalidRequest"),
        ({"drawing": DRAWING, "subset": [1]}, "InvalidRequest"),
    ],
)
def test_a_malformed_request_says_what_is_wrong(shared: TestClient, body: Any, expected: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = shared.post("/v1/search", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert reason(response) == expected


@pytest.mark.parametrize(
    ("fields", "files", "expected"),
    [
        ({"top_k": "2"}, {}, "InvalidRequest"),
        ({"top_k": "many"}, {"sketch": b"x"}, "InvalidRequest"),
        ({"where": "{"}, {"sketch": b"x"}, "InvalidRequest"),
        ({"where": "[" * 100_000}, {"sketch": b"x"}, "InvalidRequest"),
        ({"sketch": "text"}, {"other": b"x"}, "InvalidRequest"),
        ({}, {"sketch": b"no image"}, "ImageDecodeError"),
        ({}, {"sketch": png(Image.new("RGB", (2000, 1000)))}, "ImageSizeError"),
        ({}, {"sketch": png(Image.new("RGB", (4, 4)))}, "ImageSizeError"),
    ],
)
def test_a_malformed_form_says_what_is_wrong(
    shared: TestClient, fields: dict[str, str], files: dict[str, bytes], expected: str
) -> None:
    response = shared.post("/v1/search", data=fields, files=files or {"": b""})
    assert response.status_code == 422
    assert reason(response) == expected


def test_a_form_that_is_cut_off_is_refused(shared: TestClient) -> None:
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=x"):
        response = shared.post("/v1/search", content=b"--y\r\n", headers={"Content-Type": content_type})
        assert response.status_code in (400, 422)
        reason(response)


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", ""])
def test_another_content_type_is_refused(shared: TestClient, content_type: str) -> None:
    response = shared.post("/v1/search", content=b"x", headers={"Content-Type": content_type})
    assert response.status_code == 415
    assert reason(response) == "ContentType"
