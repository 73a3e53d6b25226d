"""`kill -9` during `Retriever.add`, then `add` again: the same gallery as without the kill."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.gallery import Gallery
from engine.retriever import Retriever
from mlrm.procedural import CATEGORIES, draw_product, render_photo
from tests.engine.kill_add import SEGMENT

ROOT = Path(__file__).parents[2]
PHOTOS, KILLS = 60, 4


def start(checkpoint: Path, gallery: Path, photos: Path) -> subprocess.Popen[str]:
    script = Path(__file__).with_name("kill_add.py")
    return subprocess.Popen(
        [sys.executable, str(script), str(checkpoint), str(gallery), str(photos)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def contents(gallery: Gallery) -> dict[str, tuple[bytes, str | None, str | None]]:
    """Id -> the bytes of its features, its path and its content hash."""
    found: dict[str, tuple[bytes, str | None, str | None]] = {}
    records = gallery.existing()
    for segment in gallery.snapshot().segments:
        for row, id_ in zip(segment.live_rows, segment.ids, strict=True):
            assert id_ not in found, f"{id_} is there twice"
            arrays = (*segment.levels, segment.region_weights, segment.level_weights, segment.maps)
            features = b"".join(array[row].tobytes() for array in arrays)
            found[id_] = (features, records[id_].path, records[id_].content_hash)
    return found


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for number in range(PHOTOS):
        render_photo(draw_product(number, CATEGORIES[number % len(CATEGORIES)]), 48).save(folder / f"{number:02d}.png")
    return folder


def test_a_killed_add_that_is_run_again_gives_the_same_gallery(
    checkpoint: Path, many: Path, sketches: list[Path], tmp_path: Path
) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    with start(checkpoint, undisturbed, many) as process:
        assert process.stdout is not None
        assert [int(line) for line in process.stdout] == list(range(1, PHOTOS + 1))
    assert process.returncode == 0
    whole = contents(Gallery.open(undisturbed))
    assert len(whole) == PHOTOS

    moments = random.Random(0)
    committed = 0
    for kill in range(KILLS):
        with start(checkpoint, killed, many) as process:
            assert process.stdout is not None
            # Some photos after the first commit of this run, and then a moment more, which may fall into a commit.
            enough = committed + moments.randrange(SEGMENT, 2 * SEGMENT)
            while int(process.stdout.readline()) < enough:
                pass
            time.sleep(moments.uniform(0, 0.1))
            process.kill()
        assert process.returncode != 0, f"kill {kill} came too late to show anything"
        found = contents(Gallery.open(killed))
        assert found.items() <= whole.items()
        assert len(found) >= committed + SEGMENT, "what was committed stays"
        assert len(found) % SEGMENT == 0, "a segment is there whole or not at all"
        committed = len(found)

    with start(checkpoint, killed, many) as process:
        assert process.stdout is not None
        assert [int(line) for line in process.stdout] == list(range(committed + 1, PHOTOS + 1))
    assert process.returncode == 0
    assert contents(Gallery.open(killed)) == whole
    Gallery.open(killed).verify()
    segments = {f"{segment.name}.safetensors" for segment in Gallery.open(killed).snapshot().segments}
    assert {entry.name for entry in (killed / "segments").iterdir()} == segments, "the kills left nothing behind"
    retrievers = [Retriever(checkpoint, path, "cpu") for path in (killed, undisturbed)]
    for sketch in sketches[:3]:
        results = [[(match.id, match.distance) for match in retriever.search(sketch, 60)] for retriever in retrievers]
        assert results[0] == results[1]
