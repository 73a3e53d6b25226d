"""Encoding goes on while photos are decoded and committed, and what goes wrong in it reaches the caller."""

import threading
from pathlib import Path
from typing import Any

import pytest

from engine import ingest
from engine.encode_ahead import BATCHES_AHEAD, EncodeAhead
from engine.gallery_writer import GalleryWriter
from engine.retriever import Retriever
from mlrm.procedural import draw_product, render_photo
from tests.engine.conftest import COUNT, ids_of


def test_batches_come_back_in_order_with_their_photos() -> None:
    with EncodeAhead(lambda photos: [2 * photo for photo in photos]) as ahead:  # type: ignore[arg-type, misc]
        for start in (0, 2, 4):
            ahead.put([start, start + 1], closes=start == 4)  # type: ignore[list-item]
        assert len(ahead) == 3
        taken: list[Any] = [ahead.take() for _ in range(3)]
        assert [batch.features.result() for batch in taken] == [[0, 2], [4, 6], [8, 10]]
    assert [batch.closes for batch in taken] == [False, False, True]


def test_leaving_waits_for_no_batch_that_has_not_begun() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def encode(photos: Any) -> Any:
        begun.set()
        go_on.wait(60)

    before = threading.active_count()
    with EncodeAhead(encode) as ahead:
        ahead.put([], closes=False)
        ahead.put([], closes=False)
        assert begun.wait(60)
        go_on.set()
    assert threading.active_count() == before
    assert ahead.take().features.result() is None


def test_a_commit_does_not_stop_the_encoder(empty: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first commit waits until batches behind it are encoded; if they weren't meanwhile, it would wait for ever."""
    monkeypatch.setattr(ingest, "SEGMENT_PHOTOS", 2)
    monkeypatch.setattr(ingest, "ENCODE_BATCH", 2)
    photos = [render_photo(draw_product(number), 64) for number in range(2 * (BATCHES_AHEAD + 2))]
    encode, add = empty.encoder.encode, GalleryWriter.add
    encoded, behind = [], threading.Semaphore(0)

    def counted(images: Any, domain: Any) -> Any:
        features = encode(images, domain)
        encoded.append(threading.current_thread())
        behind.release()
        return features

    def waiting(writer: Any, *arguments: Any, **options: Any) -> None:
        if len(empty) == 0:
            for _ in range(BATCHES_AHEAD + 1):
                assert behind.acquire(timeout=60), "the encoder stood still during a commit"
        add(writer, *arguments, **options)

    monkeypatch.setattr(empty.encoder, "encode", counted)
    monkeypatch.setattr(GalleryWriter, "add", waiting)
    assert len(empty.add(photos).added) == len(photos)
    assert len(set(encoded)) == 1
    assert encoded[0] is not threading.current_thread()


def test_what_the_encoder_raises_ends_the_add_and_keeps_what_was_committed(
    empty: Retriever, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "SEGMENT_PHOTOS", 2)
    encode, calls = empty.encoder.encode, []

    def failing(images: Any, domain: Any) -> Any:
        calls.append(len(images))
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return encode(images, domain)

    monkeypatch.setattr(empty.encoder, "encode", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        empty.add(photos)
    assert len(ids_of(empty)) == 4
    monkeypatch.undo()
    assert len(empty.add(photos).added) == COUNT - 4
