"""Several processes and threads at one `Retriever`'s gallery."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from engine import ingest
from engine.errors import (
    GalleryLockedError,
)
from engine.gallery import Gallery
from engine.retriever import Retriever
from tests.engine.conftest import COUNT, IDS, Reopen, ids_of

ROOT = Path(__file__).parents[2]


def test_another_process_sees_what_was_added(empty: Retriever, photos: Path, sketches: list[Path]) -> None:
    """And a retriever opened before sees what another process added."""
    script = (
        "import sys, torch; torch.set_num_threads(1); from engine import Retriever\n"
        "r = Retriever(sys.argv[1], sys.argv[2], 'cpu'); print(len(r)); r.add(sys.argv[3])"
    )

    def other(photo: Path) -> str:
        command = [sys.executable, "-c", script, empty.encoder.name, str(empty.path), str(photo)]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100, check=True
        )
        return done.stdout

    assert other(photos / "photo-0.png") == "0\n"
    assert [match.id for match in empty.search(sketches[0])] == ["photo-0.png"]
    empty.add(photos / "photo-2.png")
    assert other(photos / "photo-4.png") == "2\n"
    assert sorted(match.id for match in empty.search(sketches[0])) == ["photo-0.png", "photo-2.png", "photo-4.png"]


def test_a_second_writer_is_told_who_writes(filled: Retriever, photos: Path, reopen: Reopen) -> None:
    second = reopen(filled)
    with (
        filled.gallery.writer(),
        pytest.raises(GalleryLockedError, match=rf"is being written by process {os.getpid()} .*Wait for it to end"),
    ):
        second.add(photos)
    assert second.add(photos).already == COUNT


def test_threads_that_search_while_one_adds_see_whole_commits(
    empty: Retriever, photos: Path, sketches: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every result is the exact one of some number of committed segments of two photos, and that number only grows."""
    monkeypatch.setattr(ingest, "SEGMENT_PHOTOS", 2)
    for name in IDS:  # twice as many, so that there are six commits
        image = Image.open(photos / name)
        image.transpose(Image.Transpose.ROTATE_180).save(photos / f"turned-{Path(name).name}")
    added, seen, errors = threading.Event(), dict[int, list[list[tuple[str, float]]]](), list[BaseException]()

    def search(number: int) -> None:
        seen[number] = []
        try:
            while not added.is_set():
                seen[number].append([(match.id, match.distance) for match in empty.search(sketches[0], top_k=12)])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=search, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        order = list(empty.add(photos).added)
    finally:
        added.set()
        for thread in threads:
            thread.join()
    assert not errors
    assert len(order) == 12
    final = {match.id: match.distance for match in empty.search(sketches[0], top_k=12)}
    whole = {
        size: sorted(((id_, final[id_]) for id_ in order[:size]), key=lambda pair: (pair[1], pair[0]))
        for size in range(0, 13, 2)
    }
    for results in seen.values():
        assert results
        assert [result for result in results if result != whole.get(len(result))] == []
        sizes = [len(result) for result in results]
        assert sizes == sorted(sizes)
    assert len({len(result) for results in seen.values() for result in results}) > 1


def test_threads_may_add_at_once(empty: Retriever, photos: Path) -> None:
    """They wait for each other, rather than for a refusal of the lock."""
    threads = [threading.Thread(target=empty.add, args=(photos / name,)) for name in IDS[3:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids_of(empty)) == ["photo-0.png", "photo-2.png", "photo-4.png"]
    Gallery.open(empty.path).verify()
