"""Tokens, and requests that other sites make a browser send."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from engine.retriever import Retriever
from engine.server.settings import Settings
from tests.engine.server.conftest import DRAWING, HERE, LIMITS, client_of, reason

TOKEN = "a-token-of-some-length"
GUARDED = [
    ("GET", "/v1/gallery"),
    ("POST", "/v1/search"),
    ("POST", "/v1/photos"),
    ("GET", "/v1/photos/photo-0.png/image"),
    ("DELETE", "/v1/photos/photo-0.png"),
    ("GET", "/metrics"),
]


@pytest.fixture(scope="module")
def guarded(checkpoint: Path, described: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    path = Path(shutil.copytree(described, tmp_path_factory.mktemp("guarded") / "guarded.gallery"))
    with client_of(Retriever(checkpoint, path, "cpu"), Settings("0.0.0.0", token=TOKEN, limits=LIMITS)) as client:
        yield client


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN])
def test_reads_and_writes_need_the_token(guarded: TestClient, method: str, path: str, header: str | None) -> None:
    response = guarded.request(method, path, headers={} if header is None else {"Authorization": header})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert reason(response) == "Unauthorized"


@pytest.mark.parametrize("path", ["/health", "/ready", "/", "/main.js", "/openapi.json"])
def test_the_page_and_health_checks_need_no_token(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 200


def test_with_the_token_everything_is_answered_under_any_name(guarded: TestClient) -> None:
    headers = {"Authorization": f"bearer {TOKEN}", "Host": "search.example.org"}
    assert guarded.post("/v1/search", json={"drawing": DRAWING}, headers=headers).json()["status"] == "ok"
    assert guarded.delete("/v1/photos/photo-0.png", headers=headers).status_code == 204


def test_openapi_says_which_calls_need_the_token(guarded: TestClient, shared: TestClient) -> None:
    paths = guarded.get("/openapi.json").json()["paths"]
    secured = {path for path, calls in paths.items() if all("security" in call for call in calls.values())}
    assert secured == {path for path in paths if path.startswith("/v1/") or path == "/metrics"}
    assert "securitySchemes" not in shared.get("/openapi.json").json()["components"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::2]:80"])
def test_without_a_token_only_this_machines_names_are_answered(shared: TestClient, host: str) -> None:
    response = shared.get("/v1/gallery", headers={"Host": host})
    assert response.status_code == 403
    assert reason(response) == "ForeignHost"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "[::1]:80"])
def test_all_names_of_this_machine_are_answered(shared: TestClient, host: str) -> None:
    assert shared.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", f"{HERE}:1", "http://127.0.0.1.evil.example"])
@pytest.mark.parametrize("path", ["/v1/search", "/v1/photos"])
def test_another_sites_page_is_refused(own: TestClient, path: str, origin: str) -> None:
    response = own.post(path, files={"photo": b"x"}, headers={"Origin": origin})
    assert response.status_code == 403
    assert reason(response) == "ForeignOrigin"


def test_the_own_page_is_answered(shared: TestClient) -> None:
    response = shared.post("/v1/search", json={"drawing": DRAWING}, headers={"Origin": HERE})
    assert response.status_code == 200
