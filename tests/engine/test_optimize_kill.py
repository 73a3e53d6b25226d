"""Killed at any moment, the making of short codes leaves a gallery that is searched exactly, and can be made up for."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.gallery import Gallery
from engine.optimize import keep_up
from tests.engine.coded_gallery import (
    brute_force,
    everything,
    gallery_of,
    photos_drawn,
    ranking,
    searcher,
    sketches_drawn,
)

PHOTOS, ROUNDS, SOAK_ROUNDS = 1200, 4, 60
LONGEST = 1.5
"""Seconds from a process's first plan to its end: several plans."""
SCRIPT = Path(__file__).with_name("kill_optimize.py")


@pytest.mark.usefixtures("codes_pay")
def test_a_kill_leaves_an_exact_search(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    rows, sketches = photos_drawn(PHOTOS), sketches_drawn(4)
    truth = brute_force(rows, sketches)
    path = gallery_of(tmp_path / "g", rows).path
    moments = random.Random(0)
    for _ in range(SOAK_ROUNDS if request.config.getoption("--soak") else ROUNDS):
        command = [sys.executable, str(SCRIPT), str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "made\n"
            time.sleep(moments.uniform(0, LONGEST))
            process.kill()
        gallery = Gallery.open(path)
        assert ranking(everything(gallery, searcher(), sketches)) == truth
        keep_up(gallery)
        found = everything(gallery, searcher(), sketches)
        assert ranking(found) == truth
        assert {(one.report.read, one.report.note) for one in found} == {("codes", "")}
        assert not list((path / "codes").glob(".tmp-*"))
