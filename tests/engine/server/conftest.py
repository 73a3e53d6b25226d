"""What the service's tests share: a service of a few drawn photos, and sketches in the forms it takes."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from engine.retriever import Retriever
from engine.server.app import make_app
from engine.server.settings import Limits, Settings

HERE = "http://127.0.0.1"
METADATA = {
    "photo-0.png": {"category": "shoe", "price": 30, "tag": ["new", "sale"]},
    "photo-2.png": {"category": "bag"},
}
LIMITS = Limits(body_bytes=200_000, pixels=1_000_000, top_k=20, explained=3, files=3, batch=2)
DRAWING: dict[str, Any] = {
    "size": 100,
    "strokes": [{"width": 1, "points": [[10, 60], [40, 30], [90, 60, 0.5]]}, {"points": [[10, 60], [90, 60]]}],
}


def client_of(retriever: Retriever, settings: Settings | None = None) -> TestClient:
    """A client of a service; it runs inside a `with` block."""
    return TestClient(make_app(retriever, settings or Settings(limits=LIMITS)), base_url=HERE)


def png(image: Image.Image) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def reason(response: Any) -> str:
    """The reason of a refusal, whose form is checked."""
    assert set(response.json()) == {"error"}
    assert set(response.json()["error"]) == {"reason", "message"}
    return str(response.json()["error"]["reason"])


@pytest.fixture(scope="session")
def described(checkpoint: Path, _filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(shutil.copytree(_filled, tmp_path_factory.mktemp("described") / "described.gallery"))
    Retriever(checkpoint, path, "cpu").update(METADATA)
    return path


@pytest.fixture(scope="module")
def shared(checkpoint: Path, described: Path) -> Iterator[TestClient]:
    """A service that a test only reads from."""
    with client_of(Retriever(checkpoint, described, "cpu")) as client:
        yield client


@pytest.fixture
def own(checkpoint: Path, described: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A service with a gallery of the test's own."""
    path = Path(shutil.copytree(described, tmp_path / "own.gallery"))
    with client_of(Retriever(checkpoint, path, "cpu")) as client:
        yield client


def form(**fields: Any) -> dict[str, str]:
    """Fields of a multipart form: everything but texts as JSON."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
