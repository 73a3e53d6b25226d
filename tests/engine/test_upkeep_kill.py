"""`kill -9` at any moment of adding, replacing, removing, compacting and restoring: a commit is whole or not there."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine.exact import ExactSearch
from engine.gallery import Gallery
from tests.engine.kill_upkeep import BASE, State, after, create, fill, kind, numbers
from tests.engine.kill_writer import SHAPES, block_of
from tests.engine.test_filters import as_features
from tests.engine.test_gallery_kill import contents, expected

ROOT = Path(__file__).parents[2]
ROUNDS, SOAK_ROUNDS = 40, 400
LONGEST = 0.25  # seconds until a kill, some ten commits


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The process that makes commits and kills itself doing it."""
    create(tmp_path / "g").copy(tmp_path / "snapshot")
    command = [sys.executable, str(Path(__file__).with_name("kill_upkeep.py")), "g", "snapshot"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def found(path: Path) -> list[list[tuple[str, float]]]:
    """What searches of a gallery find."""
    queries, search = as_features(block_of([1, 2, 3])), ExactSearch(torch.device("cpu"))
    selection = Gallery.open(path).select(None)
    return [[(hit.id, hit.distance) for hit in hits] for k in (3, 1000) for hits in search(selection, queries, k, 1)]


def test_a_killed_writer_leaves_the_gallery_before_or_after_its_commit(
    server: subprocess.Popen[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert server.stdin is not None
    assert server.stdout is not None
    rounds = SOAK_ROUNDS if request.config.getoption("--soak") else ROUNDS
    moments = random.Random(0)
    start, state, cut_off = 0, BASE, set[str]()
    reader = Gallery.open(tmp_path / "g")
    for number in range(rounds):
        server.stdin.write(f"{start} {moments.uniform(0, LONGEST)}\n")
        server.stdin.flush()
        last = int(server.stdout.readline())
        if last >= 0:
            for index in range(start, last):
                state = after(index, state)
            start = last + 1
            cut_off.add(kind(last))
        state = _whole(Gallery.open(tmp_path / "g"), [state] if last < 0 else [state, after(last, state)])
        assert set(contents(reader)) == set(state), "a reader that was there all the time"
        if number % 10 == 9:
            fresh = Gallery.create(tmp_path / f"fresh-{number}", shapes=SHAPES, model_fingerprint="kill-test")
            fill(fresh, state)
            assert found(tmp_path / "g") == found(fresh.path)
    assert len(cut_off) >= 3, "hardly anything was cut off"


def _whole(gallery: Gallery, possible: list[State]) -> State:
    """The state that a gallery is in, one of these, with features, metadata and previews that belong to it."""
    gallery.verify()
    state = numbers(gallery)
    assert state in possible
    assert contents(gallery) == {id_: expected(number) for id_, number in state.items()}
    assert all(gallery.preview(id_) == id_.encode() for id_ in state)
    return state
