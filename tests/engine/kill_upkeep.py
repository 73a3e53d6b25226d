"""An endless sequence of commits of every kind, and a server that kills whoever makes them. No torch here.

    python kill_upkeep.py GALLERY SNAPSHOT

Reads "START SECONDS" from standard input: a new process makes the commits from number START on, and is killed after so
many seconds. Answers with the number of the commit it had begun last, -1 for none. The process is a fork of one that
has imported everything, so a round takes little more than its seconds.

What a commit does follows from its number and the photos that are there (`after`), so whoever knows where the sequence
was cut off knows what the gallery must hold.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from engine import compaction
from engine.gallery import Gallery
from tests.engine.kill_writer import SHAPES, block_of

KINDS = ("add", "add", "add", "replace", "remove", "remove", "describe", "compact", "compact", "restore")
State = dict[str, int]
"""The photos of a gallery: the number that tells a photo's features (see `kill_writer`), by its id."""
BASE: State = {f"base-{number}": number for number in range(20)}


def kind(index: int) -> str:
    """What commit `index` does."""
    return random.Random(index).choice(KINDS)


def chosen(index: int, state: State) -> State:
    """The photos that commit `index` adds, replaces, removes or describes, with their numbers from then on."""
    chance = random.Random(index)
    fresh = 1000 + 10 * index
    if chance.choice(KINDS) == "add":
        return {f"{index}-{number}": fresh + number for number in range(chance.randint(1, 5))}
    # The photos of BASE are never removed, so that there always are some to be replaced.
    possible = sorted(state.keys() - BASE.keys() if kind(index) == "remove" else state)
    some = chance.sample(possible, min(len(possible), 4))
    return {id_: fresh + number for number, id_ in enumerate(some)}


def after(index: int, state: State) -> State:
    """The photos that are there after commit `index`."""
    what, photos = kind(index), chosen(index, state)
    if what in ("add", "replace"):
        return state | photos
    if what == "remove":
        return {id_: number for id_, number in state.items() if id_ not in photos}
    return BASE if what == "restore" else state


def fill(gallery: Gallery, photos: State, *, replace: bool = False) -> None:
    """Add photos in one commit."""
    with gallery.writer() as writer:
        writer.add(
            block_of(list(photos.values())),
            list(photos),
            metadata=[{"number": number} for number in photos.values()],
            previews=[id_.encode() for id_ in photos],
            replace=replace,
        )


def create(path: Path) -> Gallery:
    """A gallery of the photos of `BASE`."""
    gallery = Gallery.create(path, shapes=SHAPES, model_fingerprint="kill-test")
    fill(gallery, BASE)
    return gallery


def numbers(gallery: Gallery) -> State:
    """What a gallery's metadata say that it holds."""
    return {id_: (record.metadata or {})["number"] for id_, record in gallery.existing().items()}


def perform(index: int, gallery: Gallery, snapshot: Path) -> None:
    """Make commit `index`."""
    what, photos = kind(index), chosen(index, numbers(gallery))
    if what in ("add", "replace"):
        fill(gallery, photos, replace=what == "replace")
        return
    with gallery.writer() as writer:
        if what == "remove":
            writer.remove(photos)
        elif what == "describe":
            records = gallery.records(photos)
            writer.update_metadata({id_: (records[id_].metadata or {}) | {"seen": index} for id_ in photos})
        elif what == "compact":
            writer.compact()
        else:
            writer.restore(snapshot)


def run(gallery: Path, snapshot: Path, index: int, report: int) -> None:
    """Make commits from `index` on, and write the number of each to `report` before."""
    opened = Gallery.open(gallery)
    while True:
        os.write(report, f"{index}\n".encode())
        perform(index, opened, snapshot)
        index += 1


def killed(gallery: Path, snapshot: Path, start: int, seconds: float) -> int:
    """Let a process make commits for so long, kill it, and tell which it had begun last."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            run(gallery, snapshot, start, writing)
        finally:  # only an error leads here; the parent sees that nobody had to be killed
            os._exit(1)
    os.close(writing)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as lines:
        begun = [int(line) for line in lines if line.endswith("\n")]
    if not os.WIFSIGNALED(status):
        raise SystemExit(f"the writer failed at commit {begun[-1:]}, before it could be killed")
    return begun[-1] if begun else -1


def main(gallery: str, snapshot: str) -> None:
    """Answer requests until standard input ends."""
    compaction.TARGET_ROWS = 16
    for line in sys.stdin:
        start, seconds = line.split()
        print(killed(Path(gallery), Path(snapshot), int(start), float(seconds)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
