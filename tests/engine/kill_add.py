"""Add a folder of photos in segments of 8, for the kill test, which runs this as a process of its own and kills it.

python kill_add.py CHECKPOINT GALLERY PHOTOS
"""

import sys

import torch

from engine import ingest
from engine.retriever import Retriever

SEGMENT = 8


def main(checkpoint: str, gallery: str, photos: str) -> None:
    """Add `photos`, and say after each how many are handled."""
    torch.set_num_threads(1)
    ingest.SEGMENT_PHOTOS, ingest.ENCODE_BATCH = SEGMENT, 2
    Retriever(checkpoint, gallery, "cpu").add(photos, progress=lambda done, _: print(done, flush=True))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
