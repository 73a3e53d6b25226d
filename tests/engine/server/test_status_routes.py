"""Health, numbers, what can be searched, and the page."""

import re

import pytest
from fastapi.testclient import TestClient

from engine.server.status_routes import STATIC
from tests.engine.server.conftest import DRAWING, reason


def test_a_running_service_is_healthy_and_ready(shared: TestClient) -> None:
    assert shared.get("/health").json() == {"status": "ok"}
    assert shared.get("/ready").json() == {"status": "ok"}


def test_the_gallery_says_what_can_be_filtered(shared: TestClient) -> None:
    found = shared.get("/v1/gallery").json()
    assert (found["photos"], found["top_k"]) == (6, 20)
    keys = {key["key"]: key for key in found["metadata"]}
    assert keys["category"]["values"] == [{"value": "bag", "photos": 1}, {"value": "shoe", "photos": 1}]
    assert (keys["price"]["lowest"], keys["price"]["highest"]) == (30, 30)
    assert [one["value"] for one in keys["tag"]["values"]] == ["new", "sale"]


def test_what_can_be_filtered_follows_the_gallery(own: TestClient) -> None:
    assert [key["key"] for key in own.get("/v1/gallery").json()["metadata"]] == ["category", "price", "tag"]
    own.delete("/v1/photos/photo-0.png")
    assert [key["key"] for key in own.get("/v1/gallery").json()["metadata"]] == ["category"]


def test_metrics_count_by_route_and_not_by_address(own: TestClient) -> None:
    for number in range(3):
        own.get(f"/v1/photos/unknown-{number}/image")
        own.get(f"/no-{number}")
    own.post("/v1/search", json={"drawing": DRAWING})
    text = own.get("/metrics").text
    assert 'mlrm_requests_total{method="GET",route="/v1/photos/{id:path}/image",status="404"} 3.0' in text
    assert 'mlrm_requests_total{method="POST",route="/v1/search",status="200"} 1.0' in text
    assert "mlrm_batch_sketches_count 1.0" in text
    assert "mlrm_photos 6.0" in text
    assert "unknown-0" not in text
    assert "no-0" not in text


def test_the_page_loads_nothing_from_elsewhere(shared: TestClient) -> None:
    page = shared.get("/")
    assert page.headers["Content-Type"].startswith("text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    for file in STATIC.iterdir():
        response = shared.get(f"/{file.name}")
        assert response.status_code == 200
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", re.sub(r"^\s*//.*$", "", response.text, flags=re.M))
        assert [one for one in addresses if one != "http://www.w3.org"] == []  # the name of SVG, not an address


@pytest.mark.parametrize("path", ["/../engine/errors.py", "/%2e%2e/errors.py", "/..%2ferrors.py", "/nothing.js"])
def test_nothing_beside_the_page_is_served(shared: TestClient, path: str) -> None:
    response = shared.get(path)
    assert response.status_code == 404
    reason(response)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/search", "POST"),
        ("GET", "/v1/search", "POST"),
        ("GET", "/v1/photos", "POST"),
        ("GET", "/v1/photos/photo-0.png", "DELETE"),
        ("POST", "/health", "GET"),
        ("POST", "/", "GET, HEAD"),
    ],
)
def test_another_method_is_refused_in_the_same_form(shared: TestClient, method: str, path: str, allowed: str) -> None:
    response = shared.request(method, path)
    assert (response.status_code, response.headers.get("Allow")) == (405, allowed)
    reason(response)
