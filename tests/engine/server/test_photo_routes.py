"""Photos over HTTP: pictures, additions, removals."""

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from engine.gallery import Gallery
from engine.retriever import Retriever
from mlrm.procedural import CATEGORIES, draw_product, render_photo
from tests.engine.server.conftest import client_of, form, png, reason

NEW = [png(render_photo(draw_product(100 + number, CATEGORIES[number]), 64)) for number in range(3)]


def ids(client: TestClient) -> set[str]:
    sketch = {"sketch": NEW[2]}
    return {match["id"] for match in client.post("/v1/search", files=sketch, data=form(top_k=20)).json()["matches"]}


def files(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("photo", ("photo.png", content)) for content in contents]


def test_a_photos_picture_is_made_anew_and_fits(shared: TestClient) -> None:
    response = shared.get("/v1/photos/more/photo-1.png/image", params={"side": 32})
    assert response.headers["Content-Type"] == "image/jpeg"
    picture = Image.open(io.BytesIO(response.content))
    assert (picture.format, max(picture.size)) == ("JPEG", 32)
    assert not picture.getexif()


def test_a_picture_that_is_as_it_was_is_not_sent_again(shared: TestClient) -> None:
    first = shared.get("/v1/photos/photo-0.png/image")
    tag = first.headers["ETag"]
    again = shared.get("/v1/photos/photo-0.png/image", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert shared.get("/v1/photos/photo-0.png/image?side=64", headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    "id_",
    [
        "unknown",
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "more%2f%2e%2e%2fphoto-0.png",
    ],
)
def test_an_id_is_no_path(shared: TestClient, id_: str) -> None:
    response = shared.get(f"/v1/photos/{id_}/image")
    assert response.status_code == 404
    reason(response)


def test_the_file_of_a_photo_is_no_id(shared: TestClient, described: Path) -> None:
    path = Gallery.open(described).record("photo-0.png").path
    assert path is not None
    assert Path(path).exists()
    assert shared.get(f"/v1/photos/{path}/image").status_code == 404


@pytest.mark.parametrize("side", ["0", "15", "2049", "x"])
def test_a_side_beyond_the_limits_is_refused(shared: TestClient, side: str) -> None:
    response = shared.get("/v1/photos/photo-0.png/image", params={"side": side})
    assert response.status_code == 422
    reason(response)


def test_a_photo_whose_file_is_gone_says_so(own: TestClient, checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "gone.png"
    file.write_bytes(NEW[0])
    retriever = Retriever(checkpoint, tmp_path / "own.gallery", "cpu")
    retriever.add(file)
    file.unlink()
    response = own.get("/v1/photos/gone.png/image")
    assert (response.status_code, reason(response)) == (404, "NoPicture")
    assert str(tmp_path) not in response.text


def test_photos_are_added_as_one_commit_and_found(own: TestClient) -> None:
    before = own.get("/v1/gallery").json()
    data = {"id": ["a/one", "two"], "metadata": '[{"category": "mug"}, null]'}
    response = own.post("/v1/photos", files=files(*NEW[:2]), data=data)
    assert response.status_code == 201
    assert response.json() == {"added": ["a/one", "two"], "already": [], "skipped": []}
    after = own.get("/v1/gallery").json()
    assert (after["photos"], after["commit"]) == (before["photos"] + 2, before["commit"] + 1)
    match = own.post("/v1/search", files={"sketch": NEW[0]}, data=form(where={"category": "mug"})).json()["matches"]
    assert [(one["id"], one["metadata"]) for one in match] == [("a/one", {"category": "mug"})]
    assert own.get("/v1/photos/a/one/image").status_code == 200  # from the preview: there is no file


def test_the_same_picture_is_there_already(own: TestClient) -> None:
    first = own.post("/v1/photos", files=files(NEW[0])).json()
    assert own.post("/v1/photos", files=files(NEW[0])).json() == {"added": [], "already": first["added"], "skipped": []}


def test_another_pictures_id_is_taken_unless_it_is_to_be_replaced(own: TestClient) -> None:
    data = {"id": ["new", "photo-0.png"]}
    response = own.post("/v1/photos", files=files(*NEW[:2]), data=data)
    assert (response.status_code, reason(response)) == (409, "IdTaken")
    assert "new" not in ids(own)
    replaced = own.post("/v1/photos", files=files(*NEW[:2]), data=data | {"replace": "true"})
    assert replaced.json()["added"] == ["new", "photo-0.png"]
    assert len(ids(own)) == 7


@pytest.mark.parametrize(
    ("contents", "data"),
    [
        ([], {}),
        ([NEW[0], b"no image"], {}),
        ([NEW[0]], {"id": ["a", "b"]}),
        ([NEW[0]], {"id": [""]}),
        ([NEW[0]], {"id": ["x" * 2000]}),
        (NEW[:2], {"id": ["a", "a"]}),
        ([NEW[0], NEW[0]], {}),
        ([NEW[0]], {"metadata": "{}"}),
        ([NEW[0]], {"metadata": "[]"}),
        ([NEW[0]], {"metadata": "[1]"}),
        ([NEW[0]], {"replace": "perhaps"}),
        ([NEW[0]], {"other": "1"}),
        ([*NEW, NEW[0]], {}),
    ],
)
def test_a_malformed_upload_adds_nothing(own: TestClient, contents: list[bytes], data: dict[str, object]) -> None:
    response = own.post("/v1/photos", files=files(*contents) or {"": b""}, data=data)
    assert response.status_code in (400, 422)
    reason(response)
    assert len(ids(own)) == 6


def test_another_content_type_is_refused(own: TestClient) -> None:
    response = own.post("/v1/photos", json={})
    assert (response.status_code, reason(response)) == (415, "ContentType")


def test_a_removed_photo_is_not_found_again(own: TestClient) -> None:
    assert own.delete("/v1/photos/more/photo-1.png").status_code == 204
    assert "more/photo-1.png" not in ids(own)
    for response in (own.delete("/v1/photos/more/photo-1.png"), own.get("/v1/photos/more/photo-1.png/image")):
        assert (response.status_code, reason(response)) == (404, "UnknownIdError")


def test_while_another_process_writes_callers_are_told_to_try_again(own: TestClient, tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "own.gallery").writer():
        response = own.delete("/v1/photos/photo-0.png")
    assert (response.status_code, reason(response)) == (503, "GalleryLockedError")
    assert response.headers["Retry-After"] == "1"
    assert own.delete("/v1/photos/photo-0.png").status_code == 204


@pytest.mark.parametrize("call", ["/v1/gallery", "/v1/photos/photo-0.png/image", "/ready"])
def test_a_gallery_that_fails_is_named_in_the_log_alone(
    own: TestClient, tmp_path: Path, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    os.truncate(tmp_path / "own.gallery" / "catalogue.sqlite", 100)
    response = own.get(call)
    assert response.status_code == 503
    assert str(tmp_path) not in response.text
    assert str(tmp_path) in caplog.text


def test_a_gallery_of_another_model_is_refused_at_the_start(described: Path, tmp_path: Path) -> None:
    from engine.errors import ModelMismatchError
    from tests.engine.conftest import write_checkpoint

    other = write_checkpoint(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(ModelMismatchError):
        client_of(Retriever(other, described, "cpu"))


def test_pictures_that_are_too_large_together_are_refused(own: TestClient) -> None:
    pictures = [png(Image.new("RGB", (800, 800), colour)) for colour in ("red", "blue")]
    assert own.post("/v1/photos", files=files(pictures[0])).status_code == 201
    response = own.post("/v1/photos", files=files(*pictures))
    assert (response.status_code, reason(response)) == (422, "TooManyPixels")


def test_one_upload_is_added_at_a_time(own: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, go_on, add = threading.Event(), threading.Event(), Retriever.add

    def slow(self: Retriever, *arguments: Any, **options: Any) -> Any:
        reached.set()
        assert go_on.wait(60)
        return add(self, *arguments, **options)

    monkeypatch.setattr(Retriever, "add", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(own.post, "/v1/photos", files=files(NEW[0]))
        try:
            assert reached.wait(60)
            second = own.post("/v1/photos", files=files(NEW[1]))
            assert (second.status_code, reason(second)) == (429, "TooManyRequests")
            assert second.headers["Retry-After"] == "1"
            assert len(ids(own)) == 6  # searches go on
        finally:
            go_on.set()
        assert first.result().status_code == 201
